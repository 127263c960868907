"""Parts of synthetic sounds: shaped noise, moving tones, envelopes, levels.

Randomness comes from the generator that is passed as ``rng``. ``n`` counts samples and
``rate`` is in Hz.
"""

from collections.abc import Callable, Sequence

import numpy as np

# Lowest and highest frequency of the first three formants of a voice.
FORMANTS_HZ = ([300, 800, 2000], [800, 2000, 3500])


def shaped_noise(
    rng: np.random.Generator,
    n: int,
    rate: int,
    gain: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return white noise (n,) filtered by a gain: frequencies in Hz to amplitudes."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    return np.fft.irfft(spectrum * gain(np.fft.rfftfreq(n, 1 / rate)), n)


def coloured_noise(
    rng: np.random.Generator, n: int, rate: int, tilt_db: float
) -> np.ndarray:
    """Return noise (n,) whose spectrum changes by tilt_db per octave above 50 Hz."""
    return shaped_noise(
        rng, n, rate, lambda hz: db_to_gain(tilt_db * np.log2(np.maximum(hz, 50) / 50))
    )


def slow_curve(
    rng: np.random.Generator, n: int, rate: int, rate_hz: float
) -> np.ndarray:
    """Return a smooth random curve (n,) in [0, 1] with about rate_hz knots a second."""
    n_knots = max(2, round(n / rate * rate_hz) + 1)
    knots = rng.uniform(0, 1, n_knots)
    position = np.linspace(0, n_knots - 1, n)
    left = np.minimum(position.astype(int), n_knots - 2)
    blend = 0.5 - 0.5 * np.cos(np.pi * (position - left))
    return knots[left] * (1 - blend) + knots[left + 1] * blend


def harmonics(
    pitch_hz: np.ndarray, amplitudes: Sequence[float], rate: int
) -> np.ndarray:
    """Return a sum of sines (n,) at the multiples of a moving pitch (n,).

    The k-th amplitude belongs to k times the pitch. Harmonics near or above the Nyquist
    frequency are left out.
    """
    n_audible = max(1, int(0.45 * rate / pitch_hz.max()))
    # exp(ik phase) by repeated multiplication: one complex product is cheaper than sin.
    fundamental = np.exp(2j * np.pi * np.cumsum(pitch_hz) / rate)
    partial, wave = np.ones_like(fundamental), np.zeros(len(pitch_hz))
    for amplitude in amplitudes[:n_audible]:
        partial *= fundamental
        wave += amplitude * partial.imag
    return wave


def resonances(
    hz: np.ndarray, centres_hz: Sequence[float], width_octaves: float
) -> np.ndarray:
    """Return the gain of resonances: Gaussians over log-frequency, one a centre."""
    octaves = np.log2(np.maximum(hz, 1))[..., None] - np.log2(centres_hz)
    return np.exp(-0.5 * (octaves / width_octaves) ** 2).sum(-1)


def decay(n: int, rate: int, time_s: float) -> np.ndarray:
    """Return an exponential decay (n,) that falls to 1/e in time_s."""
    return np.exp(-np.arange(n) / (time_s * rate))


def fades(n: int, rate: int, fade_s: float) -> np.ndarray:
    """Return an envelope (n,) with linear fades of fade_s at both ends."""
    n_fade = max(1, min(n // 2, round(fade_s * rate)))
    window = np.ones(n)
    window[:n_fade] = np.linspace(0, 1, n_fade)
    window[n - n_fade :] = np.linspace(1, 0, n_fade)
    return window


def log_uniform(
    rng: np.random.Generator, low: float, high: float, size: int | None = None
) -> float | np.ndarray:
    """Draw from [low, high], uniformly on a logarithmic scale."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def db_to_gain(decibels: float | np.ndarray) -> float | np.ndarray:
    """Return the amplitude ratio of a level difference in dB."""
    return 10 ** (decibels / 20)


def rms(wave: np.ndarray) -> float:
    """Return the root mean square of a wave; never zero."""
    return np.sqrt(np.mean(np.square(wave))) + 1e-12


def colour_like_a_recording(
    rng: np.random.Generator, wave: np.ndarray, rate: int
) -> np.ndarray:
    """Filter a wave as a room and a microphone do: a tilt and four broad resonances."""
    tilt_db = rng.uniform(-4, 4)
    centres = log_uniform(rng, 100, 7000, 4)
    peaks_db = rng.uniform(-10, 10, 4)
    hz = np.maximum(np.fft.rfftfreq(len(wave), 1 / rate), 50)
    shape_db = tilt_db * np.log2(hz / 1000)
    for centre, peak_db in zip(centres, peaks_db, strict=True):
        shape_db += peak_db * resonances(hz, np.array([centre]), 0.6)
    return np.fft.irfft(np.fft.rfft(wave) * db_to_gain(shape_db), len(wave))


def scale_to_random_peak(rng: np.random.Generator, wave: np.ndarray) -> np.ndarray:
    """Scale a wave to a random peak from 0.1 to 0.95."""
    return wave / np.abs(wave).max() * log_uniform(rng, 0.1, 0.95)
