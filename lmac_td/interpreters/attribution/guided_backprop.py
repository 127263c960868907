"""Guided Backprop: the gradient without the negative parts at each ReLU."""

from __future__ import annotations

from torch import Tensor

from lmac_td.interpreters.attribution.base import Attribution
from lmac_td.interpreters.attribution.clip_logits import ClipLogits
from lmac_td.interpreters.attribution.registry import register


@register("guided_backprop")
class GuidedBackprop(Attribution):
    """The gradient of S_c; each ReLU passes only its positive part backwards.

    Springenberg et al., *Striving for Simplicity*, 2015.
    """

    does = "follows the positive gradients back to the input"
    gradient_rules = "guided_backprop"

    def attribute(self, x: Tensor, target: int, logits: ClipLogits) -> Tensor:
        """See :meth:`Attribution.attribute`."""
        import captum.attr

        return captum.attr.GuidedBackprop(logits).attribute(x, target)
