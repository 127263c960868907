"""Read files that users give: regular files, of bounded size, one way for each format.

Every text, json and csv file is read here. Yaml is read by
:mod:`lmac_td.experiment.yaml_files`, sound by :mod:`lmac_td.audio`, weights by
:mod:`lmac_td.classifiers.weights`; they ask :func:`regular_size` first, too. A pipe or
a device would never end, and a file of 64 GB would fill the memory.
"""

import codecs
import csv
import io
import itertools
import json
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lmac_td.errors import UnreadableFileError

LARGEST_TEXT = 2**31  # bytes; a data set of two million clips has tables of 1 GB
_FIELD = 2**17  # characters of a cell
_NAME = 300  # characters of a name in a message
_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISSOCK: "a socket",
}
_JSON = {
    dict: "a mapping",
    list: "a list",
    str: "a text",
    bool: "true or false",
    type(None): "null",
}
_MISSING = (FileNotFoundError, NotADirectoryError)
T = TypeVar("T")


def absence(path: str | Path, wanted: str = "folder") -> str:
    """Say why a path is not what is wanted, for a message that begins with the path.

    Arguments
    ---------
    path : str or Path
    wanted : str
        ``folder`` or ``file``.

    Example
    -------
    >>> absence("no/such"), absence(os.devnull)
    ('does not exist', 'is not a folder')
    """
    return f"is not a {wanted}" if os.path.exists(path) else "does not exist"


def regular_size(path: str | Path) -> int:
    """Return the size of a regular file in bytes; refuse anything else.

    Arguments
    ---------
    path : str or Path

    Returns
    -------
    int

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no file.
    UnreadableFileError
        If it is a folder, a pipe or a device, or the system cannot look at it.

    Example
    -------
    >>> try:
    ...     regular_size("/dev/null")
    ... except UnreadableFileError as error:
    ...     print(error)
    /dev/null cannot be read: it is a device, not a file
    """
    try:
        found = os.stat(path)
    except _MISSING:
        raise
    except (OSError, ValueError) as error:  # such as a NUL in the name
        raise _unreadable(path, _reason(error)) from error
    for is_kind, kind in _KINDS.items():
        if is_kind(found.st_mode):
            raise _unreadable(path, f"it is {kind}, not a file")
    return found.st_size


def read_text(path: str | Path, largest: int = LARGEST_TEXT) -> str:
    """Read a text in UTF-8, with a byte order mark or without.

    Arguments
    ---------
    path : str or Path
    largest : int
        Bytes.

    Returns
    -------
    str

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no file.
    UnreadableFileError
        If it is no regular file, is too large, or is no text in UTF-8.
    """
    size = regular_size(path)
    if size > largest:
        raise _unreadable(
            path, f"it has {size / 1e6:.3g} MB, and at most {largest / 1e6:.3g} can be"
        )
    try:
        with open(path, "rb") as file:
            content = file.read()
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except _MISSING:
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(path, _reason(error)) from error


def read_json(path: str | Path, kind: type | tuple[type, ...] = dict) -> Any:
    """Read a json file that holds a mapping or a list.

    Arguments
    ---------
    path : str or Path
    kind : type
        ``dict``, ``list``, or both.

    Returns
    -------
    dict or list

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no file.
    UnreadableFileError
        If it is not valid json in UTF-8, names something twice, or holds another type.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.json"
    >>> _ = path.write_text('{"seed": 1}')
    >>> read_json(path)
    {'seed': 1}
    """
    text = read_text(path)
    try:
        content = json.loads(text, object_pairs_hook=_mapping)
    except RecursionError as error:
        raise _unreadable(path, "it is nested too deeply") from error
    except ValueError as error:
        raise _unreadable(path, f"no valid json: {error}") from error
    if not isinstance(content, kind):
        raise _unreadable(path, f"it holds {_JSON.get(type(content), 'a number')}")
    return content


def checked(path: str | Path, content: Any, use: Callable[[Any], T]) -> T:
    """Return what a function makes of the content of a file.

    Arguments
    ---------
    path : str or Path
        For the message.
    content : object
        Such as :func:`read_json` returns.
    use : callable
        Takes values out of the content.

    Raises
    ------
    UnreadableFileError
        If a value is missing or has another type.

    Example
    -------
    >>> checked("a.json", {"pages": 3}, lambda content: dict(content["pages"]))
    Traceback (most recent call last):
    lmac_td.errors.UnreadableFileError: a.json cannot be read: a value is missing or \
has another type
    """
    try:
        return use(content)
    except UnreadableFileError:
        raise
    # LookupError, OverflowError and so on: every one of them is about the content.
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as e:
        reason = "a value is missing or has another type"
        raise _unreadable(path, reason) from e


def read_csv(
    path: str | Path, delimiters: str = ","
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a csv table whose first line names its columns.

    Arguments
    ---------
    path : str or Path
    delimiters : str
        The first one that the first line contains separates cells; else the last one.

    Returns
    -------
    names : list of str
        Of the columns.
    rows : list of (int, dict of str to str)
        The number of each row's last line, and its cells by column; cells that a row
        lacks are empty. Empty lines are left out.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no file.
    UnreadableFileError
        If it is no csv in UTF-8, names a column twice, or a row has more cells
        than columns.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = path.write_text("clip,fold\\na.wav,1\\n")
    >>> read_csv(path)
    (['clip', 'fold'], [(2, {'clip': 'a.wav', 'fold': '1'})])
    """
    text = read_text(path)
    if "\0" in text:
        raise _unreadable(path, "it holds a NUL byte")
    first = text.partition("\n")[0]
    delimiter = next((d for d in delimiters if d in first), delimiters[-1])
    limit = csv.field_size_limit(_FIELD)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        names = next(reader, [])
        lines = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise _unreadable(path, f"no valid csv: {error}") from error
    finally:
        csv.field_size_limit(limit)
    repeated = next((name for name in names if name and names.count(name) > 1), None)
    if repeated is not None:
        raise _unreadable(path, f"two columns are named {repeated!r}")
    return names, [(line, _row(path, line, names, cells)) for line, cells in lines]


def _row(path: str | Path, line: int, names: Sequence[str], cells: Sequence[str]):
    if len(cells) > len(names):
        raise _unreadable(
            path,
            f"line {line} has {len(cells)} cells, and there are {len(names)} columns",
        )
    return dict(itertools.zip_longest(names, cells, fillvalue=""))


def _unreadable(path: str | Path, reason: str) -> UnreadableFileError:
    name = str(path)
    name = f"{name[:_NAME]}..." if len(name) > _NAME else name
    error = UnreadableFileError(f"{name} cannot be read: {reason}")
    error.reason = reason
    return error


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is named twice")
    return content


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"no text in UTF-8, at byte {error.start}"
    return getattr(error, "strerror", None) or str(error)
