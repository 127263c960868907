"""Name what is wrong with a recording: cut off, cancelled, clipped, or a flat line.

Such a file can be read, and a classifier decides on it, but its explanation is not that
of a sound.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np

# Power of the mean of the channels over the mean power of the channels.
CANCELLED, WEAKENED = 1e-6, 1e-2
# A sample is at full scale from here. If more than this share is, it is clipped.
FULL_SCALE, CLIPPED = 0.999, 0.05
_UNKNOWN_SIZES = (0, 2**32 - 1)  # of a file that was written as a stream


class Faults:
    """Looks at the frames of a recording, block by block.

    Example
    -------
    >>> faults = Faults()
    >>> wave = np.sin(np.arange(100.0))[:, None]
    >>> faults.add(np.hstack([wave, -wave]))
    >>> faults.fatal()
    'it is silent, since its channels cancel each other'
    """

    def __init__(self) -> None:
        self.n_frames = 0
        self.lowest, self.highest = np.inf, -np.inf
        self.power, self.power_of_channels = 0.0, 0.0
        self.at_full_scale = 0

    def add(self, frames: np.ndarray) -> None:
        """Look at frames (t, channels) of floats from -1 to 1."""
        if not len(frames):
            return
        self.n_frames += len(frames)
        mono = frames.mean(axis=1)
        self.lowest = min(self.lowest, float(mono.min()))
        self.highest = max(self.highest, float(mono.max()))
        self.power += float(np.square(mono, dtype=np.float64).sum())
        squares = np.square(frames, dtype=np.float64).sum()
        self.power_of_channels += float(squares) / frames.shape[1]
        loud = (np.abs(frames) >= FULL_SCALE).sum(axis=0)
        self.at_full_scale += int(loud.max())

    def fatal(self) -> str | None:
        """Return why there is nothing to explain; None if there is something.

        Silence is not among the reasons, unless channels make it.
        """
        if self.power_of_channels and self._share() < CANCELLED:
            return "it is silent, since its channels cancel each other"
        if self.n_frames > 1 and self.lowest == self.highest != 0:
            return f"it is a flat line (each sample is {self.highest:g})"
        return None

    def remarks(self) -> list[str]:
        """Return what else is wrong, as ends of a sentence."""
        found = []
        if self.power_of_channels and CANCELLED <= self._share() < WEAKENED:
            db = 10 * np.log10(self._share())
            found.append(
                f"its channels nearly cancel each other: their mean has {db:.0f} dB of "
                "their power"
            )
        clipped = self.at_full_scale / max(1, self.n_frames)
        if clipped > CLIPPED:
            found.append(f"it is clipped: {100 * clipped:.0f} % is at full scale")
        return found

    def _share(self):
        return self.power / self.power_of_channels


def missing_share(file: str | Path | bytes) -> float:
    """Return the share of a wav file's samples that its header names and it lacks.

    Arguments
    ---------
    file : str, Path or bytes
        A path, or the content of a file.

    Returns
    -------
    float
        0 for a whole file, one of another kind, or one of unknown length.

    Example
    -------
    >>> import soundfile
    >>> whole = io.BytesIO()
    >>> soundfile.write(whole, np.zeros(1000), 8000, format="WAV")
    >>> missing_share(whole.getvalue()), missing_share(whole.getvalue()[:-500])
    (0.0, 0.25)
    """
    if isinstance(file, bytes):
        return _missing_share(io.BytesIO(file))
    try:
        with open(file, "rb") as content:
            return _missing_share(content)
    except OSError:
        return 0.0


def _missing_share(content):
    head = content.read(12)
    if head[:4] not in (b"RIFF", b"RIFX") or head[8:] != b"WAVE":
        return 0.0
    order = "little" if head[:4] == b"RIFF" else "big"
    end = content.seek(0, os.SEEK_END)
    place = 12
    while place + 8 <= end:
        content.seek(place)
        chunk = content.read(8)
        size = int.from_bytes(chunk[4:], order)
        place += 8
        if chunk[:4] == b"data":
            is_known = size not in _UNKNOWN_SIZES
            return max(0, place + size - end) / size if is_known else 0.0
        place += size + size % 2
    return 0.0
