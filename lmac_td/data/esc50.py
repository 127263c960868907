"""ESC-50 and every data set in its layout: clips by fold, one manifest a split.

Layout (Piczak, "ESC: Dataset for Environmental Sound Classification", 2015)::

    <data_folder>/audio/<filename>
    <data_folder>/meta/esc50.csv     with columns filename, fold, target, category

ESC-10, which is part of ESC-50, and the embedded corpus share it. Folds keep clips cut
from one recording together, so a split is always a set of whole folds.
"""

import csv
import json
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from lmac_td.data.cache import cached_path, decode_once, decoded_length
from lmac_td.errors import DataError, LoadAudioError, SettingError
from lmac_td.files import write_atomically

logger = logging.getLogger(__name__)

COLUMNS = ("filename", "fold", "target", "category")

# Fewer files than this are decoded before a progress bar could be read.
_PROGRESS_FROM = 8


@dataclass(frozen=True)
class Clip:
    """One row of the table of clips.

    Arguments
    ---------
    clip_id : str
        The file's name without its ending.
    path : Path
        The recording.
    fold : int
        The fold it belongs to, from 1.
    target : int
        The data set's own number of the class.
    category : str
        The name of the class.
    """

    clip_id: str
    path: Path
    fold: int
    target: int
    category: str


def read_clips(data_folder):
    """Read and check the table of clips of an ESC-50-like folder.

    Arguments
    ---------
    data_folder : str or Path
        Holds ``audio/`` and ``meta/esc50.csv``.

    Returns
    -------
    list of Clip
        In the table's order.

    Raises
    ------
    DataError
        The folder, its table or a recording is missing, or the table contradicts
        itself.

    Example
    -------
    >>> import tempfile
    >>> from lmac_td.data.corpus import generate_corpus
    >>> root = tempfile.TemporaryDirectory()
    >>> corpus = generate_corpus(
    ...     f"{root.name}/corpus", clips_per_class_and_fold=1, duration_s=0.5
    ... )
    >>> clips = read_clips(corpus / "ESC-50")
    >>> len(clips), clips[0].clip_id, clips[0].category
    (50, '1-000000-A-0', 'dog')
    """
    data_folder = Path(data_folder)
    if not data_folder.is_dir():
        raise DataError(
            f"data_folder {data_folder} does not exist: give the folder that holds "
            "audio/ and meta/esc50.csv with --data_folder, or fetch ESC-50 with "
            "--download True."
        )
    audio_folder, table = data_folder / "audio", data_folder / "meta" / "esc50.csv"
    for needed in (audio_folder, table):
        if not needed.exists():
            raise DataError(
                f"{needed} is missing: data_folder must hold audio/ and "
                "meta/esc50.csv as ESC-50 does; give another one with --data_folder, "
                "or fetch ESC-50 into a new folder with --download True."
            )
    clips = [
        _clip_of_row(row, table, number, audio_folder)
        for number, row in enumerate(_read_rows(table), start=2)
    ]
    _check_clips(clips, table)
    return clips


def _read_rows(table):
    try:
        # utf-8-sig: spreadsheets like to put a byte order mark before the first name.
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{table} cannot be read as a csv table ({error}): "
            "replace it with the data set's own."
        ) from error
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise DataError(
            f"{table} has no column {missing[0]!r}: its first line must name "
            f"{', '.join(COLUMNS)}."
        )
    if not rows:
        raise DataError(f"{table} lists no clips: replace it with the data set's own.")
    return rows


def _clip_of_row(row, table, line, audio_folder):
    for column in COLUMNS:
        if not row[column]:
            raise DataError(f"{table}, line {line}, has no {column}: fill it in.")
    for column in ("fold", "target"):
        try:
            int(row[column])
        except ValueError as error:
            raise DataError(
                f"{table}, line {line}: {column} {row[column]!r} is not a whole "
                "number; correct it."
            ) from error
    return Clip(
        clip_id=Path(row["filename"]).stem,
        path=audio_folder / row["filename"],
        fold=int(row["fold"]),
        target=int(row["target"]),
        category=row["category"],
    )


def _check_clips(clips, table):
    counts = Counter(clip.clip_id for clip in clips)
    duplicates = [clip_id for clip_id, count in counts.items() if count > 1]
    if duplicates:
        raise DataError(
            f"{table} lists {duplicates[0]} {counts[duplicates[0]]} times "
            f"({len(duplicates)} such clips): keep one row a clip."
        )
    category_of = {}
    for clip in clips:
        category = category_of.setdefault(clip.target, clip.category)
        if category != clip.category:
            raise DataError(
                f"{table} calls target {clip.target} both {category!r} and "
                f"{clip.category!r}: give each target one category."
            )
    # One listing instead of a look-up a clip: folders may lie on slow network disks.
    present = set(clips[0].path.parent.iterdir())
    absent = [clip.path for clip in clips if clip.path not in present]
    if absent:
        raise DataError(
            f"{absent[0]} is listed in {table} but missing ({len(absent)} of "
            f"{len(clips)} clips are): complete the data set in data_folder or remove "
            "those rows."
        )


def class_names(clips):
    """Name the classes in the order of their class index.

    Arguments
    ---------
    clips : list of Clip
        All clips of a data set.

    Returns
    -------
    list of str
        One name a class; ``class_index`` is the position.

    Example
    -------
    >>> class_names([Clip("a", Path("a"), 1, 41, "chainsaw"),
    ...              Clip("b", Path("b"), 1, 0, "dog")])
    ['dog', 'chainsaw']
    """
    category_of = {clip.target: clip.category for clip in clips}
    return [category_of[target] for target in sorted(category_of)]


def prepare_esc50(
    data_folder,
    output_folder,
    fold_nums,
    out_n_neurons,
    sample_rate,
    signal_length_s,
    cache_folder,
    skip_bad_files=False,
    splits=None,
):
    """Decode the clips of each split once and write its manifest.

    A manifest is what ``DynamicItemDataset.from_json`` of SpeechBrain reads: for each
    clip id ``wav`` (the decoded ``.npy`` file), ``path`` (the recording), ``duration``
    (seconds, as decoded), ``fold``, ``esc50_target``, ``category`` and ``class_index``,
    the rank of the target among all targets of the table: equal to it for ESC-50,
    0 to 9 for ESC-10. Nothing is written into ``data_folder``.

    Arguments
    ---------
    data_folder : str or Path
        Holds ``audio/`` and ``meta/esc50.csv``.
    output_folder : str or Path
        The manifests go to its subfolder ``manifest``.
    fold_nums : dict of str to list of int
        The folds of each split, as in ``{"train": [1, 2, 3], "test": [4]}``.
    out_n_neurons : int
        The number of classes that the classifier tells apart.
    sample_rate : int
        Hz, after decoding.
    signal_length_s : float or None
        Seconds, after decoding; ``None`` keeps each clip's length.
    cache_folder : str or Path
        Where decoded clips are kept.
    skip_bad_files : bool
        Leave out clips that cannot be used, with a warning, instead of stopping.
    splits : sequence of str, optional
        Decode and write only these of ``fold_nums``; all are checked. All by default.

    Returns
    -------
    dict of str to Path
        The manifest of each split.

    Raises
    ------
    DataError
        The table is wrong (:func:`read_clips`), a fold has no clips, the number of
        classes is not ``out_n_neurons``, or too little is left after skipping.
    SettingError
        A fold stands in ``train`` and in another split, or a split names none.
        (``valid`` and ``test`` may share folds: the papers score the fold that chose
        the checkpoint too.)
    LoadAudioError
        A clip cannot be used, and ``skip_bad_files`` is off.

    Example
    -------
    >>> import tempfile
    >>> from lmac_td.data.corpus import generate_corpus
    >>> root = tempfile.TemporaryDirectory()
    >>> corpus = generate_corpus(
    ...     f"{root.name}/corpus", clips_per_class_and_fold=1, duration_s=0.5
    ... )
    >>> manifests = prepare_esc50(
    ...     corpus / "ESC-50", f"{root.name}/results", {"train": [1], "test": [5]},
    ...     out_n_neurons=10, sample_rate=16000, signal_length_s=0.5,
    ...     cache_folder=f"{root.name}/cache",
    ... )
    >>> len(json.loads(manifests["test"].read_text()))
    10
    """
    _check_fold_nums(fold_nums)
    clips = read_clips(data_folder)
    # All splits are checked, whichever are wanted: hours may lie between the commands.
    clips_of = _split_clips(clips, fold_nums, data_folder)
    splits = {split: clips_of[split] for split in splits or fold_nums}
    names = class_names(clips)
    if len(names) != out_n_neurons:
        raise DataError(
            f"{data_folder} has {len(names)} classes, but out_n_neurons is "
            f"{out_n_neurons}: set --out_n_neurons {len(names)}, or give another data "
            "set with --data_folder."
        )
    needed = list(dict.fromkeys(clip for split in splits.values() for clip in split))
    decoded = _decode_clips(
        needed, sample_rate, signal_length_s, cache_folder, skip_bad_files
    )
    _check_what_is_left(splits, decoded)

    class_index = {target: i for i, target in enumerate(sorted(_targets(clips)))}
    manifests = {}
    for split, split_clips in splits.items():
        entries = {
            clip.clip_id: {
                "wav": str(decoded[clip]),
                "path": str(clip.path.absolute()),
                "duration": decoded_length(decoded[clip]) / sample_rate,
                "fold": clip.fold,
                # Not "target": that is the clean sound of a mixture.
                "esc50_target": clip.target,
                "category": clip.category,
                "class_index": class_index[clip.target],
            }
            for clip in split_clips
            if clip in decoded
        }
        manifests[split] = Path(output_folder) / "manifest" / f"{split}.json"
        with write_atomically(manifests[split], "w", encoding="utf-8") as file:
            json.dump(entries, file, indent=1)
    return manifests


def _targets(clips):
    return {clip.target for clip in clips}


def _check_fold_nums(fold_nums):
    for split, folds in fold_nums.items():
        setting = f"{split}_fold_nums"
        if not isinstance(folds, list | tuple) or not folds:
            raise SettingError(
                f"{setting} is {folds!r}, not a list of fold numbers: "
                f"give one such as --{setting} [4]."
            )
        for fold in folds:
            if split != "train" and fold in fold_nums.get("train", []):
                raise SettingError(
                    f"fold {fold} stands in both train_fold_nums and {setting}: "
                    "results on clips that were trained on mean nothing, so take it "
                    "out of one of them."
                )


def _split_clips(clips, fold_nums, data_folder):
    present = sorted({clip.fold for clip in clips})
    for split, folds in fold_nums.items():
        for fold in folds:
            if fold not in present:
                raise DataError(
                    f"{data_folder} has no clips in fold {fold!r} of "
                    f"{split}_fold_nums: its folds are "
                    f"{', '.join(map(str, present))}, so set --{split}_fold_nums to "
                    "some of these."
                )
    return {
        split: [clip for clip in clips if clip.fold in folds]
        for split, folds in fold_nums.items()
    }


def _decode_clips(clips, sample_rate, signal_length_s, cache_folder, skip_bad_files):
    """Decode into the cache; returns {clip: .npy file} without the skipped clips."""
    how = (sample_rate, signal_length_s, cache_folder)
    n_new = sum(not cached_path(clip.path, *how).exists() for clip in clips)
    decoded = {}
    for clip in tqdm(clips, desc="decoding", disable=n_new < _PROGRESS_FROM):
        try:
            decoded[clip] = decode_once(clip.path, *how)
        except LoadAudioError as error:
            if not skip_bad_files:
                raise
            logger.warning("skipped a bad file: %s", error)
    return decoded


def _check_what_is_left(splits, decoded):
    for split, clips in splits.items():
        if not any(clip in decoded for clip in clips):
            raise DataError(
                f"no usable clip is left in the folds of {split}_fold_nums after "
                "skipping bad files (skip_bad_files): repair the recordings or choose "
                "other folds."
            )
    needed = [clip for clips in splits.values() for clip in clips]
    for target in sorted(_targets(needed) - _targets(decoded)):
        category = next(clip.category for clip in needed if clip.target == target)
        raise DataError(
            f"no usable clip of class {category!r} (target {target}) is left after "
            "skipping bad files (skip_bad_files): repair the recordings."
        )
