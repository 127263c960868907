"""Read a recording of any kind in blocks: one channel, at a sample rate."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from lmac_td.errors import LoadAudioError, SettingError
from lmac_td.faults import Faults
from lmac_td.sound_files import mono_blocks, name_faults, open_sound, require_finite

BLOCK = 2**17  # frames that are read at once
REMEDY = "give a recording that soundfile reads, such as wav, flac, ogg or mp3"


class Sound:
    """A recording, read in blocks: its length does not matter for the memory.

    Arguments
    ---------
    source : str, Path, bytes, array or dict
        The path of a file, its bytes, an array of samples, or a dictionary with
        ``array`` (or ``raw``) and ``sampling_rate``, as in the pipelines of
        transformers. An array is (T,), (channels, T) or (T, channels), where the longer
        axis is time; integers are divided by the largest number of their type. Channels
        are averaged.
    sample_rate : int, optional
        Of an array, in Hz.

    Attributes
    ----------
    name : str
        For messages and pages: the file's name, or ``recording``.

    Raises
    ------
    SettingError
        If an array has no sample rate, or another type is given.
    LoadAudioError
        If a file does not exist.

    Example
    -------
    >>> sound = Sound({"array": np.eye(2, 8000), "sampling_rate": 8000})
    >>> sum(len(block) for block in sound.blocks(16000))
    16000
    """

    def __init__(self, source: Any, sample_rate: int | None = None) -> None:
        self.name, self.was_read = "recording", False
        self.path, self.bytes, self.array = None, None, None
        if isinstance(source, Mapping):
            source, sample_rate = _of_mapping(source, sample_rate)
        if isinstance(source, (str, os.PathLike)):
            self.path = Path(source)
            self.name = self.path.name
            if not self.path.is_file():
                raise LoadAudioError(f"{source} is missing or is not a file: {REMEDY}.")
        elif isinstance(source, (bytes, bytearray)):
            self.bytes = bytes(source)
        else:
            self.array, self.rate = _of_array(source), sample_rate
            if not isinstance(sample_rate, (int, np.integer)) or sample_rate < 1:
                raise SettingError(
                    f"sample_rate is {sample_rate!r}: give the rate of the array in Hz"
                )

    def blocks(self, sample_rate: int) -> Iterator[np.ndarray]:
        """Yield the samples from the start to the end.

        Arguments
        ---------
        sample_rate : int
            Of what is returned, in Hz; soxr resamples.

        Yields
        ------
        numpy.ndarray
            (t,), float32; the mean of the channels.

        Raises
        ------
        LoadAudioError
            If the recording cannot be decoded, is empty, silent or a flat line, holds
            NaN or infinity, or its channels cancel each other.
        """
        resampler, rate, n_frames, sounds = None, None, 0, False
        faults = Faults()
        for samples, rate in self._mono(faults):
            n_frames += len(samples)
            sounds = sounds or bool(np.square(samples).any())  # as power in float32
            if rate != sample_rate:
                resampler = resampler or soxr.ResampleStream(
                    rate, sample_rate, 1, dtype="float32", quality="HQ"
                )
                samples = resampler.resample_chunk(samples)
            yield samples
        if not n_frames:
            raise LoadAudioError(f"{self.name} is empty (it has no samples): {REMEDY}.")
        source = self.path or self.bytes
        remedy = "give another recording"
        name_faults(faults, source, self.name, remedy, warn=not self.was_read)
        self.was_read = True
        if not sounds:
            raise LoadAudioError(
                f"{self.name} is silent, so there is nothing to explain: give another "
                "recording."
            )
        if resampler is not None:
            yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)

    def _mono(self, faults: Faults) -> Iterator[tuple[np.ndarray, int]]:
        """Yield samples (t,) of float32, the mean of the channels, and their rate."""
        if self.array is None:
            with open_sound(self.path or self.bytes, self.name, remedy=REMEDY) as file:
                blocks = mono_blocks(file, self.name, remedy=REMEDY, faults=faults)
                for samples in blocks:
                    yield samples, file.samplerate
            return
        for start in range(0, len(self.array), BLOCK):
            frames = as_float(self.array[start : start + BLOCK])
            require_finite(frames, self.name, REMEDY)
            faults.add(frames)
            yield frames.mean(axis=1), self.rate


def _of_mapping(source: Mapping, sample_rate: int | None) -> tuple[Any, int | None]:
    array = source.get("array", source.get("raw"))
    if array is None:
        array = source.get("bytes") or source.get("path")
    if array is None:
        raise SettingError(
            "the dictionary has no array: give {'array': samples, 'sampling_rate': Hz}"
        )
    return array, source.get("sampling_rate", sample_rate)


def _of_array(source: Any) -> np.ndarray:
    """Return samples (T, channels) of any type of numbers."""
    array = np.asarray(source.detach().cpu() if hasattr(source, "detach") else source)
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiu":
        raise SettingError(
            f"a recording of type {type(source).__name__} is not supported: give a "
            "path, bytes, an array (T,) or (channels, T), or a dictionary with array "
            "and sampling_rate"
        )
    if array.ndim == 1:
        return array[:, None]
    return array.T if array.shape[0] < array.shape[1] else array


def as_float(samples: np.ndarray) -> np.ndarray:
    """Return samples as float32; whole numbers become shares of their largest.

    Example
    -------
    >>> as_float(np.array([-32768, 16384], dtype=np.int16))
    array([-1. ,  0.5], dtype=float32)
    """
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    span = np.iinfo(samples.dtype)
    middle = 0 if span.min else (span.max + 1) // 2
    half = span.max - middle + 1
    return ((samples.astype(np.float64) - middle) / half).astype(np.float32)
