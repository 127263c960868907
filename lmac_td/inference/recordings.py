"""Find the recordings that a command line names: files, folders and patterns."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lmac_td.errors import SettingError
from lmac_td.report.page.saved import CLIPS_FILE

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au")


def find_recordings(names: Sequence[str], apart_from: Path | None = None) -> list[Path]:
    """Return the files that are named, each once, in the order of the names.

    Arguments
    ---------
    names : sequence of str
        Files; folders, whose sounds are taken at every depth; patterns such as
        ``"calls/*.wav"``. Results of earlier explanations are not taken from folders
        and patterns. A file that does not exist is returned, too: it is reported
        with the others.
    apart_from : Path, optional
        A folder whose sounds are not taken, because results are written there.

    Raises
    ------
    SettingError
        If a folder or a pattern holds no sound, or no file exists.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("b.wav", "a.mp3", "notes.txt"):
    ...     (folder / name).touch()
    >>> [path.name for path in find_recordings([str(folder), f"{folder}/b*"])]
    ['a.mp3', 'b.wav']
    """
    found: dict[Path, None] = {}
    for name in names:
        if not str(name).strip():
            raise SettingError("a recording has an empty name: give files or folders")
        path = Path(name)
        if path.is_dir():
            paths = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        elif glob.has_magic(name) and not path.exists():
            paths = sorted(map(Path, glob.glob(name, recursive=True)))
            paths = [p for p in paths if p.is_file()]
        else:
            found[path] = None
            continue
        paths = [p for p in paths if not _is_below(p, apart_from) and not _is_result(p)]
        if not paths:
            raise SettingError(
                f"{name} holds no recordings: give files such as {', '.join(SUFFIXES)}"
            )
        found |= dict.fromkeys(paths)
    if not any(path.is_file() for path in found):
        missing = ", ".join(str(path) for path in list(found)[:3])
        raise SettingError(
            f"{missing}: there is no regular file of this name: give recordings"
        )
    return list(found)


def _is_below(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.resolve().is_relative_to(folder.resolve())


def _is_result(path: Path) -> bool:
    """Return whether a sound belongs to the explanation of a recording."""
    return any((folder / CLIPS_FILE).is_file() for folder in path.parents)


def shown_names(paths: Sequence[Path]) -> list[str]:
    """Return the names by which recordings are told apart.

    They are the names of the files, with their folders where names are the same.

    Example
    -------
    >>> shown_names([Path("calls/mon/1.wav"), Path("calls/tue/1.wav"), Path("dog.wav")])
    ['mon/1.wav', 'tue/1.wav', 'dog.wav']
    """
    names = [path.name for path in paths]
    most = max((len(path.parts) for path in paths), default=0)
    for n_parts in range(2, most + 1):
        repeated = {name for name, n in Counter(names).items() if n > 1}
        names = [
            Path(*path.parts[-n_parts:]).as_posix() if name in repeated else name
            for path, name in zip(paths, names, strict=True)
        ]
    return names
