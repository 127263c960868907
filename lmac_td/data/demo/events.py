"""The events of the embedded corpus: one bark, one tick, one wave, and so on.

Each function renders ``n`` samples at ``rate`` Hz. ``timbre`` is a new generator with
the same seed for every event of a clip, so it draws what these events have in common;
``rng`` draws what differs between them.
"""

import numpy as np

from lmac_td.data.demo.signals import (
    coloured_noise,
    decay,
    harmonics,
    log_uniform,
    resonances,
    rms,
    shaped_noise,
    slow_curve,
)


def dog(
    timbre: np.random.Generator, rng: np.random.Generator, n: int, rate: int
) -> np.ndarray:
    """Render a bark: a short falling tone with harmonics and noise, two formants."""
    pitch = log_uniform(timbre, 250, 700) * np.linspace(1.15, 0.7, n)
    centres = [log_uniform(timbre, 500, 1100), log_uniform(timbre, 1200, 2600)]
    amplitudes = resonances(np.arange(1, 12) * pitch.mean(), centres, 0.45)
    voice = harmonics(pitch, amplitudes, rate)
    breath = shaped_noise(rng, n, rate, lambda hz: resonances(hz, centres, 0.6))
    mix = voice / rms(voice) + timbre.uniform(0.3, 1.2) * breath / rms(breath)
    return mix * decay(n, rate, n / rate / 3)


def chirping_birds(
    timbre: np.random.Generator, rng: np.random.Generator, n: int, rate: int
) -> np.ndarray:
    """Render a chirp: a tone of some kHz that sweeps and warbles."""
    centre = log_uniform(timbre, 1800, 5000)
    sweep = timbre.uniform(-0.7, 0.7) * np.linspace(-0.5, 0.5, n)
    warble_hz, depth = timbre.uniform(15, 45), timbre.uniform(0.0, 0.12)
    warble = depth * np.sin(2 * np.pi * warble_hz * np.arange(n) / rate)
    pitch = centre * 2 ** (sweep + warble + rng.uniform(-0.15, 0.15))
    return harmonics(pitch, [1.0, timbre.uniform(0, 0.3)], rate) * np.hanning(n)


def clock_tick(
    timbre: np.random.Generator, rng: np.random.Generator, n: int, rate: int
) -> np.ndarray:
    """Render a tick: a click through two narrow resonances."""
    centres = log_uniform(timbre, 900, 6000, 2)
    click = shaped_noise(rng, n, rate, lambda hz: resonances(hz, centres, 0.15))
    return click * decay(n, rate, timbre.uniform(0.004, 0.015))


def siren(
    timbre: np.random.Generator, rng: np.random.Generator, n: int, rate: int
) -> np.ndarray:
    """Render a siren: five harmonics of a pitch that rises and falls slowly."""
    low = log_uniform(timbre, 400, 900)
    swing = np.sin(
        2 * np.pi * (timbre.uniform(0.6, 3) * np.arange(n) / rate + timbre.uniform())
    )
    pitch = low * 2 ** (timbre.uniform(0.4, 1.1) * (0.5 + 0.5 * swing))
    return harmonics(pitch, timbre.uniform(0.1, 1, 5) / np.arange(1, 6), rate)


def rain(
    timbre: np.random.Generator, rng: np.random.Generator, n: int, rate: int
) -> np.ndarray:
    """Render rain: many drops a second, each a tiny click, over a steady hiss."""
    drops = np.zeros(n)
    n_drops = rng.poisson(log_uniform(timbre, 60, 400) * n / rate)
    drops[rng.integers(0, n, n_drops)] = rng.exponential(1, n_drops)
    low = log_uniform(timbre, 500, 2500)
    spectrum = np.fft.rfft(drops - drops.mean())
    hz = np.fft.rfftfreq(n, 1 / rate)
    patter = np.fft.irfft(spectrum / (1 + (low / np.maximum(hz, 1)) ** 4), n)
    hiss = shaped_noise(rng, n, rate, lambda hz: hz / (hz + low))
    return patter / rms(patter) + timbre.uniform(0.2, 0.8) * hiss / rms(hiss)


def chainsaw(
    timbre: np.random.Generator, rng: np.random.Generator, n: int, rate: int
) -> np.ndarray:
    """Render an engine: many harmonics of a low pitch that follows a throttle."""
    throttle = slow_curve(rng, n, rate, timbre.uniform(1, 3))
    pitch = log_uniform(timbre, 60, 150) * (1 + timbre.uniform(0.1, 0.7) * throttle)
    numbers = np.arange(1, 40)
    body = (
        resonances(numbers * pitch.mean(), log_uniform(timbre, 150, 3000, 3), 0.5) + 0.1
    )
    buzz = harmonics(pitch, body * timbre.uniform(0.3, 1, len(numbers)), rate)
    roar = coloured_noise(rng, n, rate, tilt_db=-3)
    mix = buzz / rms(buzz) + timbre.uniform(0.2, 0.7) * roar / rms(roar)
    return mix * (0.5 + throttle)


def door_knock(
    timbre: np.random.Generator, rng: np.random.Generator, n: int, rate: int
) -> np.ndarray:
    """Render a knock: a click, and a thump of four low modes."""
    time_s = timbre.uniform(0.015, 0.04)
    modes = log_uniform(timbre, 90, 700, 4)
    phases = 2 * np.pi * modes[:, None] * np.arange(n) / rate
    thump = (timbre.uniform(0.3, 1, (4, 1)) * np.sin(phases)).sum(0)
    click = rng.standard_normal(n) * decay(n, rate, 0.002)
    return thump * decay(n, rate, time_s) + timbre.uniform(0.3, 1.5) * click


def crickets(
    timbre: np.random.Generator, rng: np.random.Generator, n: int, rate: int
) -> np.ndarray:
    """Render a cricket: a steady tone of some kHz, chopped tens of times a second."""
    pitch = np.full(n, log_uniform(timbre, 1800, 5500))
    beat = np.sin(2 * np.pi * timbre.uniform(22, 60) * np.arange(n) / rate)
    chopped = np.clip(beat, 0, None) ** timbre.uniform(0.7, 2)
    return harmonics(pitch, [1.0, timbre.uniform(0, 0.3)], rate) * chopped


def glass_breaking(
    timbre: np.random.Generator, rng: np.random.Generator, n: int, rate: int
) -> np.ndarray:
    """Render breaking glass: a crash, then splinters that ring at random pitches."""
    crash = rng.standard_normal(n) * decay(n, rate, timbre.uniform(0.01, 0.05))
    wave = timbre.uniform(0.5, 1.5) * crash
    for _ in range(int(timbre.integers(10, 25))):
        start = int(n * 0.6 * rng.beta(1, 2.5))
        ring = np.arange(n - start) / rate
        pitch = log_uniform(rng, 1500, 7000)
        splinter = np.sin(2 * np.pi * pitch * ring + rng.uniform(0, 2 * np.pi))
        splinter *= np.exp(-ring / log_uniform(rng, 0.01, 0.12))
        wave[start:] += rng.uniform(0.1, 0.7) * splinter
    return wave


def sea_waves(
    timbre: np.random.Generator, rng: np.random.Generator, n: int, rate: int
) -> np.ndarray:
    """Render a sea wave: noise that swells and fades, brighter when louder."""
    peak = timbre.uniform(0.3, 0.7)
    time = np.linspace(0, 1, n)
    swell = np.where(time < peak, time / peak, (1 - time) / (1 - peak)) ** 2
    low = log_uniform(timbre, 300, 900)
    dull = shaped_noise(rng, n, rate, lambda hz: 1 / (1 + (hz / low) ** 2))
    foam = coloured_noise(rng, n, rate, tilt_db=timbre.uniform(-2, 1))
    return swell * dull / rms(dull) + swell**2 * foam / rms(foam)
