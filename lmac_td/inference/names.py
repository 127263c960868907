"""Names that do not exist: what is nearest, and what could be a hub id."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from lmac_td.errors import CheckpointError


def nearest_names(name: str, known: Iterable[str], most: int = 5) -> str:
    """Return the known names that are nearest to a name, as a list for a sentence.

    Arguments
    ---------
    name : str
    known : iterable of str
    most : int
        At most so many names; the remaining places go to the first of all names.

    Example
    -------
    >>> nearest_names("dgo", ["cat", "dog", "rain"], most=2)
    'dog, cat, ...'
    """
    known = [str(other) for other in known]
    by_lower = {other.lower(): other for other in reversed(known)}
    near = difflib.get_close_matches(name.lower(), by_lower, n=most, cutoff=0.5)
    names = list(dict.fromkeys([*(by_lower[other] for other in near), *known]))
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])


def require_hub_id(source: str | Path, wanted: str) -> None:
    """Refuse a source that is neither on this disk nor a hub id.

    Arguments
    ---------
    source : str or Path
        It does not exist on this disk.
    wanted : str
        What the folder would have been, for the message.

    Raises
    ------
    CheckpointError

    Example
    -------
    >>> require_hub_id("owner/name", "the folder of a classifier")
    """
    name = str(source)
    if name.count("/") != 1 or name.startswith(("/", ".", "~")):
        raise CheckpointError(
            f"{source} does not exist: give {wanted}, or a hub id such as owner/name"
        )
