"""Environmental sounds made of numbers: ten classes, ambient noise, and babble.

Every sound is a function of a random generator, so that pitch, timing, timbre and level
differ from clip to clip. Classes are told apart by how a sound moves in time as much as
by its spectrum: rain and sea waves, birds and crickets, barks and knocks share their
frequencies, and each clip has its own recording channel and background.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


def make_clip(sound, rng, n, rate):
    """Render a clip of one class: its events over a faint background.

    Arguments
    ---------
    sound : Sound
        The class.
    rng : numpy.random.Generator
        Source of chance.
    n : int
        Samples.
    rate : int
        Hz.

    Returns
    -------
    samples : numpy.ndarray
        (n,), peak below 1.
    events : list of (int, int)
        First sample, and the one after the last, of each event.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> samples, events = make_clip(SOUNDS[0], rng, 32000, 16000)
    >>> samples.shape, all(0 <= start < stop <= 32000 for start, stop in events)
    ((32000,), True)
    """
    events = _place_events(sound, rng, n, rate)
    # Events of one clip come from one source, so they share its timbre.
    timbre = int(rng.integers(2**32))
    foreground = np.zeros(n)
    for start, stop in events:
        wave = sound.event(np.random.default_rng(timbre), rng, stop - start, rate)
        wave = wave * _fades(stop - start, rate, fade_s=0.003)
        foreground[start:stop] += wave / _rms(wave) * _db(rng.uniform(-6, 0))
    foreground = _through_channel(rng, foreground, rate)
    background = make_noise(rng.choice(list(NOISES)), rng, n, rate)
    loudness = _rms(np.concatenate([foreground[a:b] for a, b in events]))
    background *= loudness / _rms(background) * _db(rng.uniform(-38, -18))
    return _at_random_peak(rng, foreground + background), events


def make_noise(kind, rng, n, rate):
    """Render ambient noise of one kind.

    Arguments
    ---------
    kind : str
        One of :data:`NOISES`.
    rng : numpy.random.Generator
        Source of chance.
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
    return _at_random_peak(rng, _through_channel(rng, wave / _rms(wave), rate))


def make_speech(rng, n, rate):
    """Render one voice that babbles: words of syllables, with pauses between them.

    It has what speech has for a classifier of sounds (a moving pitch, formants,
    hisses, a rhythm of syllables) and no meaning.

    Arguments
    ---------
    rng : numpy.random.Generator
        Source of chance.
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
    >>> make_speech(np.random.default_rng(0), 22050, 22050).shape
    (22050,)
    """
    pitch_hz = _log_uniform(rng, 90, 230)  # one voice an utterance
    wave = np.zeros(n)
    start = round(rng.uniform(0.02, 0.1) * rate)
    while n - start > 0.1 * rate:
        stop = min(n, start + round(rng.uniform(0.15, 0.7) * rate))
        wave[start:stop] = _word(rng, stop - start, rate, pitch_hz)
        start = stop + round(rng.uniform(0.05, 0.4) * rate)
    room = coloured_noise(rng, n, rate, tilt_db=-3)
    wave += _db(-45) * _rms(wave) * room / _rms(room)
    return _at_random_peak(rng, _through_channel(rng, wave, rate))


# ---------------------------------------------------------------- building blocks


def shaped_noise(rng, n, rate, gain):
    """White noise times a curve over frequency: gain takes Hz, returns amplitudes."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    return np.fft.irfft(spectrum * gain(np.fft.rfftfreq(n, 1 / rate)), n)


def coloured_noise(rng, n, rate, tilt_db):
    """Noise whose spectrum falls (or rises) by tilt_db an octave above 50 Hz."""
    return shaped_noise(
        rng, n, rate, lambda hz: _db(tilt_db * np.log2(np.maximum(hz, 50) / 50))
    )


def slow_curve(rng, n, rate, rate_hz):
    """A smooth random curve in [0, 1] with about rate_hz new values a second."""
    n_knots = max(2, round(n / rate * rate_hz) + 1)
    knots = rng.uniform(0, 1, n_knots)
    position = np.linspace(0, n_knots - 1, n)
    left = np.minimum(position.astype(int), n_knots - 2)
    blend = 0.5 - 0.5 * np.cos(np.pi * (position - left))
    return knots[left] * (1 - blend) + knots[left + 1] * blend


def harmonics(pitch_hz, amplitudes, rate):
    """Sum of sines at k times a moving pitch (n,); those above Nyquist are left out."""
    n_audible = max(1, int(0.45 * rate / pitch_hz.max()))
    # exp(ik phase) by repeated multiplication: one complex product is cheaper than sin.
    fundamental = np.exp(2j * np.pi * np.cumsum(pitch_hz) / rate)
    partial, wave = np.ones_like(fundamental), np.zeros(len(pitch_hz))
    for amplitude in amplitudes[:n_audible]:
        partial *= fundamental
        wave += amplitude * partial.imag
    return wave


def bumps(hz, centres_hz, width_octaves):
    """Resonances: the sum of bells over log-frequency, one at each centre."""
    octaves = np.log2(np.maximum(hz, 1))[..., None] - np.log2(centres_hz)
    return np.exp(-0.5 * (octaves / width_octaves) ** 2).sum(-1)


def decay(n, rate, time_s):
    """Exponential decay that falls to 1/e in time_s."""
    return np.exp(-np.arange(n) / (time_s * rate))


def _log_uniform(rng, low, high, size=None):
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def _db(decibels):
    return 10 ** (decibels / 20)


def _rms(wave):
    return np.sqrt(np.mean(np.square(wave))) + 1e-12


def _fades(n, rate, fade_s):
    n_fade = max(1, min(n // 2, round(fade_s * rate)))
    window = np.ones(n)
    window[:n_fade] = np.linspace(0, 1, n_fade)
    window[n - n_fade :] = np.linspace(1, 0, n_fade)
    return window


def _through_channel(rng, wave, rate):
    """Colour a recording as rooms and microphones do: tilt and broad resonances."""
    tilt_db = rng.uniform(-4, 4)
    centres = _log_uniform(rng, 100, 7000, 4)
    peaks_db = rng.uniform(-10, 10, 4)
    hz = np.maximum(np.fft.rfftfreq(len(wave), 1 / rate), 50)
    shape_db = tilt_db * np.log2(hz / 1000)
    for centre, peak_db in zip(centres, peaks_db, strict=True):
        shape_db += peak_db * bumps(hz, np.array([centre]), 0.6)
    return np.fft.irfft(np.fft.rfft(wave) * _db(shape_db), len(wave))


def _at_random_peak(rng, wave):
    return wave / np.abs(wave).max() * _log_uniform(rng, 0.1, 0.95)


# ---------------------------------------------------------------- classes
# timbre: generator that is the same for all events of a clip; rng: new each event.


def dog(timbre, rng, n, rate):
    """A bark: a short falling harmonic burst with noise, through two formants."""
    pitch = _log_uniform(timbre, 250, 700) * np.linspace(1.15, 0.7, n)
    centres = [_log_uniform(timbre, 500, 1100), _log_uniform(timbre, 1200, 2600)]
    amplitudes = bumps(np.arange(1, 12) * pitch.mean(), centres, 0.45)
    voice = harmonics(pitch, amplitudes, rate)
    breath = shaped_noise(rng, n, rate, lambda hz: bumps(hz, centres, 0.6))
    mix = voice / _rms(voice) + timbre.uniform(0.3, 1.2) * breath / _rms(breath)
    return mix * decay(n, rate, n / rate / 3)


def chirping_birds(timbre, rng, n, rate):
    """A chirp: a tone of some kHz that sweeps and warbles."""
    centre = _log_uniform(timbre, 1800, 5000)
    sweep = timbre.uniform(-0.7, 0.7) * np.linspace(-0.5, 0.5, n)
    warble_hz, depth = timbre.uniform(15, 45), timbre.uniform(0.0, 0.12)
    warble = depth * np.sin(2 * np.pi * warble_hz * np.arange(n) / rate)
    pitch = centre * 2 ** (sweep + warble + rng.uniform(-0.15, 0.15))
    return harmonics(pitch, [1.0, timbre.uniform(0, 0.3)], rate) * np.hanning(n)


def clock_tick(timbre, rng, n, rate):
    """A tick: a click through one or two narrow resonances."""
    centres = _log_uniform(timbre, 900, 6000, 2)
    click = shaped_noise(rng, n, rate, lambda hz: bumps(hz, centres, 0.15))
    return click * decay(n, rate, timbre.uniform(0.004, 0.015))


def siren(timbre, rng, n, rate):
    """A siren: a tone with a few harmonics whose pitch rises and falls slowly."""
    low = _log_uniform(timbre, 400, 900)
    swing = np.sin(
        2 * np.pi * (timbre.uniform(0.6, 3) * np.arange(n) / rate + timbre.uniform())
    )
    pitch = low * 2 ** (timbre.uniform(0.4, 1.1) * (0.5 + 0.5 * swing))
    return harmonics(pitch, timbre.uniform(0.1, 1, 5) / np.arange(1, 6), rate)


def rain(timbre, rng, n, rate):
    """Rain: many drops a second, each a tiny click, over a steady hiss."""
    drops = np.zeros(n)
    n_drops = rng.poisson(_log_uniform(timbre, 60, 400) * n / rate)
    drops[rng.integers(0, n, n_drops)] = rng.exponential(1, n_drops)
    low = _log_uniform(timbre, 500, 2500)
    spectrum = np.fft.rfft(drops - drops.mean())
    hz = np.fft.rfftfreq(n, 1 / rate)
    patter = np.fft.irfft(spectrum / (1 + (low / np.maximum(hz, 1)) ** 4), n)
    hiss = shaped_noise(rng, n, rate, lambda hz: hz / (hz + low))
    return patter / _rms(patter) + timbre.uniform(0.2, 0.8) * hiss / _rms(hiss)


def chainsaw(timbre, rng, n, rate):
    """An engine: many harmonics of a low pitch that is throttled up and down."""
    throttle = slow_curve(rng, n, rate, timbre.uniform(1, 3))
    pitch = _log_uniform(timbre, 60, 150) * (1 + timbre.uniform(0.1, 0.7) * throttle)
    numbers = np.arange(1, 40)
    body = bumps(numbers * pitch.mean(), _log_uniform(timbre, 150, 3000, 3), 0.5) + 0.1
    buzz = harmonics(pitch, body * timbre.uniform(0.3, 1, len(numbers)), rate)
    roar = coloured_noise(rng, n, rate, tilt_db=-3)
    mix = buzz / _rms(buzz) + timbre.uniform(0.2, 0.7) * roar / _rms(roar)
    return mix * (0.5 + throttle)


def door_knock(timbre, rng, n, rate):
    """A knock: a thump of a few low modes behind a click."""
    time_s = timbre.uniform(0.015, 0.04)
    modes = _log_uniform(timbre, 90, 700, 4)
    phases = 2 * np.pi * modes[:, None] * np.arange(n) / rate
    thump = (timbre.uniform(0.3, 1, (4, 1)) * np.sin(phases)).sum(0)
    click = rng.standard_normal(n) * decay(n, rate, 0.002)
    return thump * decay(n, rate, time_s) + timbre.uniform(0.3, 1.5) * click


def crickets(timbre, rng, n, rate):
    """A cricket: a steady tone of some kHz, chopped tens of times a second."""
    pitch = np.full(n, _log_uniform(timbre, 1800, 5500))
    beat = np.sin(2 * np.pi * timbre.uniform(22, 60) * np.arange(n) / rate)
    chopped = np.clip(beat, 0, None) ** timbre.uniform(0.7, 2)
    return harmonics(pitch, [1.0, timbre.uniform(0, 0.3)], rate) * chopped


def glass_breaking(timbre, rng, n, rate):
    """Breaking glass: a crash, then splinters that ring at unrelated pitches."""
    crash = rng.standard_normal(n) * decay(n, rate, timbre.uniform(0.01, 0.05))
    wave = timbre.uniform(0.5, 1.5) * crash
    for _ in range(int(timbre.integers(10, 25))):
        start = int(n * 0.6 * rng.beta(1, 2.5))
        ring = np.arange(n - start) / rate
        pitch = _log_uniform(rng, 1500, 7000)
        splinter = np.sin(2 * np.pi * pitch * ring + rng.uniform(0, 2 * np.pi))
        splinter *= np.exp(-ring / _log_uniform(rng, 0.01, 0.12))
        wave[start:] += rng.uniform(0.1, 0.7) * splinter
    return wave


def sea_waves(timbre, rng, n, rate):
    """A wave: noise that swells and breaks, brighter as it is louder."""
    peak = timbre.uniform(0.3, 0.7)
    time = np.linspace(0, 1, n)
    swell = np.where(time < peak, time / peak, (1 - time) / (1 - peak)) ** 2
    low = _log_uniform(timbre, 300, 900)
    dull = shaped_noise(rng, n, rate, lambda hz: 1 / (1 + (hz / low) ** 2))
    foam = coloured_noise(rng, n, rate, tilt_db=timbre.uniform(-2, 1))
    return swell * dull / _rms(dull) + swell**2 * foam / _rms(foam)


@dataclass(frozen=True)
class Sound:
    """A class of sounds and how its events lie in a clip.

    Arguments
    ---------
    category : str
        The name of the class.
    event : callable
        (timbre, rng, n, rate) -> (n,).
    n_events : (int, int)
        Fewest and most events in a clip.
    event_s : (float, float), optional
        Shortest and longest event, seconds; for sounds that come in short events.
    event_share : (float, float), optional
        The same as a share of the clip; for sounds that last.
    periodic : bool
        Events follow each other evenly.
    """

    category: str
    event: Callable
    n_events: tuple
    event_s: tuple | None = None
    event_share: tuple | None = None
    periodic: bool = False


# Keys are the targets that ESC-50 gives to these categories.
SOUNDS = {
    0: Sound("dog", dog, (1, 4), event_s=(0.12, 0.3)),
    10: Sound("rain", rain, (1, 1), event_share=(0.7, 1.0)),
    11: Sound("sea_waves", sea_waves, (1, 1), event_share=(0.6, 1.0)),
    13: Sound("crickets", crickets, (1, 3), event_s=(0.15, 0.5)),
    14: Sound("chirping_birds", chirping_birds, (2, 7), event_s=(0.07, 0.22)),
    30: Sound("door_wood_knock", door_knock, (2, 5), event_s=(0.08, 0.14)),
    38: Sound("clock_tick", clock_tick, (3, 7), event_s=(0.04, 0.06), periodic=True),
    39: Sound("glass_breaking", glass_breaking, (1, 1), event_s=(0.3, 0.9)),
    41: Sound("chainsaw", chainsaw, (1, 1), event_share=(0.4, 0.9)),
    42: Sound("siren", siren, (1, 1), event_share=(0.4, 0.9)),
}


def _place_events(sound, rng, n, rate):
    """Random (start, stop) of events that do not overlap, in order."""
    if sound.event_share is not None:
        low, high = (share * n for share in sound.event_share)
    else:
        low, high = (seconds * rate for seconds in sound.event_s)
    n_event = min(n, round(rng.uniform(low, high)))
    n_events = int(rng.integers(sound.n_events[0], sound.n_events[1] + 1))
    # In a clip too short for all of them, as many as leave some air between.
    n_events = max(1, min(n_events, int(0.8 * n / n_event)))
    air = n - n_events * n_event
    if sound.periodic:
        gap = rng.uniform(0.4, 1) * air / n_events
        starts = rng.uniform(0, air - gap * (n_events - 1)) + gap * np.arange(n_events)
    else:
        starts = np.sort(rng.uniform(0, air, n_events))
    starts = starts.astype(int) + n_event * np.arange(n_events)
    return [(int(start), int(start) + n_event) for start in starts]


# ---------------------------------------------------------------- ambient noise


# Lowest and highest of three formants.
_FORMANTS_HZ = ([300, 800, 2000], [800, 2000, 3500])


def traffic(rng, n, rate):
    """Coloured noise that comes and goes, with squeals and horns."""
    wave = coloured_noise(rng, n, rate, tilt_db=rng.uniform(-4, 1))
    wave *= 0.2 + slow_curve(rng, n, rate, rng.uniform(0.5, 2))
    return wave + _rms(wave) * _squeals(rng, n, rate, per_s=2.5, loudest=3)


def crowd(rng, n, rate):
    """A murmur: many voices with pitch, formants and syllables of their own."""
    wave = np.zeros(n)
    for _ in range(int(rng.integers(4, 8))):
        melody = 2 ** (0.5 * slow_curve(rng, n, rate, 3))
        pitch = _log_uniform(rng, 85, 220) * melody
        centres = _log_uniform(rng, *_FORMANTS_HZ)
        voice = harmonics(
            pitch, bumps(np.arange(1, 26) * pitch.mean(), centres, 0.4), rate
        )
        wave += voice * slow_curve(rng, n, rate, rng.uniform(3, 6)) ** 3
    room = coloured_noise(rng, n, rate, tilt_db=-2)
    return wave / _rms(wave) + 0.4 * room / _rms(room)


def machine(rng, n, rate):
    """A hum, a whine, air, and clatter now and then."""
    hum = harmonics(
        np.full(n, rng.choice([50.0, 60.0, 100.0, 120.0])), rng.uniform(0, 1, 20), rate
    )
    drift = 1 + 0.1 * slow_curve(rng, n, rate, 2)
    whine = harmonics(_log_uniform(rng, 500, 3000) * drift, [1.0, 0.4], rate)
    air = coloured_noise(rng, n, rate, tilt_db=rng.uniform(-2, 1))
    wave = hum / _rms(hum) + rng.uniform(0.2, 0.8) * whine / _rms(whine)
    wave += rng.uniform(0.5, 1.2) * air / _rms(air)
    return wave + _rms(wave) * _clatter(rng, n, rate, per_s=5, loudest=6)


def wind(rng, n, rate):
    """Noise whose loudness and brightness follow gusts, and what they rattle."""
    gust = slow_curve(rng, n, rate, rng.uniform(0.5, 2.5)) ** 2 + 0.05
    corner = _log_uniform(rng, 150, 500)
    low = shaped_noise(rng, n, rate, lambda hz: 1 / (1 + (hz / corner) ** 1.5))
    whistles = _log_uniform(rng, 600, 5000, 2)
    high = shaped_noise(rng, n, rate, lambda hz: bumps(hz, whistles, 0.3))
    wave = gust * (low / _rms(low) + rng.uniform(0.5, 1.5) * high / _rms(high))
    return wave + _rms(wave) * gust * _clatter(rng, n, rate, per_s=6, loudest=8)


def _squeals(rng, n, rate, per_s, loudest):
    """Gliding and trembling tones at random times, at most `loudest` in RMS."""
    wave = np.zeros(n)
    for start in rng.integers(0, n, rng.poisson(per_s * n / rate)):
        n_squeal = min(n - start, round(rng.uniform(0.05, 0.8) * rate))
        glide = rng.uniform(-0.7, 0.7) * np.linspace(0, 1, n_squeal)
        tremble = np.sin(
            2 * np.pi * rng.uniform(5, 50) * np.arange(n_squeal) / rate
        ) * rng.uniform(0, 0.1)
        pitch = _log_uniform(rng, 400, 5000) * 2 ** (glide + tremble)
        squeal = harmonics(pitch, rng.uniform(0, 1, 4), rate)
        squeal *= np.hanning(n_squeal)
        wave[start : start + n_squeal] += (
            rng.uniform(0.2, 1) * loudest * squeal / _rms(squeal)
        )
    return wave


def _clatter(rng, n, rate, per_s, loudest):
    """Short resonant knocks at random times, at most `loudest` in RMS."""
    wave = np.zeros(n)
    for start in rng.integers(0, n, rng.poisson(per_s * n / rate)):
        n_knock = min(n - start, round(0.1 * rate))
        centres = _log_uniform(rng, 200, 6000, 3)
        width_octaves = rng.uniform(0.05, 0.4)
        knock = shaped_noise(
            rng,
            n_knock,
            rate,
            lambda hz, c=centres, w=width_octaves: bumps(hz, c, w),
        )
        knock *= decay(n_knock, rate, rng.uniform(0.005, 0.05))
        wave[start : start + n_knock] += (
            rng.uniform(0.2, 1) * loudest * knock / _rms(knock)
        )
    return wave


# ---------------------------------------------------------------- babble


def _word(rng, n, rate, pitch_hz):
    """One to three syllables: each a vowel, most with a hiss before it."""
    wave = np.zeros(n)
    n_syllables = min(int(rng.integers(1, 4)), max(1, round(n / rate / 0.12)))
    for start, stop in pairwise(np.linspace(0, n, n_syllables + 1).astype(int)):
        n_syllable = stop - start
        melody = 2 ** (0.4 * slow_curve(rng, n_syllable, rate, 6) - 0.2)
        pitch = pitch_hz * melody
        formants = _log_uniform(rng, *_FORMANTS_HZ)
        amplitudes = bumps(np.arange(1, 40) * pitch.mean(), formants, 0.25)
        vowel = harmonics(pitch, amplitudes, rate) * np.hanning(n_syllable)
        wave[start:stop] = vowel / _rms(vowel) * _db(rng.uniform(-6, 0))
        if rng.uniform() < 0.7:
            n_hiss = n_syllable // 4
            colour = _log_uniform(rng, 1500, 7000, 1)
            hiss = shaped_noise(rng, n_hiss, rate, lambda hz, c=colour: bumps(hz, c, 1))
            hiss *= np.hanning(n_hiss)
            wave[start : start + n_hiss] += rng.uniform(0.1, 0.5) * hiss / _rms(hiss)
    return wave


NOISES = {"traffic": traffic, "crowd": crowd, "machine": machine, "wind": wind}
