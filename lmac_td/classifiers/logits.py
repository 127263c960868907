"""Compute the logits of a clip from probabilities, or from one score per frame."""

from __future__ import annotations

from torch import Tensor

# The distance of probabilities from 0 and 1, so that logits are finite.
SMALLEST_PROBABILITY = 1e-6


def logits_of_probabilities(probabilities: Tensor, activation: str) -> Tensor:
    """Invert an activation: compute logits that have these probabilities.

    Arguments
    ---------
    probabilities : Tensor (..., C)
        In [0, 1]; they are first clamped to [1e-6, 1 - 1e-6]. The gradient of a clamped
        probability is 0.
    activation : str
        ``sigmoid``: log(p / (1 - p)). ``softmax``: log p.

    Returns
    -------
    Tensor (..., C)
        In float32.

    Example
    -------
    >>> import torch
    >>> logits_of_probabilities(torch.tensor([0.5, 0.9, 1.0]), "sigmoid")
    tensor([ 0.0000,  2.1972, 13.8023])
    >>> logits_of_probabilities(torch.tensor([0.25, 0.75]), "softmax").softmax(-1)
    tensor([0.2500, 0.7500])
    """
    clamped = probabilities.float().clamp(
        SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY
    )
    return clamped.log() if activation == "softmax" else clamped.logit()


def mean_of_top_frames(logits: Tensor, top_frames: int) -> Tensor:
    """Compute a clip's logits: the mean of each class's highest frame logits.

    Gradients reach only these frames, so an explanation of a network that scores frames
    depends on the frames in which it detects the class, and not on the others.

    Arguments
    ---------
    logits : Tensor (B, frames, C)
    top_frames : int
        Number of frames; all frames are used if a clip has fewer.

    Returns
    -------
    Tensor (B, C)

    Example
    -------
    >>> import torch
    >>> logits = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [2.0, -9.0]]])
    >>> mean_of_top_frames(logits, top_frames=2)
    tensor([[ 2.5000, -3.0000]])
    """
    k = min(top_frames, logits.shape[1])
    return logits.topk(k, dim=1).values.mean(dim=1)
