"""Mixtures whose sources are known: two notes, and speech in noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from lmac_td.audio import fit_to_length, load_audio
from lmac_td.errors import DataError

SAMPLE_RATE = 16000  # Hz
RMS = 0.1  # of each source
BACKGROUND = 0.003  # standard deviation of the noise below two notes

N_HARMONICS = 8
LOWEST_HZ, HIGHEST_HZ = 110, 600
# Distances of two notes, in semitones. Around an octave, and around the twelfth that
# follows at 19, the fundamental of one note nearly coincides with a harmonic of the
# other: no mask can take them apart.
NEAREST, FURTHEST, OCTAVE = 4, 18, 12

CLIP_S, SPEECH_START_S, SPEECH_END_S = 4, 1.2, 3
ENDINGS = (".flac", ".ogg", ".wav")


def pairs_of_notes(n: int, generator: torch.Generator) -> list[tuple[float, float]]:
    """Draw pairs of fundamental frequencies in Hz.

    They are log-uniform, 4 to 18 semitones apart, and not within one of an octave.

    Arguments
    ---------
    n : int
    generator : torch.Generator
    """
    pairs = []
    octaves = math.log2(HIGHEST_HZ / LOWEST_HZ)
    while len(pairs) < n:
        a, b = (12 * octaves * torch.rand(2, generator=generator)).tolist()
        distance = abs(a - b)
        if NEAREST <= distance <= FURTHEST and abs(distance - OCTAVE) >= 1:
            pairs.append((LOWEST_HZ * 2 ** (a / 12), LOWEST_HZ * 2 ** (b / 12)))
    return pairs


def make_note(hz: float, n_samples: int, generator: torch.Generator) -> Tensor:
    """Make a steady note (T,): harmonics with random amplitudes and phases.

    Arguments
    ---------
    hz : float
        The fundamental frequency.
    n_samples : int
    generator : torch.Generator
    """
    order = torch.arange(1, N_HARMONICS + 1)[:, None]
    amplitude = torch.rand(N_HARMONICS, 1, generator=generator) * 0.7**order
    phase = 2 * math.pi * torch.rand(N_HARMONICS, 1, generator=generator)
    seconds = torch.arange(n_samples) / SAMPLE_RATE
    tones = amplitude * torch.sin(2 * math.pi * hz * order * seconds + phase)
    return at_rms(tones.sum(dim=0))


def mix_notes(
    hz: tuple[float, float], seconds: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix two notes of the same level and a little white noise.

    Returns
    -------
    mixture : Tensor (T,)
    notes : Tensor (2, T)
    """
    n_samples = round(seconds * SAMPLE_RATE)
    notes = torch.stack([make_note(f, n_samples, generator) for f in hz])
    noise = BACKGROUND * torch.randn(n_samples, generator=generator)
    return notes.sum(dim=0) + noise, notes


def mix_speech(
    speech_folder: str | Path, noise_folder: str | Path, n: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix 1.8 s of speech into 4 s of noise, at the same level.

    Arguments
    ---------
    speech_folder, noise_folder : str or Path
        Recordings are searched in all folders below.
    n : int
        Number of mixtures.
    seed : int
        It draws the recordings and the excerpts of speech.

    Returns
    -------
    mixtures, speech, noise : Tensor (n, T)

    Raises
    ------
    DataError
        If a folder is missing or has too few recordings, or if one cannot be used.
    """
    generator = torch.Generator().manual_seed(seed)
    start, end = (round(s * SAMPLE_RATE) for s in (SPEECH_START_S, SPEECH_END_S))
    n_samples = CLIP_S * SAMPLE_RATE
    voices = draw_recordings("--speech", speech_folder, n, generator)
    noises = draw_recordings("--noise", noise_folder, n, generator)
    speech = torch.zeros(n, n_samples)
    for row, voice in zip(speech, voices, strict=True):
        row[start:end] = at_rms(excerpt(voice, end - start, generator))
    noise = torch.stack([at_rms(excerpt(x, n_samples, generator)) for x in noises])
    return speech + noise, speech, noise


def draw_recordings(
    option: str, folder: str | Path, n: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Draw recordings of a folder, each at most once, and load them.

    Raises
    ------
    DataError
        If there are fewer than ``n``.
    """
    found = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in ENDINGS)
    if len(found) < n:
        raise DataError(
            f"{option}: {folder} has {len(found)} recordings ({', '.join(ENDINGS)}), "
            f"not {n}: give a folder with more"
        )
    order = torch.randperm(len(found), generator=generator)[:n]
    return (load_audio(found[k], SAMPLE_RATE) for k in order.tolist())


def excerpt(wav: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
    """Draw an excerpt of a recording (T,) that is not silent; a short one is repeated.

    Arguments
    ---------
    wav : Tensor (T,)
        Not silent.
    n_samples : int
    generator : torch.Generator
    """
    wav = wav.repeat(-(-n_samples // len(wav)))
    while True:
        last = len(wav) - n_samples
        start = int(torch.randint(last + 1, (1,), generator=generator))
        part = fit_to_length(wav[start:], n_samples)
        # Above -60 dB of the recording's own level: more than a pause.
        if part.square().mean() > 1e-6 * wav.square().mean():
            return part


def at_rms(wav: Tensor) -> Tensor:
    """Scale a sound (T,) to the level that all sources have."""
    return RMS * wav / wav.square().mean().sqrt()
