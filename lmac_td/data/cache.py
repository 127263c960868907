"""Decode and resample each recording once.

A decoded recording is kept as a float32 ``.npy`` file, named by everything that its
content depends on; a recording that changes on disk is therefore decoded again.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from lmac_td.audio import RESAMPLER, SKIP_REMEDY, load_audio
from lmac_td.errors import LoadAudioError
from lmac_td.files import write_atomically


def cached_path(path, sample_rate, signal_length_s, cache_folder):
    """Where the decoded form of a recording is, or would be, kept.

    Arguments
    ---------
    path : str or Path
        The recording.
    sample_rate : int
        Hz, after decoding.
    signal_length_s : float or None
        Seconds, after decoding; ``None`` for the recording's own length.
    cache_folder : str or Path
        The folder of decoded recordings.

    Returns
    -------
    Path
        ``<cache_folder>/<hash>.npy``.

    Raises
    ------
    LoadAudioError
        There is no such recording.
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
    return Path(cache_folder) / f"{name}.npy"


def decode_once(
    path, sample_rate, signal_length_s, cache_folder, *, remedy=SKIP_REMEDY
):
    """Decode a recording into the cache unless it is there already.

    Arguments
    ---------
    path, sample_rate, signal_length_s, remedy
        As in :func:`lmac_td.audio.load_audio`.
    cache_folder : str or Path
        The folder of decoded recordings; made when missing.

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


def load_decoded(decoded, start=0, n_samples=None):
    """Read a decoded recording, or a stretch of it, from the cache.

    Arguments
    ---------
    decoded : str or Path
        What :func:`decode_once` returned.
    start : int
        First sample.
    n_samples : int, optional
        How many samples; all that follow when left out.

    Returns
    -------
    torch.Tensor
        (T,), float32.

    Raises
    ------
    LoadAudioError
        The cached file is gone or damaged.
    """
    stop = None if n_samples is None else start + n_samples
    samples = _open_decoded(decoded)[start:stop]
    return torch.from_numpy(np.array(samples))  # a copy: the map is read-only


def decoded_length(decoded):
    """Count the samples of a decoded recording without reading them.

    Arguments
    ---------
    decoded : str or Path
        What :func:`decode_once` returned.

    Returns
    -------
    int
        Samples.
    """
    return len(_open_decoded(decoded))


def _open_decoded(decoded):
    try:
        return np.load(decoded, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise LoadAudioError(
            f"{decoded}, a decoded recording in the cache, is missing or damaged: "
            "delete the folder it is in (cache_folder) and run the preparation again."
        ) from error
