"""Integrated Gradients: the gradient along the way from silence to the input."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lmac_td.interpreters.attribution.base import Attribution
from lmac_td.interpreters.attribution.clip_logits import ClipLogits
from lmac_td.interpreters.attribution.registry import register
from lmac_td.validation import require_count


@register("integrated_gradients")
class IntegratedGradients(Attribution):
    """x times the mean gradient on the straight line from silence to x.

    Sundararajan et al., *Axiomatic Attribution for Deep Networks*, 2017, eq. 1. The
    attribution adds up to S_c(x) - S_c(silence), except for the error of the numerical
    integral.

    Arguments
    ---------
    n_steps : int
        Nodes of the Gauss-Legendre quadrature.
    batch_size : int
        Nodes that are classified at once.

    The other arguments are those of :class:`Attribution`.
    """

    does = "averages gradients on the way from silence to the input"

    def __init__(
        self, *args: Any, n_steps: int = 64, batch_size: int = 8, **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        require_count("n_steps", n_steps)
        self.n_steps = n_steps
        self.batch_size = batch_size

    def attribute(self, x: Tensor, target: int, logits: ClipLogits) -> Tensor:
        """See :meth:`Attribution.attribute`."""
        import captum.attr

        return captum.attr.IntegratedGradients(logits).attribute(
            x,
            target=target,
            n_steps=self.n_steps,
            method="gausslegendre",
            internal_batch_size=self.batch_size,
        )
