"""Generate street scenes with several tags: a small data set in SONYC-UST's layout.

A scene is background noise with up to three kinds of sounds of the eight coarse tags of
SONYC-UST. Three volunteers annotate each scene; each of them misses sounds and hears
others that are not there. The table also holds what is there (``annotator_id`` 0) for
``validate`` and ``test``. The same seed gives the same bytes.
"""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from lmac_td.audio import save_audio
from lmac_td.data.demo.clips import SOUNDS, Sound, place_events
from lmac_td.data.demo.events import chainsaw, door_knock
from lmac_td.data.demo.noise import machine, make_noise
from lmac_td.data.demo.signals import (
    colour_like_a_recording,
    db_to_gain,
    fades,
    harmonics,
    log_uniform,
    rms,
    scale_to_random_peak,
)
from lmac_td.data.demo.speech import make_speech
from lmac_td.files import temporary_folder_beside

N_SCENES = {"train": 160, "validate": 48, "test": 80}
N_VOLUNTEERS = 3
HEARD = 0.7  # probability that a volunteer notes a sound that is there
IMAGINED = 0.01  # probability that a volunteer notes one that is not
# Tags of a scene: none in some scenes, one in most.
_HOW_MANY = (0.1, 0.45, 0.3, 0.15)
# Sounds that are rare in the streets of SONYC-UST are rare here, too.
_HOW_OFTEN = (4, 3, 0.5, 2, 3, 2, 4, 2)


def melody(
    timbre: np.random.Generator, rng: np.random.Generator, n: int, rate: int
) -> np.ndarray:
    """Render music: notes of a pentatonic scale at equal distances, with overtones."""
    scale = log_uniform(timbre, 220, 440) * 2 ** (np.array([0, 2, 4, 7, 9, 12]) / 12)
    amplitudes = timbre.uniform(0.1, 1, 6) / np.arange(1, 7)
    wave = np.zeros(n)
    n_note = max(1, round(timbre.uniform(0.15, 0.35) * rate))
    for start in range(0, n, n_note):
        m = min(n_note, n - start)
        note = harmonics(np.full(m, rng.choice(scale)), amplitudes, rate)
        wave[start : start + m] = note * np.exp(-2 * np.arange(m) / n_note)
    return wave


def _engine(timbre, rng, n, rate):
    return machine(rng, n, rate)


def _voice(timbre, rng, n, rate):
    return make_speech(rng, n, rate)


# By the tags of SONYC-UST, in their order.
TAGS = {
    "engine": Sound("engine", _engine, (1, 1), event_share=(0.6, 1.0)),
    "machinery-impact": Sound(
        "machinery-impact", door_knock, (6, 12), event_s=(0.06, 0.1), periodic=True
    ),
    "non-machinery-impact": SOUNDS[39],
    "powered-saw": Sound("powered-saw", chainsaw, (1, 1), event_share=(0.4, 0.9)),
    "alert-signal": SOUNDS[42],
    "music": Sound("music", melody, (1, 1), event_share=(0.6, 1.0)),
    "human-voice": Sound("human-voice", _voice, (1, 1), event_share=(0.5, 0.9)),
    "dog": SOUNDS[0],
}


def make_scene(
    tags: list[str], rng: np.random.Generator, n: int, rate: int
) -> np.ndarray:
    """Render a scene: sounds of some tags over background noise.

    Arguments
    ---------
    tags : list of str
        Keys of :data:`TAGS`.
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
    >>> make_scene(["dog", "music"], np.random.default_rng(0), 8000, 8000).shape
    (8000,)
    """
    wave = make_noise(rng.choice(["traffic", "wind"]), rng, n, rate)
    wave = wave / rms(wave) * db_to_gain(-15)
    for tag in tags:
        sound, timbre = TAGS[tag], int(rng.integers(2**32))
        layer, events = np.zeros(n), place_events(TAGS[tag], rng, n, rate)
        for start, stop in events:
            event = sound.event(np.random.default_rng(timbre), rng, stop - start, rate)
            event = event * fades(stop - start, rate, fade_s=0.003)
            layer[start:stop] = event / rms(event)
        layer = colour_like_a_recording(rng, layer, rate)
        loudness = rms(np.concatenate([layer[a:b] for a, b in events]))
        wave += layer / loudness * db_to_gain(rng.uniform(-6, 3))
    return scale_to_random_peak(rng, wave)


def generate_street(
    folder: str | Path,
    n_scenes: Mapping[str, int] = N_SCENES,
    seed: int = 0,
    duration_s: float = 2.0,
    sample_rate: int = 16000,
) -> Path:
    """Generate the data set; the folder must be missing or empty.

    Arguments
    ---------
    folder : str or Path
        Gets ``annotations.csv`` and ``audio/``.
    n_scenes : mapping of str to int
        The number of scenes of ``train``, ``validate`` and ``test``.
    seed : int
    duration_s : float
        Length of a scene in seconds.
    sample_rate : int
        Hz.

    Returns
    -------
    Path
        ``folder``.
    """
    folder, rows = Path(folder), []
    n = round(duration_s * sample_rate)
    how_often = np.array(_HOW_OFTEN) / sum(_HOW_OFTEN)
    with temporary_folder_beside(folder) as scratch:
        made = scratch / folder.name
        for number, (split, scenes) in enumerate(n_scenes.items()):
            for i in range(scenes):
                rng = np.random.default_rng([seed, 3, number, i])
                n_tags = rng.choice(len(_HOW_MANY), p=_HOW_MANY)
                tags = list(rng.choice(list(TAGS), n_tags, False, how_often))
                name = f"{number:02d}_{i:06d}.wav"
                wave = make_scene(tags, rng, n, sample_rate)
                save_audio(made / "audio" / name, torch.from_numpy(wave), sample_rate)
                rows += _annotations(split, name, tags, rng)
        presence = [f"{i}_{tag}_presence" for i, tag in enumerate(TAGS, start=1)]
        columns = ["split", "sensor_id", "audio_filename", "annotator_id", *presence]
        with open(made / "annotations.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *rows])
        os.replace(made, folder)
    return folder


def _annotations(split, name, tags, rng):
    """Return the rows of a scene: those of the volunteers, and what is there."""
    true = np.array([tag in tags for tag in TAGS])
    rows = []
    for annotator in 1 + rng.choice(20, N_VOLUNTEERS, replace=False):
        noted = rng.uniform(size=len(true)) < np.where(true, HEARD, IMAGINED)
        rows.append([split, 0, name, int(annotator), *noted.astype(int).tolist()])
    if split != "train":
        rows.append([split, 0, name, 0, *true.astype(int).tolist()])
    return rows
