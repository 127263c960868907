"""A user without a name, or without a home that can be written to.

In a container the user is often a number that no one has named, and the home is
missing or read-only. Libraries ask for the user's name and keep their caches below the
home: torch's compiler fails without a name, and others would write into a folder ``~``.
"""

from __future__ import annotations

import getpass
import os
import stat
import tempfile
from pathlib import Path

# Where libraries look for their folders, and the folder's name below the home.
_FOLDERS = {"XDG_CACHE_HOME": ".cache", "XDG_CONFIG_HOME": ".config"}


def complete_environment() -> None:
    """Give the user a name, and a folder for caches, where the system has none.

    The name is the number of the user. The folder is ``lmac-td-<number>`` where
    temporary files are, and only this user may read it. Variables that are set stay as
    they are, and so does a home that can be written to.
    """
    if os.name != "posix":
        return
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"user-{os.getuid()}"
    home = os.path.expanduser("~")
    missing = [
        name
        for name, folder in _FOLDERS.items()
        if name not in os.environ and not _may_write(Path(home) / folder)
    ]
    folder = _own_folder() if missing or home == "~" else None
    if folder is None:
        return
    for name in missing:
        os.environ[name] = str(folder / _FOLDERS[name])
    if home == "~":
        os.environ["HOME"] = str(folder)


def _may_write(folder: Path) -> bool:
    """Return whether a folder can be written to, or be made."""
    there = next(p for p in (folder, *folder.parents) if p.exists())
    return folder.is_absolute() and os.access(there, os.W_OK | os.X_OK)


def _own_folder() -> Path | None:
    """Make a folder that no other user may read; None if that is impossible."""
    folder = Path(tempfile.gettempdir()) / f"lmac-td-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        if not is_ours or found.st_mode & 0o077:
            return None
        for name in _FOLDERS.values():
            (folder / name).mkdir(exist_ok=True)
    except OSError:
        return None
    return folder
