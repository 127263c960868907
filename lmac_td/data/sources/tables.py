"""Read the csv tables that list clips, and check their cells."""

import csv

from lmac_td.errors import DataError


def read_table(table, columns):
    """Read a csv table that has some columns.

    Arguments
    ---------
    table : Path
    columns : sequence of str
        Columns that must be there; no cell of them may be empty.

    Returns
    -------
    list of (int, dict of str to str)
        The line of each row, from 2, and its cells by column.

    Raises
    ------
    DataError
        It cannot be read, lacks a column or a cell, or has no rows.

    Example
    -------
    >>> import tempfile
    >>> from pathlib import Path
    >>> table = Path(tempfile.mkdtemp()) / "clips.csv"
    >>> _ = table.write_text("path,fold\\na.wav,1\\n")
    >>> read_table(table, ("path", "fold"))
    [(2, {'path': 'a.wav', 'fold': '1'})]
    """
    try:
        # utf-8-sig: spreadsheets may put a byte order mark before the first name.
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{table} cannot be read as a csv table ({error}): "
            "save it again as csv in UTF-8."
        ) from error
    missing = [column for column in columns if column not in names]
    if missing:
        raise DataError(
            f"{table} has no column {missing[0]!r}: its first line must name "
            f"{', '.join(columns)}."
        )
    if not rows:
        raise DataError(f"{table} lists no clips: add one row for each clip.")
    numbered = list(enumerate(rows, start=2))
    for line, row in numbered:
        for column in columns:
            if not (row[column] or "").strip():
                raise DataError(f"{table}, line {line}, has no {column}: fill it in.")
    return numbered


def whole_number(table, line, row, column):
    """Read a cell as a whole number.

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
        The cell is not a whole number.
    """
    try:
        return int(row[column])
    except ValueError as error:
        raise DataError(
            f"{table}, line {line}: {column} {row[column]!r} is not a whole "
            "number; correct it."
        ) from error


def names_by_number(table, pairs, what):
    """Map the class numbers of a table to class names.

    Arguments
    ---------
    table : Path
    pairs : iterable of (int, str)
        The number and the name of a class, for each row.
    what : (str, str)
        What the table calls the two.

    Returns
    -------
    dict of int to str

    Raises
    ------
    DataError
        A number has two names.

    Example
    -------
    >>> names_by_number("a.csv", [(3, "dog"), (1, "rain"), (3, "dog")], ("id", "name"))
    {3: 'dog', 1: 'rain'}
    """
    names = {}
    number_column, name_column = what
    for number, name in pairs:
        known = names.setdefault(number, name)
        if known != name:
            raise DataError(
                f"{table} calls {number_column} {number} both {known!r} and "
                f"{name!r}: give each {number_column} one {name_column}."
            )
    return names
