"""Shards of an evaluation: which batches each scores, and how their scores are joined.

The batches of all conditions are numbered in the order in which one process scores
them, and shard i of n scores the batches i, i + n, i + 2 n, ... So each batch holds the
same clips as in one process, nothing is padded, and the joined scores are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lmac_td.errors import SettingError
from lmac_td.evaluation.frame import ScoreFrame
from lmac_td.evaluation.row_store import RowStore, columns_as_arrays
from lmac_td.names import file_name

CLIPS_AT_ONCE = 8192
"""Clips whose lines are in memory while parts are joined."""


@dataclass(frozen=True)
class Shard:
    """One of n shards, counted from 0.

    Example
    -------
    >>> shard = Shard.read("1/3")
    >>> shard.name, [batch for batch in range(8) if batch in shard]
    ('1-of-3', [1, 4, 7])
    """

    index: int
    of: int

    @classmethod
    def read(cls, text: str) -> Shard:
        """Read ``i/n``.

        Raises
        ------
        SettingError
            If it is not one of ``0/n`` to ``n-1/n``.
        """
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        index, of = map(int, found.groups()) if found else (0, 0)
        if not found or not 0 <= index < of:
            last = f", here 0/{of} to {of - 1}/{of}" if found and of else ""
            raise SettingError(
                f"--shard is {text!r}: give i/n, the shard and the number of shards; "
                f"shards are counted from 0{last}"
            )
        return cls(index, of)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.index}-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def __contains__(self, batch: int) -> bool:
        return batch % self.of == self.index


def batches_of(
    sizes: Mapping[str, int], batch_size: int, shard: Shard
) -> dict[str, list[list[int]]]:
    """Return the batches of a shard, by condition.

    Arguments
    ---------
    sizes : dict of str to int
        The number of clips of each condition, in the order of scoring.
    batch_size : int
    shard : Shard

    Returns
    -------
    dict of str to list of list of int
        Places of the clips in the condition's data.

    Example
    -------
    >>> batches_of({"speech": 5, "clean": 3}, 2, Shard(1, 2))
    {'speech': [[2, 3]], 'clean': [[0, 1]]}
    """
    found, number = {}, 0
    for condition, n_clips in sizes.items():
        found[condition] = []
        for first in range(0, n_clips, batch_size):
            if number in shard:
                last = min(first + batch_size, n_clips)
                found[condition].append(list(range(first, last)))
            number += 1
    return found


def save_frame(scores: ScoreFrame, folder: Path) -> None:
    """Write all rows of a frame into a folder, as Parquet files.

    Arguments
    ---------
    scores : ScoreFrame
    folder : Path
        Created if the frame has a row; :func:`join_frames` reads it.
    """
    for number, (row, lines) in enumerate(scores.rows.items()):
        store = RowStore(row, folder / file_name(f"{number:03d} {' '.join(row)}"))
        store.extend(columns_as_arrays({name: lines[name] for name in lines}))
        store.close()


def join_frames(
    scores: ScoreFrame,
    folders: Sequence[Path],
    clips: Mapping[str, Sequence[str]],
    rows: Sequence[tuple[str, str]] | None = None,
) -> None:
    """Fill a frame with the scores of several parts, in the order of the clips.

    Memory does not grow with the number of clips, if the frame has a folder.

    Arguments
    ---------
    scores : ScoreFrame
    folders : sequence of Path
        Of Parquet files. A clip's lines of a row are in one of them, and each has its
        clips in the common order.
    clips : dict of str to sequence of str
        The clips of each condition in the common order.
    rows : sequence of tuple of str, optional
        The rows (condition, method) in their order; by default that in which they are
        found.

    Raises
    ------
    ValueError
        If a clip is there twice for the same class.
    """
    parts = [ScoreFrame.read_parquet(sorted(f.glob("*.parquet"))) for f in folders]
    found = list(dict.fromkeys(row for part in parts for row in part.rows))
    places = {}
    for row in found if rows is None else [row for row in rows if row in found]:
        condition = row[0]
        if condition not in places:
            places = {condition: pd.Index(clips[condition])}
        stored = [part.row(*row) for part in parts if row in part]
        scores.put_parts(*row, _joined(stored, places[condition]))


def _joined(stored, index) -> Iterator[pd.DataFrame]:
    """Yield the lines of several parts in the order of an index of clips."""
    differing = set().union(*stored) - set(stored[0]).intersection(*stored)
    if differing:
        raise ValueError(f"they differ in their columns {', '.join(sorted(differing))}")
    readers = [_Reader(row.frames(), index) for row in stored]
    for end in range(CLIPS_AT_ONCE, len(index) + CLIPS_AT_ONCE, CLIPS_AT_ONCE):
        pieces = [piece for reader in readers for piece in reader.until(end)]
        if pieces:
            places = np.concatenate([place for place, _ in pieces])
            lines = pd.concat([lines for _, lines in pieces], ignore_index=True)
            yield lines.iloc[places.argsort(kind="stable")].reset_index(drop=True)


class _Reader:
    """Reads the lines of one part as far as a place in the order of clips."""

    def __init__(self, frames, index):
        self._frames, self._index = frames, index
        self._left, self._last = None, 0

    def until(self, end):
        """Yield (places, lines) of clips that come before a place."""
        while True:
            if self._left is None:
                lines = next(self._frames, None)
                if lines is None:
                    return
                places = self._index.get_indexer(lines["clip_id"])
                if places.min() < self._last or (np.diff(places) < 0).any():
                    raise ValueError("clips are unknown or in another order")
                self._last = places[-1]
                self._left = places, lines
            places, lines = self._left
            n_before = int(np.searchsorted(places, end))
            if n_before:
                yield places[:n_before], lines[:n_before]
            if n_before < len(places):
                self._left = places[n_before:], lines[n_before:]
                return
            self._left = None
