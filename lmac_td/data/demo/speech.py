"""Speech of the embedded corpus: synthetic babble without words."""

from itertools import pairwise

import numpy as np

from lmac_td.data.demo.signals import (
    FORMANTS_HZ,
    colour_like_a_recording,
    coloured_noise,
    db_to_gain,
    harmonics,
    log_uniform,
    resonances,
    rms,
    scale_to_random_peak,
    shaped_noise,
    slow_curve,
)


def make_speech(rng: np.random.Generator, n: int, rate: int) -> np.ndarray:
    """Render babble of one voice: words of syllables, with pauses between them.

    It has the acoustic properties of speech (a moving pitch, formants, hisses, a rhythm
    of syllables), but no meaning.

    Arguments
    ---------
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
    >>> make_speech(np.random.default_rng(0), 22050, 22050).shape
    (22050,)
    """
    pitch_hz = log_uniform(rng, 90, 230)  # one voice per utterance
    wave = np.zeros(n)
    start = round(rng.uniform(0.02, 0.1) * rate)
    while n - start > 0.1 * rate:
        stop = min(n, start + round(rng.uniform(0.15, 0.7) * rate))
        wave[start:stop] = _word(rng, stop - start, rate, pitch_hz)
        start = stop + round(rng.uniform(0.05, 0.4) * rate)
    room = coloured_noise(rng, n, rate, tilt_db=-3)
    wave += db_to_gain(-45) * rms(wave) * room / rms(room)
    return scale_to_random_peak(rng, colour_like_a_recording(rng, wave, rate))


def _word(rng: np.random.Generator, n: int, rate: int, pitch_hz: float) -> np.ndarray:
    """Render a word of one to three syllables: a vowel, and often a hiss before it."""
    wave = np.zeros(n)
    n_syllables = min(int(rng.integers(1, 4)), max(1, round(n / rate / 0.12)))
    for start, stop in pairwise(np.linspace(0, n, n_syllables + 1).astype(int)):
        n_syllable = stop - start
        melody = 2 ** (0.4 * slow_curve(rng, n_syllable, rate, 6) - 0.2)
        pitch = pitch_hz * melody
        formants = log_uniform(rng, *FORMANTS_HZ)
        amplitudes = resonances(np.arange(1, 40) * pitch.mean(), formants, 0.25)
        vowel = harmonics(pitch, amplitudes, rate) * np.hanning(n_syllable)
        wave[start:stop] = vowel / rms(vowel) * db_to_gain(rng.uniform(-6, 0))
        if rng.uniform() < 0.7:
            n_hiss = n_syllable // 4
            colour = log_uniform(rng, 1500, 7000, 1)
            hiss = shaped_noise(
                rng, n_hiss, rate, lambda hz, c=colour: resonances(hz, c, 1)
            )
            hiss *= np.hanning(n_hiss)
            wave[start : start + n_hiss] += rng.uniform(0.1, 0.5) * hiss / rms(hiss)
    return wave
