"""The condition ``white_noise``: Gaussian noise with a flat spectrum."""

import math

import torch

from lmac_td.data.conditions.base import Interference, PaperCondition, SplitSetup


class WhiteNoise(PaperCondition):
    """Mixes clips with white noise.

    Arguments
    ---------
    snr_db, snr
        See :class:`~lmac_td.data.conditions.base.PaperCondition`.

    Example
    -------
    >>> round(WhiteNoise(snr_db=3, snr="published").snr_db, 2)
    6.02
    """

    snr_setting = "white_noise_snr_db"
    published_snr_db = 20 * math.log10(1 / 0.5)

    def prepare(self, setup: SplitSetup) -> "GaussianNoise":
        """Return noise of the length of a clip; see :meth:`Condition.prepare`."""
        return GaussianNoise(setup.n_samples)


class GaussianNoise(Interference):
    """Draws white noise of variance 1.

    Arguments
    ---------
    n_samples : int
        Length of the noise.

    Example
    -------
    >>> noise = GaussianNoise(16000).fixed("1-100032-A-0", "white_noise", seed=0)
    >>> noise.shape, round(noise.std().item(), 1)
    (torch.Size([16000]), 1.0)
    """

    def __init__(self, n_samples: int):
        self.n_samples = n_samples

    def draw(
        self, clip_id: str | None, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Draw noise (T,); see :meth:`Interference.draw`."""
        return torch.randn(self.n_samples, generator=generator)
