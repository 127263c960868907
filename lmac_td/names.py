"""Names that do not exist, and names of files."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Iterable

MOST_BYTES = 180


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


def file_name(text: str) -> str:
    r"""Return a text as the name of a file or folder, without a suffix.

    Characters that some disk refuses become an underscore, and a name has at most 180
    bytes, which leaves room for suffixes.

    Arguments
    ---------
    text : str

    Example
    -------
    >>> file_name("Speech, whispering / loud"), file_name("a" * 999) == "a" * 180
    ('Speech, whispering _ loud', True)
    """
    text = re.sub(r'[\x00-\x1f<>:"/\\|?*]+', "_", text).strip(" .")
    name = text.encode("utf-8", "replace")[:MOST_BYTES].decode("utf-8", "ignore")
    return name.strip(" .") or "_"


def different_file_names(texts: Iterable[str]) -> list[str]:
    """Return a different name of a file or folder for each text.

    Some disks do not tell upper from lower case, so names differ in more than that.

    Arguments
    ---------
    texts : iterable of str

    Example
    -------
    >>> different_file_names(["dog", "Dog", "my cat?", "my cat*"])
    ['dog', 'Dog_2', 'my cat_', 'my cat__2']
    """
    names: list[str] = []
    taken: set[str] = set()
    for text in texts:
        stem = file_name(text)
        name, number = stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.lower())
        names.append(name)
    return names


def name_of_source(source: str, revision: str | None = None) -> str:
    """Return the name of the folder of a source's downloads; no two share one.

    Arguments
    ---------
    source : str
        An address or a hub id.
    revision : str, optional
        Another revision has another folder.

    Example
    -------
    >>> name_of_source("owner/a_b") == name_of_source("owner_a/b")
    False
    >>> name_of_source("owner/name", "v1").rpartition("-")[0]
    'owner_name@v1'
    """
    source = source.rstrip("/")
    whole = source if revision is None else f"{source}@{revision}"
    digest = hashlib.sha256(whole.encode("utf-8", "surrogateescape")).hexdigest()
    shown = re.sub(r"[^\w.@-]+", "_", whole)[:60].strip(".")
    return f"{shown}-{digest[:12]}"


def same_places(first: object, second: object) -> bool:
    """Return whether two values are the same, apart from how they spell paths.

    A relative path, a link and a slash at the end lead to the same place.

    Arguments
    ---------
    first, second : object
        Values of settings. A text can also be one that paths are part of, such as
        ``InDomain(folder=data/wham_noise, snr_db=5)``.

    Example
    -------
    >>> same_places("./", "."), same_places("Noise(folder=./, 3)", "Noise(folder=., 3)")
    (True, True)
    >>> same_places("a", "b"), same_places(1, 1.0), same_places([1], [2])
    (False, True, False)
    """
    if first == second:
        return True
    if isinstance(first, list) and isinstance(second, list):
        same = map(same_places, first, second)
        return len(first) == len(second) and all(same)
    if not (isinstance(first, str) and isinstance(second, str)):
        return False
    return _with_real_paths(first) == _with_real_paths(second)


def _with_real_paths(text: str) -> str:
    if os.path.exists(text):
        return os.path.realpath(text)
    parts = re.split(r"([(),=]\s*)", text)
    return "".join(os.path.realpath(p) if os.path.exists(p) else p for p in parts)
