"""The embedded corpus: a small data set that anybody can make, with nothing downloaded.

Ten classes in ESC-50's layout, ambient noise in WHAM!'s and babbling voices in
LJSpeech's, rendered by :mod:`lmac_td.data.demo.synthesis`; the same seed gives the same
bytes. ``meta/events.csv`` says when each event begins and ends, which recordings never
tell.

    python -m lmac_td.data.demo.corpus data/corpus
"""

import argparse
import csv
import json
import os
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lmac_td.audio import save_audio
from lmac_td.data.conditions.in_domain import WHAM_SPLIT_FOLDERS
from lmac_td.data.demo.synthesis import (
    NOISES,
    SOUNDS,
    make_clip,
    make_noise,
    make_speech,
)
from lmac_td.errors import DataError, SettingError, exit_on_user_error
from lmac_td.files import temporary_folder_beside

N_FOLDS = 5
FILES_PER_NOISE_KIND = {"train": 10, "valid": 3, "test": 5}
N_UTTERANCES = 12
SPEECH_RATE = 22050  # Hz, as LJSpeech's, whatever the clips' rate
TRANSCRIPT = "synthetic babble without words"
MARKER = "corpus.json"

# Raised when sounds change, so that a corpus made by older code is not taken for new.
_VERSION = 2


def generate_corpus(
    folder, seed=0, clips_per_class_and_fold=8, duration_s=2.0, sample_rate=16000
):
    """Make the corpus, or find that it is there already.

    Arguments
    ---------
    folder : str or Path
        Gets ``ESC-50/`` (for ``data_folder``), ``wham_noise/`` (for
        ``wham_folder``) and ``LJSpeech-1.1/`` (for ``ljspeech_folder``); must be
        missing, empty, or an earlier result.
    seed : int
        Another seed gives other sounds.
    clips_per_class_and_fold : int
        There are 10 classes and 5 folds.
    duration_s : float
        Length of a clip, seconds; noise files are longer, speech has 2 to 6 s.
    sample_rate : int
        Of clips and noise, Hz; that of speech is LJSpeech's.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    DataError
        The folder holds something else, such as a corpus of other parameters.
    SettingError
        A parameter cannot work.

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
        found = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError) as error:
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
                # A generator of its own, so that asking for more clips keeps the first.
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
                # In steps of 0.1 s: an FFT of a prime length takes many times longer.
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
        n = round(round(rng.uniform(2, 6), 1) * SPEECH_RATE)  # steps as of the noise
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


def main(argv=None):
    """Make the corpus from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lmac_td.data.demo.corpus", description=__doc__.splitlines()[0]
    )
    parser.add_argument("folder", help="gets ESC-50/, wham_noise/ and LJSpeech-1.1/")
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
