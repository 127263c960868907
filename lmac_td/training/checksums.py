"""Checksums of checkpoints: written beside the weights, verified when they are read.

A checkpoint is a folder of SpeechBrain's Checkpointer. The file ``SHA256SUMS`` in it
has the format of ``sha256sum --check``. Checkpoints of earlier versions have none:
their files are then checked as far as their formats allow.
"""

import zipfile
from pathlib import Path

import yaml
from speechbrain.utils.checkpoints import METAFNAME, PARAMFILE_EXT

from lmac_td.errors import UnreadableFileError
from lmac_td.files import sha256_of
from lmac_td.reading import read_text, regular_size

SUMS = "SHA256SUMS"
LARGEST = 2**20  # bytes of a text in a checkpoint


def write_checksums(folder: Path) -> None:
    """Write the checksums of all files of a folder.

    Arguments
    ---------
    folder : Path
        A checkpoint that is not changed afterwards.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "CKPT.yaml").write_text("epoch: 1")
    >>> write_checksums(folder)
    >>> find_damage(folder)
    >>> _ = (folder / "CKPT.yaml").write_text("epoch: 2")
    >>> find_damage(folder)
    'CKPT.yaml has changed'
    """
    lines = [f"{sha256_of(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def find_damage(folder: Path, names: list[str] | None = None) -> str | None:
    """Compare the files of a checkpoint with their checksums.

    Arguments
    ---------
    folder : Path
    names : list of str, optional
        The files to verify; by default all that a training reads.

    Returns
    -------
    str or None
        What is damaged; None if the files are as they were written.

    Raises
    ------
    OSError
        If the system does not let a file be read.
    """
    try:
        sums = _read_checksums(folder)
    except ValueError:
        return f"{SUMS} cannot be read"
    if names is None:
        files = {path.name for path in folder.glob(f"*{PARAMFILE_EXT}")}
        names = sorted({METAFNAME, *files, *(sums or ())})
    for name in names:
        problem = _damage_of(folder / name, sums)
        if problem is not None:
            return f"{name} {problem}"
    return None


def _read_checksums(folder):
    """Return the checksums by name; None for a checkpoint without."""
    try:
        text = read_text(folder / SUMS, LARGEST)
    except FileNotFoundError:
        return None
    pairs = [line.split("  ", 1) for line in text.splitlines()]
    return {name: digest for digest, name in pairs}


def _damage_of(path, sums):
    try:
        regular_size(path)
        if sums is None:
            return None if _is_readable(path) else "cannot be read"
        if path.name not in sums:
            return f"is not in {SUMS}"
        return None if sha256_of(path) == sums[path.name] else "has changed"
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except UnreadableFileError:
        return "is not a file"


def _is_readable(path):
    """Return whether a file without a checksum is torch's, with its CRCs, or yaml.

    SpeechBrain's yaml files end with a line break; without it, some digits of the last
    number may be missing.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                return file.testzip() is None
        text = read_text(path, LARGEST)
        return text.endswith("\n") and yaml.safe_load(text) not in (None, "")
    except (ValueError, zipfile.BadZipFile, yaml.YAMLError, RecursionError):
        return False
