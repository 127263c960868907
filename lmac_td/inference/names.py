"""Offer the names that are nearest to a misspelt one."""

import difflib
from collections.abc import Iterable


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
