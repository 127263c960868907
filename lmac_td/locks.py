"""One writer at a time: a folder that a process writes to is refused to another one."""

import contextlib
import logging
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

from lmac_td.errors import SettingError
from lmac_td.reading import read_text

logger = logging.getLogger(__name__)

# Seconds before a folder is refused. Processes that a killed training started to read
# ahead end some seconds after it, and hold its lock until then.
PATIENCE_S = 8.0
_LONGEST_COMMAND = 300  # characters


@contextlib.contextmanager
def one_writer(
    folder: str | Path, work: str, option: str = "--output_folder"
) -> Iterator[None]:
    """Hold a folder for some work; other processes may do other work in it.

    The system frees the lock when the process ends, however it ends. The files
    ``.<work>.lock`` and, while the work lasts, ``.<work>.owner`` lie in the folder. If
    the folder is new, and nothing else is in it after an error, it is removed again.

    Arguments
    ---------
    folder : str or Path
        Created if it is missing.
    work : str
        What is done in it, such as ``training``.
    option : str
        The option that names another folder, for messages.

    Raises
    ------
    SettingError
        If another process does the same work there; it is named.

    Example
    -------
    >>> import tempfile
    >>> with one_writer(tempfile.mkdtemp(), "training"):
    ...     pass  # write
    """
    folder = Path(folder).absolute()
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # such as below /proc
        raise SettingError(
            f"{folder} cannot be made on its disk: give another {option}"
        ) from error
    lock, owner = folder / f".{work}.lock", folder / f".{work}.owner"
    held = filelock.FileLock(lock)
    try:
        held.acquire(timeout=PATIENCE_S)
    except filelock.Timeout as error:
        raise SettingError(
            f"another {work} writes into {folder}{_read(owner)}: wait for it or stop "
            f"it, or give another {option}"
        ) from error
    except NotImplementedError:
        logger.warning("%s: its disk has no locks: start nothing else there", folder)
    try:
        owner.write_text(_this_process(), encoding="utf-8", errors="replace")
        yield
    finally:
        owner.unlink(missing_ok=True)
        if new and set(folder.iterdir()) <= {lock}:
            lock.unlink(missing_ok=True)
            for path in new:  # deepest first
                with contextlib.suppress(OSError):
                    path.rmdir()
        held.release()


def _this_process():
    command = shlex.join([Path(sys.executable).name, *sys.argv])[:_LONGEST_COMMAND]
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()}, since {since}: {command}"


def _read(owner):
    try:
        return f" ({read_text(owner)})"
    except (OSError, ValueError):
        return ""
