"""RISE: random smooth masks, weighted by the classifier's answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lmac_td.errors import SettingError
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.budgeted.scores import pair_in_bins
from lmac_td.interpreters.perturbation.base import Perturbation
from lmac_td.interpreters.perturbation.masked_clip import MaskedClip
from lmac_td.validation import require_count, require_number


class Rise(Perturbation):
    """The covariance of a bin's gain with the log-odds, over random smooth masks.

    Petsiuk, Das and Saenko, *RISE*, 2018; over time and frequency as in FreqRISE
    (Brüsch et al., 2025). Each cell of a coarse grid is kept with probability
    ``kept_share``. The grid is shifted at random and interpolated. RISE averages the
    masks, weighted by the classifier's answers; subtracting the mean answer, as here,
    gives the same mean with less noise, and negative values for what speaks against
    the class.

    Arguments
    ---------
    features : SpectralFeatures
    n_calls : int
        How many masks are classified.
    rise_grid : pair of float
        Size of a cell, (Hz, ms).
    kept_share : float
        Probability that a cell is kept, between 0 and 1.

    The other arguments are those of :class:`Perturbation`.

    Raises
    ------
    SettingError
    """

    does = "asks the classifier about the sound under random masks (RISE)"

    def __init__(
        self,
        features: SpectralFeatures,
        n_calls: int = 500,
        rise_grid: Sequence[float] = (1000, 250),
        kept_share: float = 0.5,
        **settings: Any,
    ) -> None:
        super().__init__(features, **settings)
        require_count("n_calls", n_calls)
        require_number("kept_share", kept_share, most=1)
        if kept_share == 1:
            raise SettingError("kept_share is 1: give --kept_share a number below 1")
        bins, frames = pair_in_bins("rise_grid", rise_grid, features)
        self.n_calls = n_calls
        self.cell = max(1, round(frames)), max(1, round(bins))
        self.kept_share = kept_share

    def relevance_of(self, clip: MaskedClip) -> Tensor:
        """See :meth:`Perturbation.relevance_of`."""
        generator = torch.Generator().manual_seed(self.seed)
        device = clip.stft.device
        total, of_masks = torch.zeros(2, *clip.shape, dtype=torch.float64)
        of_answers = 0.0
        masks_done = 0
        while masks_done < self.n_calls:
            n = min(self.calls_at_once, self.n_calls - masks_done)
            masks = torch.stack([self.mask(clip.shape, generator) for _ in range(n)])
            answers = clip(masks.to(device)).double().cpu()
            total += torch.einsum("n,ntf->tf", answers, masks.double())
            of_masks += masks.double().sum(dim=0)
            of_answers += float(answers.sum())
            masks_done += n
        return total / masks_done - of_masks * of_answers / masks_done**2

    def mask(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Draw a mask (frames, bins) in [0, 1]."""
        cells = [math.ceil(n / c) + 1 for n, c in zip(shape, self.cell, strict=True)]
        kept = torch.rand(1, 1, *cells, generator=generator) < self.kept_share
        size = [n * c for n, c in zip(cells, self.cell, strict=True)]
        smooth = torch.nn.functional.interpolate(
            kept.float(), size=size, mode="bilinear", align_corners=False
        )[0, 0]
        (top,), (left,) = (
            torch.randint(c, (1,), generator=generator).tolist() for c in self.cell
        )
        return smooth[top : top + shape[0], left : left + shape[1]]
