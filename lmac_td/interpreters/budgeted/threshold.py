"""A soft threshold whose level is solved, so that a mask keeps a given share."""

from __future__ import annotations

import torch
from torch import Tensor

# By what the size counts: the power of mask and magnitude.
POWERS = {"amplitude": 1, "energy": 2}

# The level lies this far beyond the extreme scores at most: sigmoid(20) is 1 - 2e-9.
MARGIN = 20.0
# From an interval of 100, 32 halvings leave less than float32 can resolve.
N_BISECTIONS = 32


def soft_threshold(
    scores: Tensor, magnitude: Tensor, size: Tensor, keep_by: str = "amplitude"
) -> Tensor:
    """Return sigmoid(scores - level), with the level at which a share is kept.

    The level solves sum((mask |X|)^p) = size * sum(|X|^p) for each clip, by bisection,
    where p is 1 for amplitude and 2 for energy. The gradient with respect to the scores
    is that of the exact solution (implicit function theorem): a score that rises also
    raises the level. A larger size gives a mask that is nowhere smaller.

    Arguments
    ---------
    scores : Tensor (..., frames, bins)
        Any finite numbers; higher scores are kept first.
    magnitude : Tensor (..., frames, bins)
        |X|. A silent clip counts its bins instead.
    size : Tensor (...)
        The share to keep, above 0 and at most 1.
    keep_by : str
        ``amplitude`` or ``energy``.

    Returns
    -------
    Tensor (..., frames, bins)
        In [0, 1].

    Example
    -------
    >>> scores, magnitude = torch.randn(2, 20, 30), torch.rand(2, 20, 30)
    >>> mask = soft_threshold(scores, magnitude, torch.tensor([0.1, 0.5]))
    >>> share_kept(mask, magnitude).round(decimals=4)
    tensor([0.1000, 0.5000])
    """
    power = POWERS[keep_by]
    with torch.no_grad():
        amount = amount_of(magnitude, power)
        level = solve_level(scores.detach(), amount, size, power)
    if scores.requires_grad:
        with torch.no_grad():
            mask = torch.sigmoid(scores - level)
            # Of d sum(mask^p amount) / d score, up to a factor.
            weight = mask**power * (1 - mask) * amount
            total = weight.sum(dim=(-2, -1), keepdim=True)
            weight = weight / total.clamp(min=torch.finfo(weight.dtype).tiny)
        moved = (weight * (scores - scores.detach())).sum(dim=(-2, -1), keepdim=True)
        level = level + moved
    return torch.sigmoid(scores - level)


def solve_level(scores: Tensor, amount: Tensor, size: Tensor, power: int) -> Tensor:
    """Find the level at which sum(mask^power amount) is ``size`` of sum(amount).

    Arguments
    ---------
    scores, amount : Tensor (..., frames, bins)
    size : Tensor (...)
    power : int

    Returns
    -------
    Tensor (..., 1, 1)
    """
    wanted = size * amount.sum(dim=(-2, -1))
    low = scores.amin(dim=(-2, -1)) - MARGIN
    high = scores.amax(dim=(-2, -1)) + MARGIN
    for _ in range(N_BISECTIONS):
        level = (low + high) / 2
        mask = torch.sigmoid(scores - level[..., None, None])
        too_much = (mask**power * amount).sum(dim=(-2, -1)) > wanted
        low, high = low.where(~too_much, level), high.where(too_much, level)
    # At a size of 1 no level is low enough for rounding: keep everything.
    level = low.where(size < 1, -torch.inf)
    return level[..., None, None]


def amount_of(magnitude: Tensor, power: int) -> Tensor:
    """Return |X|^power; ones for a silent clip, whose bins are then counted.

    Arguments
    ---------
    magnitude : Tensor (..., frames, bins)
    power : int
    """
    amount = magnitude.detach() ** power
    silent = amount.sum(dim=(-2, -1), keepdim=True) == 0
    return amount.masked_fill(silent, 1.0)


def share_kept(mask: Tensor, magnitude: Tensor, keep_by: str = "amplitude") -> Tensor:
    """Return the share of a clip's amplitude or energy that a mask keeps.

    Arguments
    ---------
    mask, magnitude : Tensor (..., frames, bins)
    keep_by : str
        ``amplitude`` or ``energy``.

    Returns
    -------
    Tensor (...)
        sum((mask |X|)^p) / sum(|X|^p); of a silent clip, the share of its bins.

    Example
    -------
    >>> share_kept(torch.full((1, 2, 2), 0.5), torch.ones(1, 2, 2), "energy")
    tensor([0.2500])
    """
    power = POWERS[keep_by]
    amount = amount_of(magnitude, power)
    return (mask**power * amount).sum(dim=(-2, -1)) / amount.sum(dim=(-2, -1))
