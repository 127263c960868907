"""Write files and folders completely or not at all.

Data is written under a hidden temporary name beside its destination, and renamed at the
end. A crash leaves no incomplete file, and another process never reads one.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def write_atomically(
    path: str | Path, mode: str = "wb", **open_kwargs: Any
) -> Iterator[IO]:
    """Open a file that replaces its destination when the block ends without an error.

    Arguments
    ---------
    path : str or Path
        The destination. Missing folders are created; an existing file is replaced.
    mode : str
        ``"wb"`` or ``"w"``.
    **open_kwargs
        Further arguments of :func:`open`.

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
def temporary_folder_beside(path: str | Path) -> Iterator[Path]:
    """Create a temporary folder beside a destination; delete it after the block.

    The block moves its result to the destination with :func:`os.replace`, which works
    because both are on the same disk. If the block fails, the folders that were created
    above the destination are deleted, too.

    Arguments
    ---------
    path : str or Path
        The destination.

    Yields
    ------
    Path
        The temporary folder.

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


def _beside(path: Path) -> Path:
    """Return a new hidden name beside a path."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
