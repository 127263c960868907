"""Generate the embedded corpus: a small synthetic data set, without any download.

It has clips of ten classes in ESC-50's layout (:mod:`lmac_td.data.demo.clips`), ambient
noise in WHAM!'s (:mod:`~lmac_td.data.demo.noise`) and babble in LJSpeech's
(:mod:`~lmac_td.data.demo.speech`). The same seed gives the same bytes.
``meta/events.csv`` holds the start and the end of each event, which no recording gives.

    python -m lmac_td.data.demo.corpus data/corpus
"""

import argparse
import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lmac_td.audio import save_audio
from lmac_td.data.conditions.in_domain import WHAM_SPLIT_FOLDERS
from lmac_td.data.demo.clips import SOUNDS, make_clip
from lmac_td.data.demo.noise import NOISES, make_noise
from lmac_td.data.demo.speech import make_speech
from lmac_td.errors import (
    DataError,
    SettingError,
    UnreadableFileError,
    exit_on_user_error,
)
from lmac_td.files import temporary_folder_beside
from lmac_td.reading import read_json

N_FOLDS = 5
FILES_PER_NOISE_KIND = {"train": 10, "valid": 3, "test": 5}
N_UTTERANCES = 12
SPEECH_RATE = 22050  # Hz, the rate of LJSpeech, for any rate of the clips
TRANSCRIPT = "synthetic babble without words"
MARKER = "corpus.json"

# Increase it when sounds change: a corpus of an older version is then refused.
_VERSION = 2


def generate_corpus(
    folder: str | Path,
    seed: int = 0,
    clips_per_class_and_fold: int = 8,
    duration_s: float = 2.0,
    sample_rate: int = 16000,
) -> Path:
    """Generate the corpus, unless the folder holds it already.

    Arguments
    ---------
    folder : str or Path
        It must be missing, empty, or hold the same corpus. It gets ``ESC-50/`` (for
        ``data_folder``), ``wham_noise/`` (for ``wham_folder``) and ``LJSpeech-1.1/``
        (for ``ljspeech_folder``).
    seed : int
        Seed of all sounds.
    clips_per_class_and_fold : int
        There are 10 classes and 5 folds.
    duration_s : float
        Length of a clip in seconds. Noise files are longer; speech files have 2 to 6 s.
    sample_rate : int
        Of clips and noise, in Hz. Speech has the rate of LJSpeech.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    DataError
        If the folder holds something else, such as a corpus of other parameters.
    SettingError
        If a parameter is out of its range.

    Example
    -------
    >>> import tempfile
    >>> root = tempfile.TemporaryDirectory()
    >>> folder = generate_corpus(
    ...     f"{root.name}/corpus", clips_per_class_and_fold=1, duration_s=0.5
    ... )
    >>> sorted(path.name for path in folder.iterdir())
    ['ESC-50', 'LJSpeech-1.1', 'corpus.json', 'wham_noise']
    """
    folder = Path(folder)
    parameters = {
        "version": _VERSION,
        "seed": seed,
        "clips_per_class_and_fold": clips_per_class_and_fold,
        "duration_s": float(duration_s),
        "sample_rate": sample_rate,
    }
    if clips_per_class_and_fold < 1 or duration_s < 0.5 or sample_rate < 8000:
        raise SettingError(
            "clips_per_class_and_fold must be 1 or more, duration_s 0.5 or more and "
            f"sample_rate 8000 or more, not {clips_per_class_and_fold}, {duration_s} "
            f"and {sample_rate}."
        )
    if _is_complete(folder, parameters):
        return folder
    with temporary_folder_beside(folder) as scratch:
        result = scratch / "corpus"
        _write_clips(result / "ESC-50", parameters)
        _write_noise(result / "wham_noise", parameters)
        _write_speech(result / "LJSpeech-1.1", parameters["seed"])
        (result / MARKER).write_text(json.dumps(parameters, indent=1) + "\n")
        os.replace(result, folder)
    return folder


def _is_complete(folder, parameters):
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = read_json(folder / MARKER)
    except (OSError, UnreadableFileError) as error:
        raise DataError(
            f"{folder} is not empty and holds no embedded corpus ({MARKER} is missing "
            "or damaged): give another folder."
        ) from error
    if found != parameters:
        raise DataError(
            f"{folder} holds an embedded corpus of other parameters ({found}): give "
            "another folder or remove this one."
        )
    return True


def _write_clips(folder, parameters):
    rate = parameters["sample_rate"]
    n = round(parameters["duration_s"] * rate)
    clips, all_events, number = [], [], 0
    for fold in tqdm(range(1, N_FOLDS + 1), desc="making clips", unit="fold"):
        for target, sound in SOUNDS.items():
            for i in range(parameters["clips_per_class_and_fold"]):
                # One generator per clip: more clips leave the first ones unchanged.
                rng = np.random.default_rng([parameters["seed"], 0, fold, target, i])
                samples, events = make_clip(sound, rng, n, rate)
                filename = f"{fold}-{number:06d}-A-{target}.wav"
                _save(folder / "audio" / filename, samples, rate)
                clips.append(
                    (filename, fold, target, sound.category, True, f"{number:06d}", "A")
                )
                all_events += [(filename, a / rate, b / rate) for a, b in events]
                number += 1
    columns = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
    _write_table(folder / "meta" / "esc50.csv", columns, clips)
    columns = ("filename", "onset_s", "offset_s")
    _write_table(folder / "meta" / "events.csv", columns, all_events)


def _write_noise(folder, parameters):
    rate = parameters["sample_rate"]
    for split_number, (split, name) in enumerate(WHAM_SPLIT_FOLDERS.items()):
        for kind_number, kind in enumerate(NOISES):
            for i in range(FILES_PER_NOISE_KIND[split]):
                rng = np.random.default_rng(
                    [parameters["seed"], 1, split_number, kind_number, i]
                )
                # As in WHAM!, recordings are longer than clips, and some are stereo.
                # Steps of 0.1 s avoid prime lengths, whose FFT is many times slower.
                length_s = round(parameters["duration_s"] * rng.uniform(1.5, 3), 1)
                n = round(length_s * rate)
                channels = [make_noise(kind, rng, n, rate)]
                if i % 3 == 0:
                    channels.append(make_noise(kind, rng, n, rate))
                _save(folder / name / f"{kind}_{i:02d}.wav", np.stack(channels), rate)


def _write_speech(folder, seed):
    lines = []
    for i in range(N_UTTERANCES):
        rng = np.random.default_rng([seed, 2, i])
        n = round(round(rng.uniform(2, 6), 1) * SPEECH_RATE)  # steps of 0.1 s, as above
        name = f"SY001-{i + 1:04d}"
        _save(
            folder / "wavs" / f"{name}.wav",
            make_speech(rng, n, SPEECH_RATE),
            SPEECH_RATE,
        )
        lines.append(f"{name}|{TRANSCRIPT}|{TRANSCRIPT}\n")
    # LJSpeech's table has neither a header nor quotes.
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")


def _save(path, samples, rate):
    save_audio(path, torch.from_numpy(samples), rate)


def _write_table(path, columns, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def main(argv: Sequence[str] | None = None) -> None:
    """Generate the corpus from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lmac_td.data.demo.corpus", description=__doc__.splitlines()[0]
    )
    parser.add_argument("folder", help="the folder of the corpus")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clips_per_class_and_fold", type=int, default=8)
    parser.add_argument("--duration_s", type=float, default=2.0, help="seconds")
    parser.add_argument("--sample_rate", type=int, default=16000, help="Hz")
    with exit_on_user_error():
        folder = generate_corpus(**vars(parser.parse_args(argv)))
        print(f"data_folder: {folder / 'ESC-50'}\nwham_folder: {folder / 'wham_noise'}")
        print(f"ljspeech_folder: {folder / 'LJSpeech-1.1'}")


if __name__ == "__main__":
    main()
