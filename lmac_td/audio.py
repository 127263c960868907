"""Load, resample, fit and save sound files.

soundfile decodes, soxr resamples. A recording that cannot be used (missing, corrupt,
empty, silent, with NaN) is refused by name with one error:
:class:`lmac_td.errors.LoadAudioError`. See :mod:`lmac_td.sound_files` for reading.
"""

import math
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
import torch.nn.functional as F

from lmac_td.errors import LoadAudioError
from lmac_td.faults import Faults
from lmac_td.files import write_atomically
from lmac_td.sound_files import SKIP_REMEDY, name_faults, open_sound, read_frames

# Half a step of 16-bit PCM. A peak above 1 by less than this is a rounding error.
_PCM_16_TOLERANCE = 2.0**-16

_MARGIN_S = 1.0  # what the resampler needs after the end, and more

# The resampler and its quality. It is part of the names of cached recordings.
RESAMPLER = "soxr HQ"


def load_audio(
    path: str | Path,
    sample_rate: int,
    signal_length_s: float | None = None,
    *,
    remedy: str = SKIP_REMEDY,
) -> torch.Tensor:
    """Load a recording as one channel, at a sample rate and, optionally, a length.

    Arguments
    ---------
    path : str or Path
        Any file that soundfile reads, at any rate, with any number of channels; the
        channels are averaged.
    sample_rate : int
        Sample rate of the result, Hz.
    signal_length_s : float, optional
        Length of the result, seconds. A shorter recording is padded with zeros at its
        end, a longer one is cut. ``None`` keeps the length.
    remedy : str
        What the user can do about a bad file, for the error message.

    Returns
    -------
    torch.Tensor
        (T,), float32.

    Raises
    ------
    LoadAudioError
        If the file is missing, corrupt, empty, silent or a flat line, holds NaN or
        infinity, or its channels cancel each other. A file that is cut off, and one
        that is clipped, gives a warning.

    Example
    -------
    >>> import tempfile, torch
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = save_audio(f"{folder.name}/tone.wav", torch.randn(8000) / 8, 8000)
    >>> load_audio(path, sample_rate=16000, signal_length_s=0.5).shape
    torch.Size([8000])
    """
    with open_sound(path, remedy=remedy) as file:
        n_frames = -1
        if signal_length_s is not None:
            n_frames = math.ceil((signal_length_s + _MARGIN_S) * file.samplerate)
        faults, file_rate = Faults(), file.samplerate
        samples = read_frames(file, path, n_frames, remedy, faults)
    name_faults(faults, path, path, remedy)
    wav = torch.from_numpy(resample(samples, file_rate, sample_rate))
    if signal_length_s is not None:
        wav = fit_to_length(wav, round(signal_length_s * sample_rate))
    # Checked last, since only the returned part of the channels' mean matters.
    if not wav.square().any():  # no power in float32
        where = "" if signal_length_s is None else f" in its first {signal_length_s} s"
        raise LoadAudioError(f"{path} is silent{where}: {remedy}.")
    return wav


def read_mono(
    path: str | Path, start: int = 0, n_frames: int = -1, *, remedy: str = SKIP_REMEDY
) -> tuple[np.ndarray, int]:
    """Read an excerpt of a file at its own sample rate, with averaged channels.

    Arguments
    ---------
    path : str or Path
        Any file that soundfile reads.
    start : int
        First frame to read; frames before it are not decoded.
    n_frames : int
        Number of frames to read, -1 for all from ``start`` on.
    remedy : str
        What the user can do about a bad file, for the error message.

    Returns
    -------
    samples : numpy.ndarray
        (T,), float32.
    file_rate : int
        Hz.

    Raises
    ------
    LoadAudioError
        If the file is missing, corrupt or empty, or holds NaN or infinity.

    Example
    -------
    >>> import tempfile, torch
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = save_audio(f"{folder.name}/noise.wav", torch.randn(8000) / 8, 8000)
    >>> samples, file_rate = read_mono(path, start=100, n_frames=50)
    >>> samples.shape, file_rate
    ((50,), 8000)
    """
    with open_sound(path, remedy=remedy) as file:
        file.seek(start)
        return read_frames(file, path, n_frames, remedy), file.samplerate


def resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Change the sample rate of a signal, with soxr at high quality.

    The pass band ends at 0.91 of the lower Nyquist frequency; the delay is zero. Time
    and memory depend only on the length, not on the ratio of the rates.

    Arguments
    ---------
    samples : numpy.ndarray
        (T,), float32.
    from_rate, to_rate : int
        Hz.

    Returns
    -------
    numpy.ndarray
        (T',), float32, with T' = T * to_rate / from_rate, rounded to a whole number.

    Example
    -------
    >>> resample(np.zeros(44101, dtype=np.float32), 44101, 16000).shape
    (16000,)
    """
    if from_rate == to_rate:
        return samples
    return soxr.resample(samples, from_rate, to_rate, quality="HQ")


def recorded_length(path: str | Path, sample_rate: int) -> int:
    """Return the length of a recording at a sample rate, without decoding it.

    Arguments
    ---------
    path : str or Path
        A file that soundfile reads.
    sample_rate : int
        Hz, after resampling.

    Returns
    -------
    int
        The number of samples that :func:`load_audio` returns without a length. It may
        differ by one if the exact length lies halfway between two numbers.

    Raises
    ------
    LoadAudioError
        If the file is missing or cannot be read.

    Example
    -------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = save_audio(f"{folder.name}/noise.wav", torch.randn(8000) / 8, 8000)
    >>> recorded_length(path, 16000)
    16000
    """
    with open_sound(path) as file:
        frames, rate = file.frames, file.samplerate
    return (2 * frames * sample_rate + rate) // (2 * rate)


def fit_to_length(wav: torch.Tensor, n_samples: int) -> torch.Tensor:
    """Cut or zero-pad the end of a waveform to a length.

    Arguments
    ---------
    wav : torch.Tensor
        (..., T).
    n_samples : int
        The new length.

    Returns
    -------
    torch.Tensor
        (..., n_samples).

    Example
    -------
    >>> fit_to_length(torch.ones(2), 3), fit_to_length(torch.ones(3), 1)
    (tensor([1., 1., 0.]), tensor([1.]))
    """
    # F.pad cuts if the padding is negative.
    return F.pad(wav, (0, n_samples - wav.shape[-1]))


def save_audio(
    path: str | Path, wav: torch.Tensor, sample_rate: int, bits: int = 16
) -> Path:
    """Write a waveform to a wav file, completely or not at all.

    The format is PCM if the peak is at most 1, otherwise 32-bit float: clipping or
    scaling would change the waveform.

    Arguments
    ---------
    path : str or Path
        The file; missing folders are created.
    wav : torch.Tensor
        (T,) or (channels, T).
    sample_rate : int
        Hz.
    bits : int
        Bits per sample in PCM, 16 or 24.

    Returns
    -------
    Path
        The file.

    Example
    -------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> save_audio(f"{folder.name}/new/loud.wav", torch.tensor([0.5, 1.5]), 8000).name
    'loud.wav'
    >>> load_audio(f"{folder.name}/new/loud.wav", 8000)
    tensor([0.5000, 1.5000])
    """
    samples = wav.detach().cpu().float().numpy().T  # (T,) or (T, channels)
    peak = np.abs(samples).max(initial=0.0)
    subtype = f"PCM_{bits}" if peak <= 1 + _PCM_16_TOLERANCE else "FLOAT"
    with write_atomically(path) as file:
        soundfile.write(file, samples, sample_rate, format="WAV", subtype=subtype)
    return Path(path)
