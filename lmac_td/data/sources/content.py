"""Tell data sets apart by what they hold, however their folders are named."""

from __future__ import annotations

import functools
import hashlib
import os

from lmac_td.data.sources.base import Clip, DataSource
from lmac_td.errors import UserError

MOST_FOLDS = 100
# Of each fold so many recordings are read, up to so many bytes.
RECORDINGS, BYTES = 4, 2**16


def content_of(source: DataSource) -> dict[str, str] | None:
    """Return a hash of each fold of a data set.

    It covers the ids and labels of the fold's clips, and the beginnings of the first
    four recordings by id. A data set that was moved, copied or renamed, or is named by
    a link, has the same hashes; so has a fold that got another number.

    Arguments
    ---------
    source : DataSource

    Returns
    -------
    dict of str to str
        By the number of the fold; a data set of more than 100 folds has one hash, of
        ``all``. None if the data set is not on this disk, or cannot be read.

    Example
    -------
    >>> import tempfile
    >>> from lmac_td.data.demo.corpus import generate_corpus
    >>> from lmac_td.data.sources.esc50 import ESC50
    >>> folder = generate_corpus(
    ...     f"{tempfile.mkdtemp()}/corpus", clips_per_class_and_fold=1, duration_s=0.5
    ... ) / "ESC-50"
    >>> sorted(content_of(ESC50(folder)))
    ['1', '2', '3', '4', '5']
    """
    try:
        found = os.stat(source.listing)
        return dict(_content(source, found.st_size, found.st_mtime_ns))
    except (OSError, UserError):
        return None


@functools.lru_cache(maxsize=8)
def _content(source: DataSource, size: int, time_ns: int) -> tuple:
    folds: dict[str, list[Clip]] = {}
    for clip in source.clips():
        folds.setdefault(str(clip.fold), []).append(clip)
    if len(folds) > MOST_FOLDS:
        folds = {"all": [clip for clips in folds.values() for clip in clips]}
    return tuple((fold, _hash(clips)) for fold, clips in sorted(folds.items()))


def _hash(clips: list[Clip]) -> str:
    clips = sorted(clips, key=lambda clip: clip.clip_id)
    digest = hashlib.sha256()
    for clip in clips:
        line = repr((clip.clip_id, clip.labels))
        digest.update(line.encode("utf-8", "surrogateescape"))
    for clip in clips[:RECORDINGS]:
        with open(clip.path, "rb") as file:
            digest.update(file.read(BYTES))
    return digest.hexdigest()[:16]
