"""Read the csv tables that list clips, and check their cells."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from lmac_td.errors import DataError, UnreadableFileError
from lmac_td.reading import read_csv


def read_table(table: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a csv table, and check its columns.

    Arguments
    ---------
    table : Path
    columns : sequence of str
        Columns that the table must have, without empty cells.

    Returns
    -------
    list of (int, dict of str to str)
        The line number of each row, from 2, and its cells by column.

    Raises
    ------
    DataError
        If the table cannot be read, lacks a column or a cell, or has no rows.

    Example
    -------
    >>> import tempfile
    >>> table = Path(tempfile.mkdtemp()) / "clips.csv"
    >>> _ = table.write_text("path,fold\\na.wav,1\\n")
    >>> read_table(table, ("path", "fold"))
    [(2, {'path': 'a.wav', 'fold': '1'})]
    """
    try:
        names, rows = read_csv(table)
    except (OSError, UnreadableFileError) as error:
        raise DataError(f"{error}; save it again as csv in UTF-8.") from error
    missing = [column for column in columns if column not in names]
    if missing:
        raise DataError(
            f"{table} has no column {missing[0]!r}: its first line must name "
            f"{', '.join(columns)}."
        )
    if not rows:
        raise DataError(f"{table} lists no clips: add one row for each clip.")
    for line, row in rows:
        for column in columns:
            if not row[column].strip():
                raise DataError(f"{table}, line {line}, has no {column}: fill it in.")
    return rows


def whole_number(table: Path, line: int, row: dict[str, str], column: str) -> int:
    """Return a cell as a whole number.

    Arguments
    ---------
    table : Path
    line : int
    row : dict of str to str
    column : str

    Returns
    -------
    int

    Raises
    ------
    DataError
        If the cell is not a whole number.
    """
    try:
        return int(row[column])
    except ValueError as error:
        raise DataError(
            f"{table}, line {line}: {column} {row[column]!r} is not a whole "
            "number; correct it."
        ) from error


def names_by_number(
    table: Path, pairs: Iterable[tuple[int, str]], columns: tuple[str, str]
) -> dict[int, str]:
    """Return the class name of each class number in a table.

    Arguments
    ---------
    table : Path
    pairs : iterable of (int, str)
        The class number and the class name of each row.
    columns : (str, str)
        The columns of the numbers and of the names, for error messages.

    Returns
    -------
    dict of int to str

    Raises
    ------
    DataError
        If a number has two names.

    Example
    -------
    >>> names_by_number("a.csv", [(3, "dog"), (1, "rain"), (3, "dog")], ("id", "name"))
    {3: 'dog', 1: 'rain'}
    """
    names = {}
    number_column, name_column = columns
    for number, name in pairs:
        known = names.setdefault(number, name)
        if known != name:
            raise DataError(
                f"{table} calls {number_column} {number} both {known!r} and "
                f"{name!r}: give each {number_column} one {name_column}."
            )
    return names
