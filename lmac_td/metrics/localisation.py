"""Does the map point at the source that it should point at?

The speech relevance score η of Sivasankaran, Vincent and Fohr, "Explaining deep
learning models for speech enhancement" (Interspeech 2021), eq. 5-6. Mixing keeps the
scaled sources, so η has a ground truth for every interpreter and every target sound.
"""

import torch

from lmac_td.metrics._tensors import in_double


def speech_relevance_score(attribution, target_mag, other_mag, percentile, frames=None):
    """Share of the map's largest bins in which the target is the louder source.

    η = Σ_n #{φ_{>T+IBM}(n)} / Σ_n #{φ_{>T}(n)} (eq. 5): of the bins whose |a| is
    above the frame's own percentile T (strict), those in which IBM = 1, that is
    |target| > |other| (eq. 6, strict). A precision: higher is better.

    Arguments
    ---------
    attribution : torch.Tensor
        (B, n, f) map, of either sign.
    target_mag : torch.Tensor
        (B, n, f) magnitude STFT of the target as it stands in the mixture.
    other_mag : torch.Tensor
        (B, n, f) magnitude STFT of everything else in the mixture.
    percentile : float
        T, in [0, 100]; linear between the two nearest bins.
    frames : torch.Tensor | None
        (B, n) boolean, True in the frames that count, such as those that contain
        the target; None counts all.

    Returns
    -------
    torch.Tensor
        (B,) in [0, 1]; NaN for a clip in which no bin is above its threshold.

    Example
    -------
    >>> attribution = torch.tensor([[[0.1, 0.2, 0.9, 0.8]]])
    >>> target = torch.tensor([[[0.0, 0.0, 1.0, 0.2]]])
    >>> speech_relevance_score(attribution, target, torch.full((1, 1, 4), 0.5), 50)
    tensor([0.5000])
    """
    (a, target, other), dtype = in_double(
        dims=("B", "n", "f"),
        attribution=attribution,
        target_mag=target_mag,
        other_mag=other_mag,
    )
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile must be in [0, 100], not {percentile}.")
    a = a.abs()
    above = a > _percentile(a, percentile)  # (B, n, f)
    if frames is not None:
        if frames.dtype != torch.bool or frames.shape != a.shape[:2]:
            raise ValueError(
                f"frames must be boolean of shape {tuple(a.shape[:2])}, "
                f"not {frames.dtype} of shape {tuple(frames.shape)}."
            )
        above = above & frames.unsqueeze(2)
    ideal_binary_mask = target.abs() > other.abs()
    hits = (above & ideal_binary_mask).sum(dim=(1, 2))
    return (hits / above.sum(dim=(1, 2)).double()).to(dtype)


def _percentile(a, percentile):
    """Return the percentile of each frame of a (B, n, f), as (B, n, 1).

    ``torch.quantile`` refuses more than 16 million bins, about 30 clips of 5 s.
    """
    ordered = a.sort(dim=2).values
    position = percentile * (a.shape[2] - 1) / 100
    below = int(position)
    above = min(below + 1, a.shape[2] - 1)
    low, high = ordered[..., below, None], ordered[..., above, None]
    return torch.lerp(low, high, position - below)
