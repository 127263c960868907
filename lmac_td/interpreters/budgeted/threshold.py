"""A soft threshold whose level is solved, so that a mask keeps a given share."""

from __future__ import annotations

import torch
from torch import Tensor

# By what the size counts: the power of mask and magnitude.
POWERS = {"amplitude": 1, "energy": 2}

# Bisection stops at an interval of this width. From there, the error of the level is
# squared by each step of Newton's method: below 1/16, 0.005, 3e-5 and 1e-9.
WIDTH = 1 / 8
N_NEWTON_STEPS = 3
# Enough for scores that are 1e6 apart.
N_HALVINGS = 24


def soft_threshold(
    scores: Tensor, magnitude: Tensor, size: Tensor, keep_by: str = "amplitude"
) -> Tensor:
    """Return sigmoid(scores - level), with the level at which a share is kept.

    The level solves sum((mask |X|)^p) = size * sum(|X|^p) for each clip, where p is 1
    for amplitude and 2 for energy: by bisection, and then by Newton's method. The
    gradient with respect to the scores is that of the exact solution (implicit function
    theorem): a score that rises also raises the level. A larger size gives a mask that
    is nowhere smaller.

    Arguments
    ---------
    scores : Tensor (..., frames, bins)
        Higher scores are kept first. Any finite numbers, at most 1e6 apart.
    magnitude : Tensor (..., frames, bins)
        |X|. A silent clip counts its bins instead.
    size : Tensor (...)
        The share to keep, above 0 and at most 1.
    keep_by : str
        ``amplitude`` or ``energy``.

    Returns
    -------
    Tensor (..., frames, bins)
        In [0, 1]; float32 for scores of less precision.

    Example
    -------
    >>> scores, magnitude = torch.randn(2, 20, 30), torch.rand(2, 20, 30)
    >>> mask = soft_threshold(scores, magnitude, torch.tensor([0.1, 0.5]))
    >>> share_kept(mask, magnitude).round(decimals=4)
    tensor([0.1000, 0.5000])
    """
    power = POWERS[keep_by]
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    with torch.no_grad():
        amount = amount_of(magnitude, power).to(scores.dtype)
        level, rest = solve_level(scores, amount, size.to(scores.dtype), power)
    if scores.requires_grad:
        with torch.no_grad():
            mask = torch.sigmoid(scores - level - rest)
            # Of d sum(mask^p amount) / d score, up to a factor.
            weight = mask**power * (1 - mask) * amount
            total = weight.sum(dim=(-2, -1), keepdim=True)
            weight = weight / total.clamp(min=torch.finfo(weight.dtype).tiny)
        moved = (weight * (scores - scores.detach())).sum(dim=(-2, -1), keepdim=True)
        rest = rest + moved
    return torch.sigmoid(scores - level - rest)


def solve_level(
    scores: Tensor, amount: Tensor, size: Tensor, power: int
) -> tuple[Tensor, Tensor]:
    """Find the level at which sum(mask^power amount) is ``size`` of sum(amount).

    Arguments
    ---------
    scores, amount : Tensor (..., frames, bins)
    size : Tensor (...)
    power : int

    Returns
    -------
    level, rest : Tensor (..., 1, 1)
        The level is their sum. One number would be too coarse for scores that are far
        apart: ``scores - level`` is exact near 0, and ``rest`` is subtracted then.
    """
    size = size[..., None, None]
    total = amount.sum(dim=(-2, -1), keepdim=True)
    # Fresh memory in each step would cost more than the sums.
    mask, kept = torch.empty_like(scores), torch.empty_like(scores)

    def share(level, rest):
        torch.sub(scores, level, out=mask).sub_(rest).sigmoid_()
        torch.mul(mask, amount, out=kept)
        if power == 2:
            kept.mul_(mask)
        return kept.sum(dim=(-2, -1), keepdim=True) / total

    # If all scores were the least, or the greatest, one, these levels would be exact.
    # For a size of 1 they are -inf, and the mask is exactly 1.
    equal = torch.logit(size ** (1 / power))
    low = scores.amin(dim=(-2, -1), keepdim=True) - equal
    high = scores.amax(dim=(-2, -1), keepdim=True) - equal
    for _ in range(N_HALVINGS):
        wide = high - low > WIDTH
        if not scores.is_cuda and not wide.any():  # do not wait for a GPU
            break
        middle = (low + high) / 2
        too_much = share(middle, 0) > size
        low = middle.where(wide & too_much, low)
        high = middle.where(wide & ~too_much, high)
    level = (low + high) / 2
    rest = torch.zeros_like(level)
    for _ in range(N_NEWTON_STEPS):
        found = share(level, rest)
        kept.mul_(mask.neg_().add_(1))  # the derivative of each bin
        slope = kept.sum(dim=(-2, -1), keepdim=True) * power / total
        step = (found - size) / slope.clamp(min=torch.finfo(slope.dtype).tiny)
        rest = rest + step.clamp(-WIDTH, WIDTH)
    return level, rest


def amount_of(magnitude: Tensor, power: int) -> Tensor:
    """Return |X|^power over its maximum; ones for a silent clip, to count its bins.

    Arguments
    ---------
    magnitude : Tensor (..., frames, bins)
    power : int
    """
    magnitude = magnitude.detach().to(
        torch.promote_types(magnitude.dtype, torch.float32)
    )
    peak = magnitude.amax(dim=(-2, -1), keepdim=True)
    amount = magnitude / peak  # squares must not underflow
    amount = amount.square() if power == 2 else amount
    return amount.where(peak > 0, 1.0)


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
