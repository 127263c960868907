"""Scores of clips in one pandas frame: a line per condition, method, clip and class.

:class:`ScoreFrame` collects what is measured batch by batch and returns it as
:class:`pandas.DataFrame`. Every table of the package is built on it: the common table
(:mod:`lmac_td.evaluation.table`), and those of single methods and libraries.

Columns: ``condition``, ``method``, ``clip_id``, ``decided`` (the class that is
explained; a clip has a line for each of its tags), ``label`` (the data set's class),
then one column per metric. A row, that is a method under a condition, has the columns
that were measured for it; a metric that was measured but has no value for a clip is
NaN there. In files, a metric that was not measured is an empty cell, and NaN is
``nan``.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lmac_td.errors import DataError
from lmac_td.files import write_atomically

ROW = ["condition", "method"]
# These cells may be empty, for a clip without a label.
_NULLABLE = ("label",)


class ScoreFrame:
    """Scores of every method under every condition, clip by clip.

    Example
    -------
    >>> scores = ScoreFrame()
    >>> scores.append("clean", "lmac", {"clip_id": ["a", "b"], "AI": [0.0, 100.0]})
    >>> scores.append("clean", "lmac", {"clip_id": ["c"], "AI": torch.tensor([100.0])})
    >>> scores.row("clean", "lmac")["AI"].tolist()
    [0.0, 100.0, 100.0]
    >>> scores.frame.groupby(["condition", "method"]).size().tolist()
    [3]
    """

    def __init__(self):
        # For each row: its columns as lists, which grow in place, and its entries.
        self._columns = {}
        self._entries = {}
        self._rows = {}  # frames of the rows, made at the first access

    def append(
        self, condition: str, method: str, columns: Mapping[str, Iterable]
    ) -> None:
        """Add the scores of one batch to a row, which is created if it is new.

        Arguments
        ---------
        condition, method : str
            The row.
        columns : dict of str to sequence (B,)
            Lists, arrays or tensors by name, with the same names as the row's earlier
            batches. ``clip_id`` is required; ``decided`` and ``label`` are optional.

        Raises
        ------
        ValueError
            If lengths or names differ, or a clip is there already for the same class
            (it would count twice). Then nothing is added.
        """
        columns = {name: _as_list(column) for name, column in columns.items()}
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns must be equally long, not {lengths}.")
        before = self._columns.get((condition, method))
        if before is not None and before.keys() != columns.keys():
            differing = sorted(before.keys() ^ columns.keys())
            raise ValueError(f"some batches have {differing} and some do not.")
        known, new = self._entries.get((condition, method), frozenset()), set()
        for entry in entries_of(columns):
            if entry in known or entry in new:
                raise ValueError(f"clip {entry[0]!r} is scored twice.")
            new.add(entry)
        self._entries.setdefault((condition, method), set()).update(new)
        row = self._columns.setdefault((condition, method), {})
        for name, column in columns.items():
            row.setdefault(name, []).extend(column)
        self._rows.pop((condition, method), None)

    def put(self, condition: str, method: str, scores: pd.DataFrame) -> None:
        """Set a row to a copy of a frame such as :meth:`row` returns."""
        columns = {name: scores[name].tolist() for name in scores}
        for name in set(_NULLABLE) & columns.keys():
            columns[name] = [None if pd.isna(v) else v for v in columns[name]]
        whole = ScoreFrame()
        whole.append(condition, method, columns)
        for name in ("_columns", "_entries"):
            getattr(self, name).update(getattr(whole, name))
        self._rows.pop((condition, method), None)

    def row(self, condition: str, method: str) -> pd.DataFrame:
        """Return the scores of a method under a condition.

        Arguments
        ---------
        condition, method : str

        Returns
        -------
        pandas.DataFrame (N, n_columns)
            In the order of addition. Do not change it (use :meth:`put`).

        Raises
        ------
        KeyError
            If there is no such row.
        """
        key = condition, method
        if key not in self._rows:
            columns = dict(self._columns[key])
            for name in set(_NULLABLE) & columns.keys():
                columns[name] = pd.array(columns[name], dtype="Int64")
            self._rows[key] = pd.DataFrame(columns)
        return self._rows[key]

    @property
    def rows(self) -> dict[tuple[str, str], pd.DataFrame]:
        """All rows by (condition, method), in the order of creation."""
        return {key: self.row(*key) for key in self._columns}

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions, in the order of creation."""
        return list(dict.fromkeys(condition for condition, _ in self._columns))

    def methods(self, condition: str) -> dict[str, pd.DataFrame]:
        """Return the rows of a condition, by method."""
        return {m: self.row(c, m) for c, m in self._columns if c == condition}

    @property
    def frame(self) -> pd.DataFrame:
        """All scores in one frame; NaN where a row lacks a column."""
        rows = [
            scores.assign(condition=condition, method=method)
            for (condition, method), scores in self.rows.items()
        ]
        if not rows:
            return pd.DataFrame(columns=[*ROW, "clip_id"])
        whole = pd.concat(rows, ignore_index=True)
        return whole[[*ROW, *(name for name in whole if name not in ROW)]]

    def __contains__(self, row):
        return tuple(row) in self._columns

    def __len__(self):
        """Return the number of lines, over all rows."""
        return sum(map(len, self._entries.values()))

    def clips_to_csv(self, path: str | Path) -> None:
        """Write every clip's scores, one line per clip, method and condition.

        Arguments
        ---------
        path : str or Path
            Where to write; folders are created. :meth:`read_clips` reads it.
        """
        rows = [
            _as_cells(scores).assign(condition=condition, method=method)
            for (condition, method), scores in self.rows.items()
        ]
        whole = pd.concat(rows) if rows else pd.DataFrame(columns=[*ROW, "clip_id"])
        whole = whole[[*ROW, *(name for name in whole if name not in ROW)]]
        with write_atomically(path, "w", encoding="utf-8", newline="") as file:
            whole.to_csv(file, index=False, lineterminator="\n")

    @classmethod
    def read_clips(cls, path: str | Path, required: Iterable[str] = (), **arguments):
        """Read what :meth:`clips_to_csv` wrote, to the last bit.

        Arguments
        ---------
        path : str or Path
            A clips.csv. Missing columns are left out, and so are columns that no line
            of a row fills.
        required : sequence of str
            Columns that every row must have.
        **arguments
            Arguments of the class.

        Returns
        -------
        ScoreFrame

        Raises
        ------
        DataError
            If the file does not exist, or is not a clips.csv.
        """
        scores = cls(**arguments)
        try:
            cells = pd.read_csv(
                path, dtype=object, keep_default_na=False, encoding="utf-8"
            )
            if cells.isna().any(axis=None):
                raise ValueError("a line has too few cells")
            if cells.empty:
                raise ValueError("it holds no clip")
            # Rows keep the order of the file.
            for row, lines in cells.groupby(ROW, sort=False):
                columns = _from_cells(lines.drop(columns=ROW))
                missing = {"clip_id", *required} - columns.keys()
                if missing:
                    raise ValueError(f"there is no {' or '.join(sorted(missing))}")
                scores.append(*row, columns)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(
                f"{path} is not a clips.csv of eval_faithfulness.py ({error}): give "
                "the one in an evaluation folder."
            ) from error
        return scores


def entries_of(columns) -> list[tuple]:
    """Return the clip and the explained class of every line.

    Arguments
    ---------
    columns : mapping of str to sequence, or pandas.DataFrame
        It has ``clip_id``; without ``decided`` the class is None.
    """
    clips = list(columns["clip_id"])
    decided = list(columns["decided"]) if "decided" in columns else [None] * len(clips)
    return list(zip(clips, decided, strict=True))


def n_clips(scores: pd.DataFrame) -> int:
    """Count the clips of a row; a clip may have several lines, one for each tag."""
    return scores["clip_id"].nunique()


def values_of(scores: pd.DataFrame, name: str) -> np.ndarray:
    """Return a numeric column as float64 (N,)."""
    return scores[name].to_numpy(np.float64)


def _as_list(column):
    if isinstance(column, (torch.Tensor, np.ndarray, pd.Series)):
        return column.tolist()
    return list(column)


def _as_cells(scores):
    """Format scores for a file: NaN as text, a missing label as an empty cell."""
    cells = scores.astype(object)
    for name in cells:
        missing = cells[name].isna()
        cells[name] = cells[name].mask(missing, "" if name in _NULLABLE else "nan")
    return cells


def _from_cells(lines):
    """Return the columns (lists) of one row of a file, without empty ones."""
    columns = {}
    for name in lines:
        cells = lines[name].tolist()
        if name == "clip_id":
            columns[name] = cells
        elif name in _NULLABLE:
            columns[name] = [int(cell) if cell else None for cell in cells]
        elif any(cells):
            whole = all(cell.lstrip("-").isdigit() for cell in cells)
            columns[name] = [int(cell) if whole else float(cell) for cell in cells]
    return columns
