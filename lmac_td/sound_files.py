"""Open sound files and read them in blocks: what a header claims takes no memory."""

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from lmac_td.errors import LoadAudioError
from lmac_td.faults import Faults, missing_share
from lmac_td.reading import regular_size

logger = logging.getLogger(__name__)

SKIP_REMEDY = "remove it or set skip_bad_files: True"

# A header that names another rate is wrong, and would need a giant resampler.
LOWEST_RATE, HIGHEST_RATE = 1000, 768_000  # Hz
LOUDEST = 1e10  # sample values above overflow in power spectra
LONGEST = 2**29  # sample values that are decoded at once; 1.7 hours of 44.1 kHz stereo
_BLOCK = 2**20  # sample values that are read at once
_STRETCH = 4096  # frames that are read to see whether a file can be read


@contextlib.contextmanager
def open_sound(
    source: str | Path | bytes, name: str | None = None, *, remedy: str = SKIP_REMEDY
) -> Iterator[soundfile.SoundFile]:
    """Open a sound file to read from it; every sound file is opened here.

    Arguments
    ---------
    source : str, Path or bytes
        A file, or the bytes of one.
    name : str, optional
        For messages; by default the path.
    remedy : str
        What the user can do about a bad file, for the error message.

    Yields
    ------
    soundfile.SoundFile

    Raises
    ------
    LoadAudioError
        If it is missing or no regular file, cannot be decoded, or has a sample rate
        that no sound has. The same holds for errors of reading in the block.

    Example
    -------
    >>> with open_sound("/dev/zero"):
    ...     pass
    Traceback (most recent call last):
    lmac_td.errors.LoadAudioError: /dev/zero is missing or is not a file: remove it or \
set skip_bad_files: True.
    """
    name = str(source) if name is None else name
    if isinstance(source, bytes):
        source = io.BytesIO(source)
    else:
        try:
            regular_size(source)
        except (OSError, ValueError) as error:
            raise LoadAudioError(
                f"{name} is missing or is not a file: {remedy}."
            ) from error
    try:
        with soundfile.SoundFile(_encoded(source)) as file:
            check_rate(file.samplerate, name, remedy)
            yield file
    # soundfile raises TypeError and ValueError for names and headers of some formats.
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        raise LoadAudioError(
            f"{name} cannot be decoded and may be corrupt ({error}): {remedy}."
        ) from error


def _encoded(source):
    """Return a path as bytes: soundfile refuses names that are no text."""
    is_path = isinstance(source, (str, Path))
    return os.fsencode(source) if is_path and os.name == "posix" else source


def check_rate(rate: int, name: str, remedy: str = SKIP_REMEDY) -> None:
    """Refuse a sample rate that no sound has.

    Arguments
    ---------
    rate : int
        Hz.
    name, remedy : str
        What has this rate, and what the user can do.

    Raises
    ------
    LoadAudioError
    """
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise LoadAudioError(
            f"{name} has a sample rate of {rate} Hz, which is not from {LOWEST_RATE} "
            f"to {HIGHEST_RATE}: {remedy}."
        )


def require_finite(frames: np.ndarray, name: str | Path, remedy: str) -> None:
    """Refuse samples that are NaN or infinite.

    Arguments
    ---------
    frames : numpy.ndarray
    name, remedy : str
        What holds them, and what the user can do.

    Raises
    ------
    LoadAudioError
    """
    if not np.isfinite(frames).all():
        raise LoadAudioError(f"{name} holds NaN or infinite samples: {remedy}.")


def mono_blocks(
    file: soundfile.SoundFile,
    name: str | Path,
    n_frames: int = -1,
    *,
    remedy: str,
    faults: Faults | None = None,
) -> Iterator[np.ndarray]:
    """Read a file in blocks of one channel.

    Arguments
    ---------
    file : soundfile.SoundFile
    name : str or Path
        For messages.
    n_frames : int
        Number of frames to read, -1 for all.
    remedy : str
        What the user can do about a bad file, for the error message.
    faults : Faults, optional
        Looks at all frames, for :func:`name_faults`.

    Yields
    ------
    numpy.ndarray
        (t,), float32; the mean of the channels.

    Raises
    ------
    LoadAudioError
        If samples are NaN, infinite, or above 10 to the power of 10.
    """
    while n_frames:
        longest = max(1, _BLOCK // file.channels)
        wanted = longest if n_frames < 0 else min(longest, n_frames)
        frames = file.read(wanted, dtype="float32", always_2d=True)
        if not len(frames):
            return
        require_finite(frames, name, remedy)
        peak = np.abs(frames).max()
        if peak > LOUDEST:
            raise LoadAudioError(
                f"{name} holds samples of {peak:.1g}, and sound is from -1 to 1: "
                f"{remedy}."
            )
        n_frames -= len(frames) if n_frames > 0 else 0
        if faults is not None:
            faults.add(frames)
        yield frames.mean(axis=1)  # (t, channels) -> (t,)


def name_faults(
    faults: Faults,
    source: str | Path | bytes | None,
    name: str | Path,
    remedy: str,
    warn: bool = True,
) -> None:
    """Refuse a recording without a sound of its own; warn of a damaged one.

    Arguments
    ---------
    faults : Faults
        It has looked at the frames.
    source : str, Path, bytes or None
        The file, to see whether it is cut off.
    name, remedy : str
        For messages.
    warn : bool
        Whether to warn; False if it was done before.

    Raises
    ------
    LoadAudioError
        If it is a flat line, or its channels cancel each other.
    """
    fatal = faults.fatal()
    if fatal:
        raise LoadAudioError(f"{name}: {fatal}: {remedy}.")
    if not warn:
        return
    missing = missing_share(source) if source else 0.0
    cut = [f"it is cut off: {100 * missing:.0f} % is missing"] if missing else []
    for remark in (*cut, *faults.remarks()):
        logger.warning("%s: %s", name, remark)


def read_frames(
    file: soundfile.SoundFile,
    path: str | Path,
    n_frames: int,
    remedy: str,
    faults: Faults | None = None,
) -> np.ndarray:
    """Read frames into memory; see :func:`mono_blocks`.

    Returns
    -------
    numpy.ndarray
        (T,), float32; the mean of the channels.

    Raises
    ------
    LoadAudioError
        Also if there are none, or so many that they would fill the memory.
    """
    wanted = file.frames - file.tell() if n_frames < 0 else n_frames
    if min(wanted, file.frames) * file.channels > LONGEST:
        raise LoadAudioError(
            f"{path} lasts {file.frames / file.samplerate / 60:.3g} min, too long to "
            "be read at once: cut it into several files."
        )
    blocks = list(mono_blocks(file, path, n_frames, remedy=remedy, faults=faults))
    if not blocks:
        raise LoadAudioError(f"{path} is empty (it has no samples): {remedy}.")
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def check_recording(
    path: str | Path, whole: bool, *, remedy: str = SKIP_REMEDY
) -> None:
    """Refuse a recording that cannot be used, before anybody waits for it.

    Arguments
    ---------
    path : str or Path
    whole : bool
        Decode all of it; else only its first and its last samples.
    remedy : str
        What the user can do about a bad file, for the error message.

    Raises
    ------
    LoadAudioError
        If it is missing, cannot be decoded, is empty, or holds NaN or infinity; if
        ``whole``, also if it is silent.
    """
    with open_sound(path, remedy=remedy) as file:
        if not whole:
            read_frames(file, path, _STRETCH, remedy)
            file.seek(max(0, file.frames - 1))
            read_frames(file, path, _STRETCH, remedy)
            return
        most = LONGEST // file.channels
        blocks = mono_blocks(file, path, most, remedy=remedy)
        peaks = [np.abs(block).max() for block in blocks]
    if not peaks:
        raise LoadAudioError(f"{path} is empty (it has no samples): {remedy}.")
    if not np.square(max(peaks)):
        raise LoadAudioError(f"{path} is silent: {remedy}.")
