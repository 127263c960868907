#!/usr/bin/env python
"""Mixtures whose sources are known: two notes, and speech in noise.

    python recipes/real_networks/sounds.py
    python recipes/real_networks/sounds.py --speech SPEECH --noise NOISE

writes chord.wav, two notes that sound together, into the folder sounds, and with
folders of recordings also voice_in_noise.wav.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from lmac_td.audio import fit_to_length, load_audio, save_audio
from lmac_td.errors import DataError, SettingError, exit_on_user_error
from lmac_td.validation import require_number

SAMPLE_RATE = 16000  # Hz
RMS = 0.1  # of each source
BACKGROUND = 0.003  # standard deviation of the noise below two notes

N_HARMONICS = 8
CHORD = (349.23, 493.88)  # F4 and B4, in Hz
CHORD_S, FADE_S = 2, 0.02
TIMBRES = 1  # seed of the chord
# Pairs of notes, in Hz, whose harmonics do not all coincide.
PAIRS = (
    (220, 311),
    (196, 466),
    (330, 247),
    (147, 415),
    (262, 370),
    (523, 400),
    (175, 294),
    (349, 233),
    (110, 185),
    (587, 440),
)

CLIP_S, SPEECH_START_S, SPEECH_END_S = 4, 1.2, 3
ENDINGS = (".flac", ".ogg", ".wav")


def pairs_of_notes(n: int) -> list[tuple[float, float]]:
    """Return ``n`` pairs of fundamental frequencies in Hz; the list repeats.

    Example
    -------
    >>> pairs_of_notes(2)
    [(220, 311), (196, 466)]
    """
    return [PAIRS[k % len(PAIRS)] for k in range(n)]


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


def make_chord(hz: tuple[float, float] = CHORD) -> Tensor:
    """Mix two notes (T,), and fade them in and out; see :func:`mix_notes`."""
    generator = torch.Generator().manual_seed(TIMBRES)
    mixture, _ = mix_notes(hz, CHORD_S, generator)
    ramp = torch.arange(len(mixture)) / (FADE_S * SAMPLE_RATE)
    return torch.minimum(ramp, ramp.flip(0)).clamp(max=1) * mixture


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


def write_sounds(options: argparse.Namespace) -> list[Path]:
    """Write the mixtures that the command line asks for; return their files.

    Raises
    ------
    SettingError
        If one folder of recordings is given without the other.
    DataError
        If a folder has no recording, or one cannot be used.
    """
    if (options.speech is None) != (options.noise is None):
        raise SettingError("give both --speech and --noise, or neither")
    for hz in options.hz:
        require_number("hz", hz)
    mixtures = {"chord": make_chord(tuple(options.hz))}
    if options.speech is not None:
        mixed, _, _ = mix_speech(options.speech, options.noise, 1, options.seed)
        mixtures["voice_in_noise"] = mixed[0]
    out = Path(options.out)
    return [
        save_audio(out / f"{name}.wav", wav, SAMPLE_RATE)
        for name, wav in mixtures.items()
    ]


def main(argv: list[str] | None = None) -> None:
    """Write the mixtures and print their files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="sounds", help="folder of the sounds")
    parser.add_argument(
        "--hz", type=float, nargs=2, default=CHORD, help="the pitches of both notes"
    )
    add_recordings(parser)
    for path in write_sounds(parser.parse_args(argv)):
        print(path)


def add_recordings(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Add the options of :func:`mix_speech` to a parser."""
    for name in ("speech", "noise"):
        parser.add_argument(
            f"--{name}", required=required, help=f"folder with recordings of {name}"
        )
    parser.add_argument("--seed", type=int, default=0, help="draws the recordings")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
