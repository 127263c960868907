"""SmoothGrad: the mean gradient over noisy copies of the input."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lmac_td.interpreters.attribution.base import Attribution
from lmac_td.interpreters.attribution.clip_logits import ClipLogits
from lmac_td.interpreters.attribution.registry import register
from lmac_td.random import seeded_global_generators
from lmac_td.validation import require_count, require_number


@register("smoothgrad")
class SmoothGrad(Attribution):
    """|mean of dS_c/dx over noisy copies of x| (Smilkov et al., *SmoothGrad*, 2017).

    Every copy has its own noise.

    Arguments
    ---------
    n_samples : int
        Number of copies.
    noise_level : float
        Standard deviation of the noise over max(x) - min(x), as in the paper.
    batch_size : int
        Copies that are classified at once.
    seed : int
        Seed of the noise.

    The other arguments are those of :class:`Attribution`.
    """

    does = "averages the gradients of noisy copies of the input"

    def __init__(
        self,
        *args: Any,
        n_samples: int = 25,
        noise_level: float = 0.15,
        batch_size: int = 8,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        require_count("smoothgrad_samples", n_samples)
        require_number("noise_level", noise_level, least=0.0)
        self.n_samples = n_samples
        self.noise_level = noise_level
        self.batch_size = batch_size
        self.seed = seed

    def attribute(self, x: Tensor, target: int, logits: ClipLogits) -> Tensor:
        """See :meth:`Attribution.attribute`."""
        import captum.attr

        deviation = self.noise_level * (x.max() - x.min()).item()
        tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(logits))
        with seeded_global_generators(self.seed, x.device):
            mean = tunnel.attribute(
                x,
                nt_type="smoothgrad",
                nt_samples=self.n_samples,
                nt_samples_batch_size=self.batch_size,
                stdevs=deviation,
                target=target,
                abs=False,
            )
        return mean.abs()
