"""Write one manifest for each split of a data source; decode each clip once."""

import contextlib
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from lmac_td.audio import recorded_length
from lmac_td.data.cache import (
    NPY_HEADER,
    cached_path,
    decode_once,
    decoded_length,
    make_room,
)
from lmac_td.data.sources.base import Clip, DataSource, read_source
from lmac_td.errors import DataError, LoadAudioError, SettingError
from lmac_td.files import write_atomically
from lmac_td.targets import NO_LABEL

logger = logging.getLogger(__name__)

# Number of new files from which a progress bar is shown.
_PROGRESS_FROM = 8


def write_manifests(
    source: DataSource,
    output_folder: str | Path,
    fold_nums: dict[str, list[int]],
    sample_rate: int,
    signal_length_s: float | None,
    cache_folder: str | Path,
    skip_bad_files: bool = False,
    splits: Sequence[str] | None = None,
    n_classes: int | None = None,
    cache_limit_gb: float | None = None,
    decode_from: float = 0.0,
) -> tuple[dict[str, Path], list[str]]:
    """Decode the clips of each split and write its manifest.

    A manifest is a json file in the format of SpeechBrain's
    ``DynamicItemDataset.from_json``. It holds for each clip id: ``wav`` (the decoded
    ``.npy`` file), ``path`` (the recording), ``duration`` (seconds, as decoded),
    ``n_samples`` (the length of the recording, without padding), ``fold``, ``category``
    (the class name), ``class_index``, and the details of the source. If any clip of the
    source has several labels or none, ``labels`` holds all labels of a clip and
    ``class_indices`` their classes. Category and class index are then those of its
    first label, or ``no label`` and -1. Nothing is written into the folder of the
    source.

    Arguments
    ---------
    source : DataSource
    output_folder : str or Path
        The manifests go to its subfolder ``manifest``.
    fold_nums : dict of str to list of int
        The folds of each split, as in ``{"train": [1, 2, 3], "test": [4]}``.
    sample_rate : int
        Hz, after decoding.
    signal_length_s : float or None
        Seconds, after decoding; ``None`` keeps the length of each clip.
    cache_folder : str or Path
        The folder of decoded clips.
    skip_bad_files : bool
        Skip clips that cannot be used, with a warning, instead of raising an error.
    splits : sequence of str, optional
        The splits to decode and write; by default all. ``fold_nums`` is checked for all
        splits.
    n_classes : int, optional
        Refuse a data set with another number of classes; for training a classifier.
    cache_limit_gb : float, optional
        See :func:`lmac_td.data.cache.make_room`.
    decode_from : float
        The share of the clips before the one that is decoded first, in [0, 1).
        Processes that start at the same time begin at different places, and share the
        work.

    Returns
    -------
    manifests : dict of str to Path
        The manifest of each split.
    class_names : list of str
        By class index.

    Raises
    ------
    DataError
        If :func:`~lmac_td.data.sources.base.read_source` refuses the source, a fold has
        no clips, the number of classes is wrong, or a split or a class has no usable
        clip left after skipping.
    SettingError
        If a fold is in ``train`` and in another split, or a split has no folds.
        (``valid`` and ``test`` may share folds: the papers also score the fold that
        selected the checkpoint.) Or if the clips exceed ``cache_limit_gb``.
    LoadAudioError
        If a clip cannot be used and ``skip_bad_files`` is False.

    Example
    -------
    >>> import tempfile
    >>> from lmac_td.data.demo.corpus import generate_corpus
    >>> from lmac_td.data.sources.esc50 import ESC50
    >>> root = tempfile.TemporaryDirectory()
    >>> corpus = generate_corpus(
    ...     f"{root.name}/corpus", clips_per_class_and_fold=1, duration_s=0.5
    ... )
    >>> manifests, class_names = write_manifests(
    ...     ESC50(corpus / "ESC-50"), f"{root.name}/results",
    ...     {"train": [1], "test": [5]}, sample_rate=16000, signal_length_s=0.5,
    ...     cache_folder=f"{root.name}/cache",
    ... )
    >>> len(json.loads(manifests["test"].read_text())), class_names[0]
    (10, 'dog')
    """
    _check_fold_nums(fold_nums)
    clips, class_names = read_source(source)
    # All splits are checked: another command may need them only hours later.
    clips_of = _split_clips(clips, fold_nums, source.listing)
    splits = {split: clips_of[split] for split in splits or fold_nums}
    if n_classes is not None and len(class_names) != n_classes:
        raise DataError(
            f"{source.listing} has {len(class_names)} classes, but out_n_neurons is "
            f"{n_classes}: set --out_n_neurons {len(class_names)}, or name another "
            "data set in dataset."
        )
    needed = list(dict.fromkeys(clip for split in splits.values() for clip in split))
    if cache_limit_gb is not None:
        _make_room(needed, sample_rate, signal_length_s, cache_folder, cache_limit_gb)
    first = int(len(needed) * decode_from)
    needed = needed[first:] + needed[:first]
    decoded = _decode_clips(
        needed, sample_rate, signal_length_s, cache_folder, skip_bad_files
    )
    _check_usable_clips(splits, decoded)

    has_tags = any(len(clip.labels) != 1 for clip in clips)
    class_index = {name: i for i, name in enumerate(class_names)}
    manifests = {}
    for split, split_clips in splits.items():
        entries = {
            clip.clip_id: {
                **_recording_entries(clip.path, decoded[clip], sample_rate),
                "fold": clip.fold,
                **clip.details,
                **_label_entries(clip.labels, class_index, has_tags),
            }
            for clip in split_clips
            if clip in decoded
        }
        manifests[split] = Path(output_folder) / "manifest" / f"{split}.json"
        with write_atomically(manifests[split], "w", encoding="utf-8") as file:
            json.dump(entries, file, indent=1)
    return manifests, class_names


def _label_entries(
    labels: tuple[str, ...], class_index: dict[str, int], has_tags: bool
) -> dict:
    """Return a manifest's entries about the labels of a clip."""
    indices = [class_index[label] for label in labels]
    category, first = (labels[0], indices[0]) if labels else (NO_LABEL, -1)
    entries = {"category": category, "class_index": first}
    if has_tags:
        entries |= {"labels": list(labels), "class_indices": indices}
    return entries


def _recording_entries(path: Path, decoded: Path, sample_rate: int) -> dict:
    """Return a manifest's entries about a recording and its decoded form."""
    n_samples = decoded_length(decoded)
    return {
        "wav": str(decoded),
        "path": str(path.absolute()),
        "duration": n_samples / sample_rate,
        "n_samples": min(n_samples, recorded_length(path, sample_rate)),
    }


def _check_fold_nums(fold_nums: dict[str, list[int]]) -> None:
    """Refuse splits without folds, and a training fold in another split."""
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
                    f"fold {fold} is in both train_fold_nums and {setting}: "
                    "results on training clips are not valid, so remove it from one "
                    "of them."
                )


def _split_clips(
    clips: list[Clip], fold_nums: dict[str, list[int]], listing: Path
) -> dict[str, list[Clip]]:
    """Return the clips of each split."""
    present = sorted({clip.fold for clip in clips})
    for split, folds in fold_nums.items():
        for fold in folds:
            if fold not in present:
                raise DataError(
                    f"{listing} has no clips in fold {fold!r} of "
                    f"{split}_fold_nums: its folds are "
                    f"{', '.join(map(str, present))}, so set --{split}_fold_nums to "
                    "some of these."
                )
    return {
        split: [clip for clip in clips if clip.fold in folds]
        for split, folds in fold_nums.items()
    }


def _decode_clips(
    clips: list[Clip],
    sample_rate: int,
    signal_length_s: float | None,
    cache_folder: str | Path,
    skip_bad_files: bool,
) -> dict[Clip, Path]:
    """Decode clips into the cache; return the .npy file of each usable clip."""
    settings = (sample_rate, signal_length_s, cache_folder)
    n_new = sum(not cached_path(clip.path, *settings).exists() for clip in clips)
    decoded = {}
    for clip in tqdm(clips, desc="decoding", disable=n_new < _PROGRESS_FROM):
        try:
            decoded[clip] = decode_once(clip.path, *settings)
        except LoadAudioError as error:
            if not skip_bad_files:
                raise
            logger.warning("skipped a bad file: %s", error)
    return decoded


def _make_room(clips, sample_rate, signal_length_s, cache_folder, limit_gb):
    """Make room in the cache for the clips of this command."""
    planned, n_samples = [], 0
    for clip in clips:
        # A missing or broken file is named when it is decoded, or skipped.
        with contextlib.suppress(LoadAudioError):
            path = cached_path(clip.path, sample_rate, signal_length_s, cache_folder)
            planned.append(path)
            if signal_length_s is None:
                n_samples += recorded_length(clip.path, sample_rate)
            else:
                n_samples += round(signal_length_s * sample_rate)
    n_bytes = 4 * n_samples + NPY_HEADER * len(planned)
    make_room(cache_folder, limit_gb, planned, n_bytes)


def _check_usable_clips(
    splits: dict[str, list[Clip]], decoded: dict[Clip, Path]
) -> None:
    """Refuse a split or a class that has no usable clip."""
    for split, clips in splits.items():
        if not any(clip in decoded for clip in clips):
            raise DataError(
                f"no usable clip is left in the folds of {split}_fold_nums after "
                "skipping bad files (skip_bad_files): repair the recordings or choose "
                "other folds."
            )
    needed = [clip for clips in splits.values() for clip in clips]
    for label in sorted(_labels(needed) - _labels(decoded)):
        raise DataError(
            f"no usable clip of class {label!r} is left after skipping bad files "
            "(skip_bad_files): repair the recordings."
        )


def _labels(clips: Iterable[Clip]) -> set[str]:
    return {label for clip in clips for label in clip.labels}
