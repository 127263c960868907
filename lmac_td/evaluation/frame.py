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

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lmac_td.errors import DataError
from lmac_td.evaluation.row_store import (
    LINES_IN_MEMORY,
    NULLABLE,
    ROW,
    RowStore,
    StoredRow,
    columns_as_arrays,
    row_of_file,
)
from lmac_td.files import write_atomically
from lmac_td.names import file_name

PACKED = ".gz"
MOST_LINES = 100_000  # of a clips.csv; an evaluation with more has Parquet files
_WRONG_CONTENT = (ValueError, LookupError, TypeError)


class ScoreFrame:
    """Scores of every method under every condition, clip by clip.

    Arguments
    ---------
    folder : str or Path, optional
        Large rows are moved to Parquet files in it, so that memory does not grow with
        the number of clips. Created when it is needed.

    Example
    -------
    >>> import torch
    >>> scores = ScoreFrame()
    >>> scores.append("clean", "lmac", {"clip_id": ["a", "b"], "AI": [0.0, 100.0]})
    >>> scores.append("clean", "lmac", {"clip_id": ["c"], "AI": torch.tensor([100.0])})
    >>> scores.row("clean", "lmac")["AI"].tolist()
    [0.0, 100.0, 100.0]
    >>> scores.frame.groupby(["condition", "method"]).size().tolist()
    [3]
    """

    def __init__(self, folder: str | Path | None = None):
        self._folder = None if folder is None else Path(folder)
        self._stores, self._n_made = {}, 0  # by row; how many were made
        self._read = {}  # frames of the rows, made at the first access
        # Each entry has a number, and each row a byte for it: 1 if it is there.
        self._numbers, self._there = {}, {}

    def append(
        self, condition: str, method: str, columns: Mapping[str, Iterable]
    ) -> None:
        """Add the scores of one batch to a row, which is created if it is new.

        The cost of a batch does not grow with the lines that are there.

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
        row = condition, method
        columns = columns_as_arrays(columns)
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns must be equally long, not {lengths}.")
        before = self._stores.get(row)
        if before is not None and set(before.names) != columns.keys():
            differing = sorted(set(before.names) ^ columns.keys())
            raise ValueError(f"some batches have {differing} and some do not.")
        self._add_entries(row, columns)
        if before is None:
            before = self._stores[row] = self._new_store(row)
        before.extend(columns)
        self._read.pop(row, None)

    def _add_entries(self, row, columns):
        """Note the entries of a batch; refuse one that is there already."""
        there = self._there.get(row)
        if there is None:
            there = bytearray()
            if row in self._stores:  # it was put: nothing was noted
                self._mark(there, entries_of(self.row(*row)))
        entries = entries_of(columns)
        new = set()
        for entry in entries:
            number = self._numbers.get(entry)
            if entry in new or (
                number is not None and number < len(there) and there[number]
            ):
                raise ValueError(f"clip {entry[0]!r} is scored twice.")
            new.add(entry)
        self._mark(there, entries)
        self._there[row] = there

    def _mark(self, there, entries):
        numbers = [self._numbers.setdefault(e, len(self._numbers)) for e in entries]
        there.extend(bytes(max(0, max(numbers, default=-1) + 1 - len(there))))
        for number in numbers:
            there[number] = 1

    def _new_store(self, row):
        if self._folder is None:
            return RowStore(row)
        self._n_made += 1
        name = file_name(f"{self._n_made - 1:03d} {' '.join(row)}")
        return RowStore(row, self._folder / name)

    def put(self, condition: str, method: str, scores: pd.DataFrame) -> None:
        """Set a row to a copy of a frame such as :meth:`row` returns.

        Raises
        ------
        ValueError
            If a clip is there twice for the same class.
        """
        self.put_parts(condition, method, [scores])

    def put_parts(
        self, condition: str, method: str, parts: Iterable[pd.DataFrame]
    ) -> None:
        """Set a row to the lines of several frames; the lines of a clip are in one.

        Raises
        ------
        ValueError
            If a clip is there twice for the same class.
        """
        row = condition, method
        store = self._new_store(row)
        for scores in parts:
            entry = [name for name in ("clip_id", "decided") if name in scores]
            twice = scores[entry].duplicated().to_numpy()
            if twice.any():
                clip_id = scores["clip_id"].iloc[int(twice.argmax())]
                raise ValueError(f"clip {clip_id!r} is scored twice.")
            store.extend(columns_as_arrays({name: scores[name] for name in scores}))
        self._stores[row] = store
        self._read.pop(row, None)
        self._there.pop(row, None)

    def row(self, condition: str, method: str) -> pd.DataFrame:
        """Return the scores of a method under a condition.

        Arguments
        ---------
        condition, method : str

        Returns
        -------
        pandas.DataFrame (N, n_columns)
            In the order of addition. Do not change it (use :meth:`put`). Of a row in
            files, a :class:`~lmac_td.evaluation.row_store.StoredRow`.

        Raises
        ------
        KeyError
            If there is no such row.
        """
        row = condition, method
        if row not in self._read:
            self._read[row] = self._stores[row].frame()
        return self._read[row]

    @property
    def rows(self) -> Mapping[tuple[str, str], pd.DataFrame]:
        """All rows by (condition, method), in the order of creation."""
        return {row: self.row(*row) for row in self._stores}

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions, in the order of creation."""
        return list(dict.fromkeys(condition for condition, _ in self._stores))

    def methods(self, condition: str) -> dict[str, pd.DataFrame]:
        """Return the rows of a condition, by method."""
        return {m: self.row(c, m) for c, m in self._stores if c == condition}

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
        return tuple(row) in self._stores

    def __len__(self):
        """Return the number of lines, over all rows."""
        return sum(map(len, self._stores.values()))

    def clips_to_parquet(self) -> list[Path]:
        """Move all lines to Parquet files in the folder of the table.

        Returns
        -------
        list of Path
            A file per row or several, in the order of the rows and of their lines.
            :meth:`read_parquet` reads them.
        """
        for row, store in self._stores.items():
            store.close()
            self._read.pop(row, None)
        return [file for store in self._stores.values() for file in store.files]

    @classmethod
    def read_parquet(cls, files: Iterable[str | Path], **arguments):
        """Read what :meth:`clips_to_parquet` wrote, when it is needed.

        Arguments
        ---------
        files : iterable of Path
            The files, which must stay. One row's are in the order of its lines.
        **arguments
            Arguments of the class.

        Returns
        -------
        ScoreFrame

        Raises
        ------
        DataError
            If a file is missing, or is none of these.
        """
        scores = cls(**arguments)
        for path in map(Path, files):
            row = row_of_file(path)
            scores._stores.setdefault(row, RowStore(row)).add_file(path)
        return scores

    def clips_to_csv(self, path: str | Path) -> None:
        """Write every clip's scores, one line per clip, method and condition.

        Arguments
        ---------
        path : str or Path
            Where to write; folders are created. A name that ends with ``.gz`` is
            packed. :meth:`read_clips` reads both.
        """
        names = dict.fromkeys(name for scores in self.rows.values() for name in scores)
        names = [*ROW, *(names or ["clip_id"])]
        with _written_text(path) as file:
            pd.DataFrame(columns=names).to_csv(file, index=False, lineterminator="\n")
            for (condition, method), scores in self.rows.items():
                for part in _parts_of(scores):
                    cells = _as_cells(part).assign(condition=condition, method=method)
                    cells.reindex(columns=names).to_csv(
                        file, index=False, header=False, lineterminator="\n"
                    )

    @classmethod
    def read_clips(cls, path: str | Path, required: Iterable[str] = (), **arguments):
        """Read what :meth:`clips_to_csv` wrote, to the last bit.

        Arguments
        ---------
        path : str or Path
            A clips.csv or clips.csv.gz. Missing columns are left out, and so are
            columns that no line of a row fills.
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
            for row, lines in cells.groupby(list(ROW), sort=False):
                columns = _from_cells(lines.drop(columns=list(ROW)))
                missing = {"clip_id", *required} - columns.keys()
                if missing:
                    raise ValueError(f"there is no {' or '.join(sorted(missing))}")
                scores.append(*row, columns)
        except (OSError, EOFError, zlib.error, *_WRONG_CONTENT) as error:
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
    if isinstance(scores, StoredRow):
        return scores.n_clips  # counted once
    return scores["clip_id"].nunique()


def values_of(scores: pd.DataFrame, name: str) -> np.ndarray:
    """Return a numeric column as float64 (N,)."""
    return scores[name].to_numpy(np.float64)


@contextlib.contextmanager
def _written_text(path):
    """Open a csv file for writing; it is packed if its name ends with .gz."""
    if Path(path).suffix != PACKED:
        with write_atomically(path, "w", encoding="utf-8", newline="") as file:
            yield file
        return
    with (
        write_atomically(path) as packed,
        # No time and no name, so that the same scores are the same bytes.
        gzip.GzipFile("", "wb", fileobj=packed, mtime=0) as unpacked,
        io.TextIOWrapper(unpacked, encoding="utf-8", newline="") as file,
    ):
        yield file


def _parts_of(scores):
    """Return the lines of a row in parts that are small in memory."""
    if isinstance(scores, StoredRow):
        return scores.frames()
    firsts = range(0, len(scores), LINES_IN_MEMORY)
    return (scores[i : i + LINES_IN_MEMORY] for i in firsts)


def _as_cells(scores):
    """Format scores for a file: NaN as text, a missing label as an empty cell."""
    cells = scores.astype(object)
    for name in cells:
        missing = cells[name].isna()
        cells[name] = cells[name].mask(missing, "" if name in NULLABLE else "nan")
    return cells


def _from_cells(lines):
    """Return the columns (lists) of one row of a file, without empty ones."""
    columns = {}
    for name in lines:
        cells = lines[name].tolist()
        if name == "clip_id":
            columns[name] = cells
        elif name in NULLABLE:
            columns[name] = [int(cell) if cell else None for cell in cells]
        elif any(cells):
            whole = all(cell.lstrip("-").isdigit() for cell in cells)
            columns[name] = [int(cell) if whole else float(cell) for cell in cells]
    return columns
