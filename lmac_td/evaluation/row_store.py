"""Hold the scores of one row: in arrays that grow, and in Parquet files if it is large.

A row with a folder moves its lines to a Parquet file whenever it has collected
:data:`LINES_IN_MEMORY` of them, so memory does not grow with the number of clips. They
are read again column by column.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lmac_td.errors import DataError

LINES_IN_MEMORY = 8192
"""Lines of a row that are collected before they are moved to its Parquet file."""

# These cells may be empty, for a clip without a label.
NULLABLE = ("label",)
ROW = ("condition", "method")


class RowStore:
    """The columns of one row; lines are only added.

    Arguments
    ---------
    row : tuple of str
        Condition and method. They are written into each file.
    path : Path, optional
        Of its Parquet files, without a suffix. Without it, all lines stay in memory.

    Example
    -------
    >>> store = RowStore(("clean", "lmac"))
    >>> store.extend(columns_as_arrays({"clip_id": ["a", "b"], "AI": [0.0, 100.0]}))
    >>> store.frame()["AI"].tolist(), len(store)
    ([0.0, 100.0], 2)
    """

    def __init__(self, row: tuple[str, str], path: Path | None = None) -> None:
        self.row = row
        self.path = path
        self.files: list[Path] = []
        self._arrays: dict[str, _Growing] = {}
        self._n_stored = 0
        self._writer = None

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self._arrays)

    def __len__(self) -> int:
        return self._n_stored + self._n_in_memory

    @property
    def _n_in_memory(self):
        return next((len(array) for array in self._arrays.values()), 0)

    def extend(self, columns: Mapping[str, np.ndarray]) -> None:
        """Add lines: arrays (B,) as :func:`columns_as_arrays` returns them."""
        for name, values in columns.items():
            if name not in self._arrays:
                self._arrays[name] = _Growing()
            self._arrays[name].extend(values)
        if self.path is not None and self._n_in_memory >= LINES_IN_MEMORY:
            self.store()

    def add_file(self, path: Path) -> None:
        """Add the lines of a file that another store wrote."""
        import pyarrow.parquet as pq

        self.files.append(path)
        self._n_stored += pq.read_metadata(path).num_rows
        for name in pq.read_schema(path).names:
            if name not in ROW:
                self._arrays.setdefault(name, _Growing())

    def frame(self) -> pd.DataFrame | StoredRow:
        """Return all lines; of a row with files, they are read when they are needed."""
        if not self.files:
            return _as_frame({n: array.values for n, array in self._arrays.items()})
        self.store()
        self._close()
        return StoredRow(self.files)

    def store(self) -> None:
        """Move all lines that are in memory to the Parquet file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._n_in_memory:
            return
        n_lines = self._n_in_memory
        columns = {
            name: pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(n_lines, dtype=np.int32)), pa.array([value])
            )
            for name, value in zip(ROW, self.row, strict=True)
        }
        columns |= {name: pa.array(a.values) for name, a in self._arrays.items()}
        table = pa.table(columns)
        if self._writer is None:
            name = f"{self.path.name}-{len(self.files):04d}.parquet"
            self.files.append(self.path.with_name(name))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self.files[-1], table.schema)
        self._writer.write_table(table)
        self._n_stored += n_lines
        for array in self._arrays.values():
            array.clear()

    def close(self) -> None:
        """Move all lines to files that other processes can read."""
        self.store()
        self._close()

    def _close(self):
        """Complete the file; lines that are added later go to another one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class StoredRow:
    """A row in Parquet files, which is read like a frame, a column at a time.

    Whatever else is asked of it, it answers as the whole :class:`pandas.DataFrame`.

    Arguments
    ---------
    files : sequence of Path
        In the order of the lines.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        import pyarrow.parquet as pq

        self.files = list(files)
        self._schema = pq.read_schema(self.files[0])
        self._n_lines = sum(pq.read_metadata(file).num_rows for file in self.files)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [name for name in self._schema.names if name not in ROW]

    @functools.cached_property
    def n_clips(self) -> int:
        """The number of clips; a clip may have several lines."""
        return self["clip_id"].nunique()

    def whole(self, names: Sequence[str] | None = None) -> pd.DataFrame:
        """Read all columns, or some."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = self.columns if names is None else list(names)
        tables = [pq.read_table(f, columns=names) for f in self.files]
        frame = pa.concat_tables(tables).to_pandas(split_blocks=True)
        return _with_nullable(frame)

    def frames(self) -> Iterator[pd.DataFrame]:
        """Read all columns, part by part in the order of the lines."""
        for columns in self.chunks(self.columns):
            yield _as_frame(columns)

    def chunks(self, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        """Read some columns, part by part in the order of the lines."""
        import pyarrow.parquet as pq

        for path in self.files:
            with pq.ParquetFile(path) as file:
                for i in range(file.num_row_groups):
                    table = file.read_row_group(i, columns=list(names))
                    yield {name: table[name].to_numpy() for name in names}

    def __getitem__(self, key):
        if isinstance(key, str):
            if key not in self:
                raise KeyError(key)
            return self.whole([key])[key]
        if isinstance(key, list) and all(isinstance(name, str) for name in key):
            return self.whole(key)
        return self.whole()[key]

    def __contains__(self, name):
        return name in self.columns

    def __iter__(self):
        return iter(self.columns)

    def __len__(self):
        return self._n_lines

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.whole(), name)


def row_of_file(path: Path) -> tuple[str, str]:
    """Return the condition and the method of a Parquet file.

    Raises
    ------
    DataError
        If the file is missing, damaged, or none of these.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            first = next(file.iter_batches(batch_size=1, columns=list(ROW)))
            return tuple(first[name][0].as_py() for name in ROW)
    except (OSError, pa.ArrowException, KeyError, StopIteration) as error:
        raise DataError(
            f"{path} is missing or holds no scores of eval_faithfulness.py ({error}): "
            "evaluate again"
        ) from error


class _Growing:
    """An array (N,) whose room grows by halves, so that N values cost O(N)."""

    def __init__(self):
        self._room, self._n = None, 0

    def __len__(self):
        return self._n

    @property
    def values(self):
        """The values, a view."""
        return np.empty(0) if self._room is None else self._room[: self._n]

    def extend(self, values):
        """Add values at the end."""
        if self._room is None or not self._n:
            self._room, self._n = values.copy(), len(values)
            return
        end = self._n + len(values)
        dtype = np.promote_types(self._room.dtype, values.dtype)
        if end > len(self._room) or dtype != self._room.dtype:
            n_room = max(end, self._n + self._n // 2) if end > len(self._room) else end
            room = np.empty(n_room, dtype)
            room[: self._n] = self.values
            self._room = room
        self._room[self._n : end] = values
        self._n = end

    def clear(self):
        """Remove all values, and keep the room's type."""
        self._room, self._n = self._room[:0].copy(), 0


def columns_as_arrays(columns: Mapping[str, Iterable]) -> dict[str, np.ndarray]:
    """Return lists, arrays or tensors as arrays: float64, int64, bool or objects.

    Arguments
    ---------
    columns : mapping of str to sequence (B,)

    Returns
    -------
    dict of str to numpy.ndarray (B,)
        A nullable column as float64, with NaN for None.
    """
    return {name: _as_array(name, column) for name, column in columns.items()}


def _as_array(name, column):
    if isinstance(column, torch.Tensor):
        column = column.detach().cpu().numpy()
    elif isinstance(column, pd.Series):
        column = column.to_numpy(None if column.dtype.kind in "fiub" else object)
    elif not isinstance(column, np.ndarray):
        column = list(column)
    if name in NULLABLE:
        column = np.asarray(column, dtype=object)
        return np.where(pd.isna(column), np.nan, column).astype(np.float64)
    values = np.asarray(column)
    if values.dtype.kind in "fiub":
        wide = {"f": np.float64, "b": np.bool_}.get(values.dtype.kind, np.int64)
        return values.astype(wide)
    return np.array(column, dtype=object)


def _as_frame(arrays):
    """Return a frame of arrays; texts get the type that pandas has for them."""
    return _with_nullable(
        pd.DataFrame(
            {n: a.tolist() if a.dtype == object else a for n, a in arrays.items()}
        )
    )


def _with_nullable(frame):
    for name in set(NULLABLE) & set(frame.columns):
        frame[name] = frame[name].astype("Int64")
    return frame
