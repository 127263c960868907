"""Saliency: the magnitude of the gradient."""

from __future__ import annotations

from torch import Tensor

from lmac_td.interpreters.attribution.base import Attribution
from lmac_td.interpreters.attribution.clip_logits import ClipLogits
from lmac_td.interpreters.attribution.registry import register


@register("saliency")
class Saliency(Attribution):
    """|dS_c/dx| (Simonyan et al., *Deep Inside Convolutional Networks*, 2014)."""

    does = "takes the size of the gradient at each point of the input"

    def attribute(self, x: Tensor, target: int, logits: ClipLogits) -> Tensor:
        """See :meth:`Attribution.attribute`."""
        import captum.attr

        return captum.attr.Saliency(logits).attribute(x, target)
