"""Files and folders that appear whole or not at all.

What is written goes beside its destination under a hidden temporary name and is
moved over at the end, so that neither a crash nor a second process can leave or meet
half a file.
"""

import contextlib
import os
import shutil
import uuid
from pathlib import Path


@contextlib.contextmanager
def write_atomically(path, mode="wb", **open_kwargs):
    """Open a file that takes its place only when the block ends without an error.

    Arguments
    ---------
    path : str or Path
        The destination; missing folders above it are made, an older file replaced.
    mode : str
        ``"wb"`` or ``"w"``.
    **open_kwargs : dict
        Given on to :func:`open`.

    Yields
    ------
    file
        Open for writing.

    Example
    -------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with write_atomically(f"{folder.name}/a.txt", "w") as file:
    ...     _ = file.write("whole")
    >>> os.listdir(folder.name)
    ['a.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        with open(temporary, mode, **open_kwargs) as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder_beside(path):
    """Make a scratch folder on the same disk as a destination; gone after the block.

    What shall stay is moved to the destination with :func:`os.replace`. When the block
    fails, the folders that had to be made above the destination go too.

    Arguments
    ---------
    path : str or Path
        The destination.

    Yields
    ------
    Path
        The scratch folder.

    Example
    -------
    >>> import tempfile
    >>> root = tempfile.TemporaryDirectory()
    >>> with temporary_folder_beside(f"{root.name}/result") as scratch:
    ...     (scratch / "result").mkdir()
    ...     os.replace(scratch / "result", f"{root.name}/result")
    >>> os.listdir(root.name)
    ['result']
    """
    path = Path(path).absolute()
    made = [folder for folder in path.parents if not folder.exists()]
    scratch = _beside(path)
    try:
        scratch.mkdir(parents=True)
        yield scratch
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        for folder in made:  # deepest first
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    shutil.rmtree(scratch)


def _beside(path):
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
