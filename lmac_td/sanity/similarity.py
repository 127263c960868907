"""Compute the structural similarity and rank correlation of two maps of a clip.

These are two measures of Adebayo et al. (section 3.1); L-MAC's figure 4 shows the
first. SSIM compares windows of the maps. It is near 1 where both maps are near 0,
so that it rates sparse maps as similar. The rank correlation compares only the order of
the bins and does not have this bias.
"""

import torch
from scipy.stats import rankdata, spearmanr
from skimage import metrics
from torch import Tensor

from lmac_td.contracts import ExplainedBatch
from lmac_td.evaluation.explaining import stft_mask

# The first two are the main ones: they compare masks, which hold what the method adds.
# The attribution log(1 + |STFT(i)|) is mostly the input itself: even that of a random
# mask is similar to any other.
MEASURES = (
    "SSIM",
    "rank correlation",
    "SSIM (attribution)",
    "rank correlation (attribution)",
)


def comparable_maps(batch: ExplainedBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the maps of an explained batch, for :func:`compare_maps`.

    Arguments
    ---------
    batch : ExplainedBatch

    Returns
    -------
    mask : Tensor (B, frames, bins)
        See :func:`lmac_td.evaluation.explaining.stft_mask`.
    attribution : Tensor (B, frames, bins)
    loudest : Tensor (B,)
        The largest attribution that a clip can have, that of the mixture itself.
    """
    loudest = batch.features.magnitude.amax(dim=(1, 2)).log1p()
    return stft_mask(batch), batch.explanation.attribution, loudest


def compare_maps(
    first: tuple[Tensor, Tensor, Tensor], second: tuple[Tensor, Tensor, Tensor]
) -> dict[str, Tensor]:
    """Compare two explanations of the same clips.

    Arguments
    ---------
    first, second : tuple
        The result of :func:`comparable_maps`.

    Returns
    -------
    dict of str to Tensor (B,)
        Similarities by the names of ``MEASURES``.
    """
    mask, attribution, loudest = first
    other_mask, other_attribution, _ = second
    values = (
        structural_similarity(mask, other_mask, 1.0),
        rank_correlation(mask, other_mask),
        structural_similarity(attribution, other_attribution, loudest),
        rank_correlation(attribution, other_attribution),
    )
    return dict(zip(MEASURES, values, strict=True))


def structural_similarity(
    first: Tensor, second: Tensor, data_range: float | Tensor
) -> Tensor:
    """Return the mean SSIM of pairs of maps, by scikit-image (7 x 7 windows).

    Arguments
    ---------
    first, second : Tensor (B, frames, bins)
        At least 7 x 7.
    data_range : float or Tensor (B,)
        The largest value that a map of the clip can have; the smallest is 0.

    Returns
    -------
    Tensor (B,)
        Values in float64, at most 1; equal maps give 1.

    Example
    -------
    >>> maps = torch.rand(2, 9, 9)
    >>> structural_similarity(maps, maps, 1.0)
    tensor([1., 1.], dtype=torch.float64)
    """
    ranges = torch.as_tensor(data_range, dtype=torch.float64).expand(len(first))
    return torch.tensor(
        [
            metrics.structural_similarity(a, b, data_range=width)
            for a, b, width in zip(
                _arrays(first), _arrays(second), ranges.tolist(), strict=True
            )
        ],
        dtype=torch.float64,
    )


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's rank correlation of pairs of maps, by scipy.

    Arguments
    ---------
    first, second : Tensor (B, frames, bins)
        Equal values share their rank.

    Returns
    -------
    Tensor (B,)
        Values in float64, in [-1, 1]. A constant map has no order: 1 if both are
        constant, 0 if only one is.

    Example
    -------
    >>> maps = torch.rand(2, 9, 9)
    >>> rank_correlation(maps, 1 - maps).round(decimals=6)
    tensor([-1., -1.], dtype=torch.float64)
    """
    return torch.tensor(
        [
            _spearman(a.ravel(), b.ravel())
            for a, b in zip(_arrays(first), _arrays(second), strict=True)
        ],
        dtype=torch.float64,
    )


def _spearman(a, b):
    if (rankdata(a) == rankdata(b)).all():
        return 1.0  # exactly; scipy's sums round the last digit
    if any((x == x[0]).all() for x in (a, b)):
        return 0.0
    return float(spearmanr(a, b).statistic)


def _arrays(tensor):
    return tensor.detach().cpu().double().numpy()
