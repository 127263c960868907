"""Tiny synthetic recordings in the layouts of urban data sets."""

import csv

import numpy as np
import soundfile

from lmac_td.data.sources.urbansound8k import COLUMNS

RATE = 16000
# UrbanSound8K's classes, by classID.
CLASSES = (
    "air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling",
    "engine_idling", "gun_shot", "jackhammer", "siren", "street_music",
)  # fmt: skip


def write_urbansound8k(folder, folds=range(1, 11), clips_per_class=1):
    """Write tones, each class at its own pitch, of at most 1.2 s, in noise.

    Arguments
    ---------
    folder : Path
        Gets ``audio`` and ``metadata``.
    folds : iterable of int
    clips_per_class : int
        In each fold.

    Returns
    -------
    Path
        The folder.
    """
    rows = []
    for fold in folds:
        for class_id, name in enumerate(CLASSES):
            for take in range(clips_per_class):
                rng = np.random.default_rng([fold, class_id, take])
                seconds = float(rng.uniform(0.4, 1.2))
                time = np.arange(round(seconds * RATE)) / RATE
                tone = 0.4 * np.sin(2 * np.pi * 300 * 1.4**class_id * time)
                number = 1000 * fold + class_id
                file = f"{number}-{class_id}-0-{take}.wav"
                path = folder / "audio" / f"fold{fold}" / file
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = 0.02 * rng.standard_normal(len(time))
                soundfile.write(path, tone + noise, RATE)
                rows.append(
                    [
                        file,
                        number,
                        0.0,
                        seconds,
                        1,
                        fold,
                        class_id,
                        name,
                    ]
                )
    table = folder / "metadata" / "UrbanSound8K.csv"
    table.parent.mkdir(parents=True)
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return folder
