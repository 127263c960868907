"""Reference sounds of the SHAP methods: silence, and white noise at three levels."""

from __future__ import annotations

import torch
from torch import Tensor

from lmac_td.contracts import Classifier
from lmac_td.interpreters.attribution.base import Attribution

NOISE_LEVELS_DB = (-60, -40, -20)  # dB of full scale


def reference_sounds(n_samples: int, seed: int = 0) -> Tensor:
    """Make silence, and white noise at :data:`NOISE_LEVELS_DB`: (4, n_samples).

    These sounds contain no event. They come from a fixed seed and are the same for
    every clip.

    Example
    -------
    >>> reference_sounds(16000).square().mean(dim=1).sqrt()
    tensor([0.0000, 0.0010, 0.0100, 0.0999])
    """
    generator = torch.Generator().manual_seed(seed)
    levels = 10 ** (torch.tensor(NOISE_LEVELS_DB) / 20)
    noise = torch.randn(len(levels), n_samples, generator=generator)
    return torch.cat([torch.zeros(1, n_samples), levels.unsqueeze(1) * noise])


def references_like(x: Tensor, method: Attribution, classifier: Classifier) -> Tensor:
    """Compute the references in the domain of a method, with as many frames as x.

    Arguments
    ---------
    x : Tensor (1, frames, bins) or (1, frames, n_mels)
    method : Attribution
    classifier : Classifier

    Returns
    -------
    Tensor (4, frames, bins) or (4, frames, n_mels)
    """
    n_samples = (x.shape[1] - 1) * method.features.hop_samples
    sounds = reference_sounds(n_samples).to(x.device)
    if method.domain == "stft":
        return method.features(sounds).magnitude
    return classifier.inputs_of(sounds)
