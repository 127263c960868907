"""GradientSHAP: expected gradients between reference sounds and the input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lmac_td.interpreters.attribution.base import Attribution
from lmac_td.interpreters.attribution.clip_logits import ClipLogits
from lmac_td.interpreters.attribution.reference_sounds import references_like
from lmac_td.interpreters.attribution.registry import register
from lmac_td.random import seeded_global_generators
from lmac_td.validation import require_count


@register("gradient_shap")
class GradientShap(Attribution):
    """Expected gradients (Lundberg and Lee, 2017; Erion et al., 2021).

    The mean of (x - b) dS_c/dx at random points between x and random references b.

    Arguments
    ---------
    n_samples : int
        Number of random points.
    seed : int
        Seed of the points and references.

    The other arguments are those of :class:`Attribution`.
    """

    does = "averages gradients on the way from reference sounds to the input"

    def __init__(
        self, *args: Any, n_samples: int = 25, seed: int = 0, **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        require_count("shap_samples", n_samples)
        self.n_samples = n_samples
        self.seed = seed

    def attribute(self, x: Tensor, target: int, logits: ClipLogits) -> Tensor:
        """See :meth:`Attribution.attribute`."""
        import captum.attr

        def limited_logits(points: Tensor) -> Tensor:
            return logits_in_batches(points, logits)

        references = references_like(x, self, logits.classifier)
        with seeded_global_generators(self.seed, x.device):
            return captum.attr.GradientShap(limited_logits).attribute(
                x, baselines=references, n_samples=self.n_samples, target=target
            )


def logits_in_batches(points: Tensor, logits: ClipLogits) -> Tensor:
    """Compute logits (B, C) of B points, ``batch_limit`` of the classifier at a time.

    Captum passes all points at once. Each batch is computed again in the backward pass,
    so memory is needed for one batch only.
    """
    limit = logits.classifier.batch_limit
    if limit is None or len(points) <= limit:
        return logits(points)
    return torch.cat(
        [checkpoint(logits, part, use_reentrant=False) for part in points.split(limit)]
    )
