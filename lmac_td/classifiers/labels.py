"""Read the names of a classifier's classes from a list, a number or a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmac_td.errors import SettingError, UnreadableFileError
from lmac_td.reading import read_text


def read_labels(labels: Sequence[str] | int | str | Path) -> tuple[str, ...]:
    """Read the names of the classes.

    Arguments
    ---------
    labels : sequence of str, int, or str or Path
        The names; or the number of classes, whose names are then 0, 1, 2...; or a text
        file with one name per line.

    Returns
    -------
    tuple of str

    Raises
    ------
    SettingError
        If there is no class, a name appears twice, or the file cannot be read.

    Example
    -------
    >>> read_labels(["dog", "rain"]), read_labels(3)
    (('dog', 'rain'), ('0', '1', '2'))
    """
    if isinstance(labels, (str, Path)):
        names = _read_lines(Path(labels))
    elif isinstance(labels, int) and not isinstance(labels, bool):
        names = tuple(map(str, range(labels)))
    elif isinstance(labels, Sequence):
        names = tuple(map(str, labels))
    else:
        raise SettingError(
            f"labels is {labels!r}: give a list of names, a number of classes, or a "
            "text file with one name per line"
        )
    if not names:
        raise SettingError(f"labels is {labels!r}: give at least one class")
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise SettingError(
            f"labels has {repeated!r} twice: give each class a different name"
        )
    return names


def _read_lines(path: Path) -> tuple[str, ...]:
    try:
        text = read_text(path)
    except (OSError, UnreadableFileError) as error:
        raise SettingError(
            f"labels: {path} cannot be read ({type(error).__name__}): give a text file "
            "with one name per line, a list of names, or a number of classes"
        ) from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())
