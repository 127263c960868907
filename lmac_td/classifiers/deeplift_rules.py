"""DeepLIFT's rules for modules of this package that Captum has no rules for.

DeepLIFT replaces the gradient of a non-linear module by a ratio of differences to a
reference. Captum looks the rule of a module up by its type, in a table. A module that
is not in the table keeps its plain gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lmac_td.classifiers.cnn14 import MaxPlusMean
from lmac_td.features import Log1p


@functools.cache
def register_deeplift_rules() -> dict[type[nn.Module], Callable]:
    """Add the rules of this package to Captum's table, and return the table."""
    from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR, nonlinear

    SUPPORTED_NON_LINEAR[Log1p] = nonlinear
    SUPPORTED_NON_LINEAR[MaxPlusMean] = max_plus_mean_rule
    return SUPPORTED_NON_LINEAR


def max_plus_mean_rule(
    module: nn.Module,
    inputs: Tensor,
    outputs: Tensor,
    grad_input: Tensor,
    grad_output: Tensor,
    eps: float = 1e-10,
) -> Tensor:
    """Apply DeepLIFT's rule to a maximum plus a mean over time.

    The maximum is treated as in Captum's rule for max pooling: an increase is
    attributed to the frame of the input's maximum, a decrease to the frame of the
    reference's maximum.

    Arguments
    ---------
    module : MaxPlusMean
    inputs : Tensor (2 B, C, t)
        B inputs, then B references.
    outputs, grad_output : Tensor (2 B, C)
    grad_input : Tensor (2 B, C, t)
        The plain gradient, which is replaced.
    eps : float
        Smaller differences count as none.

    Returns
    -------
    Tensor (2 B, C, t)
    """
    clip, reference = inputs.chunk(2)
    grad_output = grad_output.chunk(2)[0]
    (top, frame), (top_reference, frame_reference) = clip.max(2), reference.max(2)
    greater = torch.maximum(top, top_reference)
    contribution = torch.zeros_like(clip)
    for index, change in (
        (frame, greater - top_reference),
        (frame_reference, top - greater),
    ):
        contribution.scatter_add_(
            2, index.unsqueeze(2), (grad_output * change).unsqueeze(2)
        )
    difference = clip - reference
    differs = difference.abs() > eps
    of_max = torch.where(differs, contribution / difference.where(differs, 1.0), 0.0)
    of_mean = grad_output.unsqueeze(2) / clip.shape[2]
    return (of_max + of_mean).repeat(2, 1, 1)
