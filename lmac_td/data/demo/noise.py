"""Ambient noise of the embedded corpus: traffic, a crowd, a machine, wind."""

import numpy as np

from lmac_td.data.demo.signals import (
    FORMANTS_HZ,
    colour_like_a_recording,
    coloured_noise,
    decay,
    harmonics,
    log_uniform,
    resonances,
    rms,
    scale_to_random_peak,
    shaped_noise,
    slow_curve,
)


def make_noise(kind: str, rng: np.random.Generator, n: int, rate: int) -> np.ndarray:
    """Render ambient noise of one kind.

    Arguments
    ---------
    kind : str
        One of :data:`NOISES`.
    rng : numpy.random.Generator
        Draws all that is random.
    n : int
        Samples.
    rate : int
        Hz.

    Returns
    -------
    numpy.ndarray
        (n,), peak below 1.

    Example
    -------
    >>> make_noise("wind", np.random.default_rng(0), 16000, 16000).shape
    (16000,)
    """
    wave = NOISES[kind](rng, n, rate)
    return scale_to_random_peak(
        rng, colour_like_a_recording(rng, wave / rms(wave), rate)
    )


def traffic(rng: np.random.Generator, n: int, rate: int) -> np.ndarray:
    """Render traffic: coloured noise whose level changes, with squeals and horns."""
    wave = coloured_noise(rng, n, rate, tilt_db=rng.uniform(-4, 1))
    wave *= 0.2 + slow_curve(rng, n, rate, rng.uniform(0.5, 2))
    return wave + rms(wave) * _squeals(rng, n, rate, per_s=2.5, loudest=3)


def crowd(rng: np.random.Generator, n: int, rate: int) -> np.ndarray:
    """Render a crowd: four to seven voices, each with its pitch and formants."""
    wave = np.zeros(n)
    for _ in range(int(rng.integers(4, 8))):
        melody = 2 ** (0.5 * slow_curve(rng, n, rate, 3))
        pitch = log_uniform(rng, 85, 220) * melody
        centres = log_uniform(rng, *FORMANTS_HZ)
        voice = harmonics(
            pitch, resonances(np.arange(1, 26) * pitch.mean(), centres, 0.4), rate
        )
        wave += voice * slow_curve(rng, n, rate, rng.uniform(3, 6)) ** 3
    room = coloured_noise(rng, n, rate, tilt_db=-2)
    return wave / rms(wave) + 0.4 * room / rms(room)


def machine(rng: np.random.Generator, n: int, rate: int) -> np.ndarray:
    """Render a machine: hum, whine, a stream of air, and occasional clatter."""
    hum = harmonics(
        np.full(n, rng.choice([50.0, 60.0, 100.0, 120.0])), rng.uniform(0, 1, 20), rate
    )
    drift = 1 + 0.1 * slow_curve(rng, n, rate, 2)
    whine = harmonics(log_uniform(rng, 500, 3000) * drift, [1.0, 0.4], rate)
    air = coloured_noise(rng, n, rate, tilt_db=rng.uniform(-2, 1))
    wave = hum / rms(hum) + rng.uniform(0.2, 0.8) * whine / rms(whine)
    wave += rng.uniform(0.5, 1.2) * air / rms(air)
    return wave + rms(wave) * _clatter(rng, n, rate, per_s=5, loudest=6)


def wind(rng: np.random.Generator, n: int, rate: int) -> np.ndarray:
    """Render wind: noise whose level and brightness follow gusts, with clatter."""
    gust = slow_curve(rng, n, rate, rng.uniform(0.5, 2.5)) ** 2 + 0.05
    corner = log_uniform(rng, 150, 500)
    low = shaped_noise(rng, n, rate, lambda hz: 1 / (1 + (hz / corner) ** 1.5))
    whistles = log_uniform(rng, 600, 5000, 2)
    high = shaped_noise(rng, n, rate, lambda hz: resonances(hz, whistles, 0.3))
    wave = gust * (low / rms(low) + rng.uniform(0.5, 1.5) * high / rms(high))
    return wave + rms(wave) * gust * _clatter(rng, n, rate, per_s=6, loudest=8)


def _squeals(
    rng: np.random.Generator, n: int, rate: int, per_s: float, loudest: float
) -> np.ndarray:
    """Render gliding, trembling tones at random times, of an RMS up to `loudest`."""
    wave = np.zeros(n)
    for start in rng.integers(0, n, rng.poisson(per_s * n / rate)):
        n_squeal = min(n - start, round(rng.uniform(0.05, 0.8) * rate))
        glide = rng.uniform(-0.7, 0.7) * np.linspace(0, 1, n_squeal)
        tremble = np.sin(
            2 * np.pi * rng.uniform(5, 50) * np.arange(n_squeal) / rate
        ) * rng.uniform(0, 0.1)
        pitch = log_uniform(rng, 400, 5000) * 2 ** (glide + tremble)
        squeal = harmonics(pitch, rng.uniform(0, 1, 4), rate)
        squeal *= np.hanning(n_squeal)
        wave[start : start + n_squeal] += (
            rng.uniform(0.2, 1) * loudest * squeal / rms(squeal)
        )
    return wave


def _clatter(
    rng: np.random.Generator, n: int, rate: int, per_s: float, loudest: float
) -> np.ndarray:
    """Render short resonant knocks at random times, of an RMS up to `loudest`."""
    wave = np.zeros(n)
    for start in rng.integers(0, n, rng.poisson(per_s * n / rate)):
        n_knock = min(n - start, round(0.1 * rate))
        centres = log_uniform(rng, 200, 6000, 3)
        width_octaves = rng.uniform(0.05, 0.4)
        knock = shaped_noise(
            rng,
            n_knock,
            rate,
            lambda hz, c=centres, w=width_octaves: resonances(hz, c, w),
        )
        knock *= decay(n_knock, rate, rng.uniform(0.005, 0.05))
        wave[start : start + n_knock] += (
            rng.uniform(0.2, 1) * loudest * knock / rms(knock)
        )
    return wave


NOISES = {"traffic": traffic, "crowd": crowd, "machine": machine, "wind": wind}
