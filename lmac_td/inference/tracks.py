"""Sounds of any length: cut into overlapping windows, cross-faded, kept on disk."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from lmac_td.files import write_atomically
from lmac_td.report.samples import BITS

BLOCK = 2**18  # samples that are read at once
MOST_IN_MEMORY = 2**24  # samples; longer sounds are mapped from the disk


def windows(
    blocks: Iterable[np.ndarray], length: int, hop: int, rest: int = 0
) -> Iterator[tuple[int, Tensor]]:
    """Cut a sound into overlapping windows.

    Arguments
    ---------
    blocks : iterable of numpy.ndarray
        The sound, block by block.
    length : int
        Samples of a window.
    hop : int
        Samples between the starts of two windows. The last window ends where the sound
        ends, so it may overlap more.
    rest : int
        If no more samples than this follow a window, they get no window of their own.

    Yields
    ------
    start : int
        In samples.
    Tensor (length,)
        Shorter only if the whole sound is shorter, or if it is the rest.

    Example
    -------
    >>> [(start, len(w)) for start, w in windows([np.zeros(25)], length=10, hop=5)]
    [(0, 10), (5, 10), (10, 10), (15, 10)]
    >>> [(start, len(w)) for start, w in windows([np.zeros(7)], length=10, hop=5)]
    [(0, 7)]
    >>> [(start, len(w)) for start, w in windows([np.zeros(11)], 10, hop=5, rest=1)]
    [(0, 10), (10, 1)]
    """
    kept, first = np.zeros(0, np.float32), 0  # ``first``: where the kept part starts
    start = end = 0  # of the next window; the end of the last one
    for block in blocks:
        kept = np.concatenate([kept, block.astype(np.float32)])
        while first + len(kept) >= start + length:
            yield start, torch.tensor(kept[start - first : start - first + length])
            end, start = start + length, start + hop
        # The last window may start later than the next regular one, but not earlier
        # than one window before the end.
        drop = min(start, first + len(kept) - length) - first
        if drop > 0:
            kept, first = kept[drop:], first + drop
    n_samples = first + len(kept)
    if n_samples > end:
        is_rest = end > 0 and n_samples - end <= rest
        start = end if is_rest else max(0, n_samples - length)
        yield start, torch.tensor(kept[start - first :])


class Track:
    """A sound that is written from its start to its end, into a temporary file.

    The file has no name, and disappears with the object.
    """

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self.file.close)
        self.n_samples = 0
        self.peak = 0.0

    def append(self, samples: Tensor) -> None:
        """Add samples (t,) at the end."""
        array = samples.detach().cpu().float().numpy()
        self.file.seek(4 * self.n_samples)
        self.file.write(array.tobytes())
        self.n_samples += len(array)
        self.peak = max(self.peak, float(np.abs(array).max(initial=0.0)))

    def read(self, start: int, n_samples: int) -> np.ndarray:
        """Return an excerpt (t,); fewer samples at the end of the sound."""
        n_samples = max(0, min(n_samples, self.n_samples - start))
        self.file.seek(4 * start)
        return np.frombuffer(self.file.read(4 * n_samples), np.float32)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the samples, block by block."""
        for start in range(0, self.n_samples, BLOCK):
            yield self.read(start, BLOCK)

    def tensor(self) -> Tensor:
        """Return the whole sound (T,); a long one is mapped from the disk."""
        if self.n_samples <= MOST_IN_MEMORY:
            parts = list(self.blocks()) or [np.zeros(0, np.float32)]
            return torch.from_numpy(np.concatenate(parts))
        self.file.flush()
        return torch.from_numpy(np.memmap(self.file, np.float32, "c"))


def save_blocks(
    path: Path, blocks: Iterable[np.ndarray], sample_rate: int, peak: float
) -> Path:
    """Write a sound of any length to a wav file, completely or not at all.

    Arguments
    ---------
    path : Path
    blocks : iterable of numpy.ndarray
        The sound, block by block.
    sample_rate : int
        In Hz.
    peak : float
        Up to 1, the file is PCM of 24 bits; otherwise it holds 32-bit floats.

    Returns
    -------
    Path
    """
    subtype = f"PCM_{BITS}" if peak <= 1 else "FLOAT"
    settings = {"format": "WAV", "subtype": subtype}
    with (
        write_atomically(path) as file,
        soundfile.SoundFile(file, "w", sample_rate, 1, **settings) as sound,
    ):
        for block in blocks:
            sound.write(block)
    return Path(path)


class CrossFade:
    """Add overlapping windows up to one sound, in order of their starts.

    Where windows overlap, the sound is their mean, weighted by a raised cosine. Where
    there is one window, the sound is that window, exactly.

    Arguments
    ---------
    track : Track
        Receives the sound.

    Example
    -------
    >>> track = Track()
    >>> fade = CrossFade(track)
    >>> fade.add(0, torch.ones(4))
    >>> fade.add(2, torch.ones(4))
    >>> fade.finish()
    >>> track.tensor()
    tensor([1., 1., 1., 1., 1., 1.])
    """

    def __init__(self, track: Track) -> None:
        self.track = track
        self.start = 0  # of what is not written yet
        self.total, self.weight, self.last = (torch.zeros(0) for _ in range(3))
        self.count = torch.zeros(0, dtype=torch.int64)

    def add(self, start: int, wav: Tensor) -> None:
        """Add a window (t,) that begins at sample ``start``."""
        self._write(start - self.start)
        wav = wav.detach().cpu().float()
        n, missing = len(wav), len(wav) - len(self.total)
        grow = torch.nn.functional.pad
        self.total, self.weight, self.last, self.count = (
            grow(x, (0, max(0, missing)))
            for x in (self.total, self.weight, self.last, self.count)
        )
        weight = fading(n)
        self.total[:n] += weight * wav
        self.weight[:n] += weight
        self.last[:n] = wav
        self.count[:n] += 1

    def finish(self) -> None:
        """Write what remains."""
        self._write(len(self.total))

    def _write(self, n: int) -> None:
        if n <= 0:
            return
        mean = self.total[:n] / self.weight[:n]
        self.track.append(mean.where(self.count[:n] > 1, self.last[:n]))
        self.total, self.weight, self.last, self.count = (
            x[n:] for x in (self.total, self.weight, self.last, self.count)
        )
        self.start += n


def fading(n: int) -> Tensor:
    """Return the weights (n,) of a window's samples: a raised cosine, above 0."""
    return torch.sin(torch.pi * (torch.arange(n) + 0.5) / n).square()
