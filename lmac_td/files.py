"""Write files and folders completely or not at all.

Data is written under a hidden temporary name beside its destination, and renamed at the
end. A crash leaves no incomplete file, and another process never reads one.
"""

import contextlib
import ctypes
import errno
import glob
import hashlib
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from lmac_td.errors import SettingError
from lmac_td.reading import regular_size


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
        Further arguments of :func:`open`. Text is UTF-8 by default.

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
    if "b" not in mode:
        # Names of files that are not valid text keep their bytes.
        open_kwargs = {"encoding": "utf-8", "errors": "surrogateescape", **open_kwargs}
    temporary = _beside(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise SettingError(f"{path} is a device or a pipe: give the name of a file")
    with _errors_naming(path, path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _errors_naming(path, temporary):
            with open(temporary, mode, **open_kwargs) as file:
                yield file
                if path.exists():  # what replaces it must be on the disk first
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder_beside(path: str | Path) -> Iterator[Path]:
    """Create a temporary folder beside a destination; delete it after the block.

    Of a symbolic link, it stands beside the folder that the link leads to.

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
    path = _real(path)
    made = [folder for folder in path.parents if not folder.exists()]
    scratch = _beside(path)
    try:
        with _errors_naming(path, scratch, scratch.parent):
            scratch.mkdir(parents=True)
        yield scratch
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        for folder in made:  # deepest first
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    shutil.rmtree(scratch)


def sha256_of(*paths: str | Path) -> str:
    """Return the SHA-256 of files, one after the other, in hexadecimal digits.

    Arguments
    ---------
    *paths : str or Path

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.txt"
    >>> _ = path.write_text("a")
    >>> sha256_of(path)[:8], sha256_of(path, path)[:8]
    ('ca978112', '961b6dd3')
    """
    digest = hashlib.sha256()
    for path in paths:
        regular_size(path)
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def replace_folder(new, destination):
    """Give a folder the name of another one, which is then removed.

    Where the system can exchange two names in one step (Linux and macOS, on a local
    disk) the destination is the old folder or the new one at every moment, whole.
    Elsewhere there is no folder of that name between two renames. A process that is
    stopped between them leaves both folders beside it, and :func:`restore_folder`
    restores the new one. Of a symbolic link, the folder that it leads to is replaced.

    Arguments
    ---------
    new : str or Path
        A complete folder on the destination's disk; gone afterwards.
    destination : str or Path
        An older folder with this name is replaced.

    Example
    -------
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in ("old", "new"):
    ...     (root / name).mkdir()
    ...     _ = (root / name / "a.txt").write_text(name)
    >>> replace_folder(root / "new", root / "old")
    >>> (root / "old" / "a.txt").read_text(), os.listdir(root)
    ('new', ['old'])
    """
    new, destination = Path(new).absolute(), _real(destination)
    restore_folder(destination)
    if not destination.exists():
        os.rename(new, destination)
        return
    if not destination.is_dir():
        number = errno.ENOTDIR
        raise NotADirectoryError(number, os.strerror(number), str(destination))
    if _exchange(new, destination):
        shutil.rmtree(new)
        return
    complete, replaced = (_beside(destination, kind) for kind in (_COMPLETE, _REPLACED))
    os.rename(new, complete)
    os.rename(destination, replaced)
    os.rename(complete, destination)
    shutil.rmtree(replaced)


def restore_folder(destination):
    """Finish a :func:`replace_folder` that was stopped.

    If no folder has the destination's name, the complete new one beside it takes it, or
    else the old one; what is left over is removed.

    Arguments
    ---------
    destination : str or Path
    """
    destination = _real(destination)
    left = [
        path
        for kind in (_COMPLETE, _REPLACED)
        for path in destination.parent.glob(
            f".{glob.escape(destination.name)}.{kind}.*"
        )
    ]
    if left and not destination.exists():
        os.rename(left.pop(0), destination)
    for path in left:
        shutil.rmtree(path)


def remove_leftovers(folder: str | Path, others: Sequence[str] = ()) -> None:
    """Remove temporary files and folders that killed processes left in a folder.

    No other process may write to the folder, except below the names of ``others``.

    Arguments
    ---------
    folder : str or Path
    others : sequence of str
        Beginnings of names that are left as they are, and their temporary files, too.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in (".a.txt.0123456789ab", ".b.txt.0123456789ab", ".notes"):
    ...     (folder / name).touch()
    >>> remove_leftovers(folder, others=["b"])
    >>> sorted(os.listdir(folder))
    ['.b.txt.0123456789ab', '.notes']
    """
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _begins_with(name, others)]
        for name in (*folders, *names):
            if _TEMPORARY.fullmatch(name) and not _begins_with(name, others):
                _remove(Path(place) / name)
        folders[:] = [name for name in folders if not _TEMPORARY.fullmatch(name)]


def remove_leftovers_of(destination: str | Path) -> None:
    """Finish what killed processes began at a destination, and remove what they left.

    See :func:`restore_folder`. No other process may write to the destination.

    Arguments
    ---------
    destination : str or Path
        A file or a folder; it need not exist.
    """
    restore_folder(destination)
    path = _real(destination)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        of = left.name.rsplit(".", 1)[0]
        if _TEMPORARY.fullmatch(left.name) and of == f".{path.name}":
            _remove(left)


def _begins_with(name, others):
    return name.removeprefix(".").startswith(tuple(others))


def _remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


_CHUNK = 2**22  # bytes that are read at once
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}")  # names that _beside gives
_COMPLETE, _REPLACED = "complete", "replaced"
# linux/fs.h and fcntl.h, sys/stdio.h of macOS.
_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2


def _exchange(first, second):
    """Exchange the names of two folders in one step; False where that is impossible."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(first), os.fsencode(second)
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(*names, _RENAME_SWAP)
    elif hasattr(libc, "renameat2"):
        failed = libc.renameat2(
            _AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE
        )
    else:
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False  # not on this file system
    raise OSError(number, os.strerror(number), str(second))


@contextlib.contextmanager
def _errors_naming(path: Path, *others: Path) -> Iterator[None]:
    """Let errors of the system name a destination instead of the paths beside it."""
    try:
        yield
    except OSError as error:
        if str(error.filename) in map(str, others):
            error.filename, error.filename2 = str(path), None
        raise


def _real(path: str | Path) -> Path:
    """The folder that a symbolic link leads to, or else the path itself."""
    path = Path(path).absolute()
    return path.resolve() if path.is_symlink() else path


def _beside(path: Path, *kind: str) -> Path:
    """Return a new hidden name in the folder of a path."""
    return path.with_name(".".join(("", path.name, *kind, uuid.uuid4().hex[:12])))
