"""Draw the pictures of a page: spectrograms without axes or margins.

The page draws a line over them at the position that plays, so a picture spans exactly
the time of its sound.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

from lmac_td.files import write_atomically

RANGE_DB = 80
MAX_FRAMES, MAX_BINS = 1200, 256  # larger spectrograms are pooled
_LEVELS = 128  # of the picture's 256 colours: half in colour, half in grey


def spectrogram_picture(
    path: str | Path,
    magnitude: np.ndarray,
    mask: np.ndarray | None = None,
    reference: float | None = None,
) -> None:
    """Save a spectrogram; bins that a mask removes are dark grey, not in colour.

    Arguments
    ---------
    path : str or Path
        A PNG file, written atomically.
    magnitude : ndarray (frames, bins)
        Time runs to the right, frequency upwards.
    mask : ndarray (frames, bins), optional
        In [0, 1]; a bin of the mask is kept if it is at least 0.5.
    reference : float, optional
        The magnitude of 0 dB; by default the largest.

    Example
    -------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = f"{folder.name}/a.png"
    >>> spectrogram_picture(path, np.ones((30, 65)), mask=np.eye(30, 65))
    >>> Image.open(path).size
    (30, 65)
    """
    magnitude = np.asarray(magnitude)
    reference = max(magnitude.max() if reference is None else reference, 1e-8)
    pooled = _pool(magnitude)
    level_db = 20 * np.log10(np.maximum(pooled / reference, 1e-8))
    levels = np.clip(1 + level_db / RANGE_DB, 0, 1) * (_LEVELS - 1)
    colours = np.round(levels).astype(np.uint8)
    if mask is not None:
        # A pooled bin counts as kept if most of its energy is.
        energy = magnitude**2
        kept = _pool(energy * (np.asarray(mask) >= 0.5), np.add)
        colours[kept < 0.5 * np.maximum(_pool(energy, np.add), 1e-20)] += _LEVELS
    image = Image.fromarray(np.ascontiguousarray(colours.T[::-1]), mode="P")
    image.putpalette(_palette())
    with write_atomically(path) as file:
        image.save(file, format="PNG", optimize=True)


def _pool(values, function=np.maximum):
    """Pool a spectrogram to at most so many frames and bins."""
    for axis, most in ((0, MAX_FRAMES), (1, MAX_BINS)):
        if values.shape[axis] > most:
            starts = np.arange(most) * values.shape[axis] // most
            values = function.reduceat(values, starts, axis=axis)
    return values


def _palette():
    """Return the colours of kept levels, then the greys of removed ones."""
    steps = np.linspace(0, 1, _LEVELS)
    colours = colormaps["magma"](steps)[:, :3]
    # Removed bins stay recognisable, but darker than what is kept.
    greys = np.repeat((0.07 + 0.36 * steps)[:, None], 3, axis=1)
    return np.round(255 * np.concatenate([colours, greys])).astype(np.uint8).tobytes()
