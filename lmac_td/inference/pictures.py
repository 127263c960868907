"""Pictures without axes: a spectrogram, and a mask laid over it.

Their left and right edges are the start and the end of the sound, so a page can draw a
cursor over them.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from lmac_td.files import write_atomically

RANGE_DB = 80
# At most so many pixels; larger spectrograms are averaged.
MOST_COLUMNS, MOST_ROWS = 1200, 320
# The brightness of a bin that is removed.
REMOVED = 0.35


def spectrogram_picture(path: Path, magnitude: Tensor, mask: Tensor | None = None):
    """Save the picture of a spectrogram.

    Bins that are kept have the colours of the scale. Bins that are removed are grey and
    darker. 0 dB is the maximum of the spectrogram.

    Arguments
    ---------
    path : Path
        The png file.
    magnitude : Tensor (frames, bins)
        |STFT| of the input.
    mask : Tensor (frames, bins), optional
        In [0, 1].

    Example
    -------
    >>> import tempfile, torch
    >>> path = Path(tempfile.mkdtemp()) / "noise.png"
    >>> spectrogram_picture(path, torch.rand(20, 33), torch.rand(20, 33))
    >>> Image.open(path).size
    (20, 33)
    """
    magnitude = magnitude.detach().float().cpu()
    size = [min(n, most) for n, most in zip(
        magnitude.shape, (MOST_COLUMNS, MOST_ROWS), strict=True
    )]  # fmt: skip
    energy = _averaged(magnitude.square(), size)
    level_db = 10 * np.log10(np.maximum(energy / max(energy.max(), 1e-16), 1e-10))
    level = np.clip(1 + level_db / RANGE_DB, 0, 1)
    colours = matplotlib.colormaps["magma"](level)[..., :3]
    if mask is not None:
        kept = _averaged(mask.detach().float().cpu().clamp(0, 1), size)[..., None]
        colours = kept * colours + (1 - kept) * REMOVED * level[..., None]
    pixels = np.round(255 * colours).astype(np.uint8).transpose(1, 0, 2)[::-1]
    # Stronger compression takes eight times as long and saves nothing here.
    image = Image.fromarray(np.ascontiguousarray(pixels))
    with write_atomically(path) as file:
        image.save(file, format="PNG", compress_level=1)


def _averaged(values: Tensor, size: list[int]) -> np.ndarray:
    if list(values.shape) != size:
        values = adaptive_avg_pool2d(values.unsqueeze(0), size)[0]
    return values.numpy()
