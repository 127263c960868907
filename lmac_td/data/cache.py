"""Cache decoded recordings: each one is decoded and resampled once.

A decoded recording is a float32 ``.npy`` file. Its name is a hash of everything that
its content depends on, so a recording that changes on disk is decoded again. Files lie
in subfolders, named by the first two digits of the hash; those of earlier versions,
which had no subfolders, are found, too.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch

from lmac_td.audio import RESAMPLER, SKIP_REMEDY, load_audio
from lmac_td.errors import LoadAudioError, SettingError
from lmac_td.files import write_atomically

NPY_HEADER = 128
"""Bytes of a decoded recording before its samples."""


def cached_path(
    path: str | Path,
    sample_rate: int,
    signal_length_s: float | None,
    cache_folder: str | Path,
) -> Path:
    """Return the path of a decoded recording, whether it exists yet or not.

    Arguments
    ---------
    path : str or Path
        The recording.
    sample_rate : int
        Hz, after decoding.
    signal_length_s : float or None
        Seconds, after decoding; ``None`` keeps the length of the recording.
    cache_folder : str or Path
        The folder of decoded recordings.

    Returns
    -------
    Path
        ``<cache_folder>/<two digits>/<hash>.npy``, or ``<cache_folder>/<hash>.npy`` if
        an earlier version wrote it.

    Raises
    ------
    LoadAudioError
        If the recording does not exist.
    """
    path = Path(path).absolute()
    try:
        stat = path.stat()
    except OSError as error:
        raise LoadAudioError(f"{path} is missing: {SKIP_REMEDY}.") from error
    length_s = None if signal_length_s is None else float(signal_length_s)
    key = [
        str(path), stat.st_size, stat.st_mtime_ns, int(sample_rate), length_s, RESAMPLER
    ]  # fmt: skip
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    flat = Path(cache_folder) / f"{name}.npy"
    return flat if flat.exists() else flat.parent / name[:2] / flat.name


def decode_once(
    path: str | Path,
    sample_rate: int,
    signal_length_s: float | None,
    cache_folder: str | Path,
    *,
    remedy: str = SKIP_REMEDY,
) -> Path:
    """Decode a recording into the cache, unless the cache has it already.

    Arguments
    ---------
    path, sample_rate, signal_length_s, remedy
        As in :func:`lmac_td.audio.load_audio`.
    cache_folder : str or Path
        The folder of decoded recordings; created if it is missing.

    Returns
    -------
    Path
        The ``.npy`` file, for :func:`load_decoded`.

    Raises
    ------
    LoadAudioError
        As in :func:`lmac_td.audio.load_audio`.

    Example
    -------
    >>> import tempfile
    >>> from lmac_td.audio import save_audio
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = save_audio(f"{folder.name}/a.wav", torch.randn(8000) / 8, 8000)
    >>> load_decoded(decode_once(path, 16000, 2.0, folder.name)).shape
    torch.Size([32000])
    """
    decoded = cached_path(path, sample_rate, signal_length_s, cache_folder)
    if not decoded.exists():
        wav = load_audio(path, sample_rate, signal_length_s, remedy=remedy)
        with write_atomically(decoded) as file:
            np.save(file, wav.numpy())
    return decoded


def make_room(
    cache_folder: str | Path, limit_gb: float, planned: Collection[Path], n_bytes: int
) -> None:
    """Remove the least recently used recordings until what is planned fits a limit.

    A recording counts as used when a command plans to read it.

    Arguments
    ---------
    cache_folder : str or Path
    limit_gb : float
        The most that the cache may take, in GB (10**9 bytes).
    planned : collection of Path
        The files that the command reads; they are not removed.
    n_bytes : int
        What the planned files take, whether they exist yet or not.

    Raises
    ------
    SettingError
        If the planned files alone do not fit. Nothing is removed then.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for i, name in enumerate(["old.npy", "new.npy"]):
    ...     _ = (folder / name).write_bytes(bytes(600))
    ...     os.utime(folder / name, (i, i))
    >>> make_room(folder, 1e-6, [], 0)
    >>> [path.name for path in folder.iterdir()]
    ['new.npy']
    """
    limit = limit_gb * 1e9
    if n_bytes > limit:
        raise SettingError(
            f"cache_limit_gb is {limit_gb:g}, but the recordings of this command take "
            f"{n_bytes / 1e9:.3g} GB when decoded: give a larger --cache_limit_gb, or "
            "score fewer folds"
        )
    planned = set(planned)
    others = []
    for place, _, names in os.walk(cache_folder):
        for name in names:
            path = Path(place) / name
            if name.endswith(".npy") and not name.startswith("."):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    if path in planned:
                        os.utime(path)
                    else:
                        stat = path.stat()
                        others.append((stat.st_mtime_ns, path, stat.st_size))
    n_left = n_bytes + sum(size for *_, size in others)
    for _, path, size in sorted(others):
        if n_left <= limit:
            break
        path.unlink(missing_ok=True)
        n_left -= size


def load_decoded(
    decoded: str | Path, start: int = 0, n_samples: int | None = None
) -> torch.Tensor:
    """Read a decoded recording, or an excerpt of it, from the cache.

    Arguments
    ---------
    decoded : str or Path
        What :func:`decode_once` returned.
    start : int
        First sample.
    n_samples : int, optional
        Number of samples; by default all from ``start`` on.

    Returns
    -------
    torch.Tensor
        (T,), float32.

    Raises
    ------
    LoadAudioError
        If the cached file is missing or damaged.
    """
    stop = None if n_samples is None else start + n_samples
    samples = _open_decoded(decoded)[start:stop]
    return torch.from_numpy(np.array(samples))  # copied: the map is read-only


def decoded_length(decoded: str | Path) -> int:
    """Return the number of samples of a decoded recording, without reading them.

    Arguments
    ---------
    decoded : str or Path
        What :func:`decode_once` returned.

    Returns
    -------
    int
    """
    return len(_open_decoded(decoded))


def _open_decoded(decoded: str | Path) -> np.ndarray:
    """Open a decoded recording as a read-only memory map (T,)."""
    try:
        return np.load(decoded, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise LoadAudioError(
            f"{decoded}, a decoded recording in the cache, is missing or damaged: "
            "delete the folder it is in (cache_folder) and run the preparation again."
        ) from error
