"""Turn probabilities, or one score per frame, into logits of a clip."""

# Probabilities are kept this far from 0 and 1, so that logits are finite.
SMALLEST_PROBABILITY = 1e-6


def logits_of_probabilities(probabilities, activation):
    """The logits to which an activation gives these probabilities.

    Arguments
    ---------
    probabilities : Tensor (..., C)
        In [0, 1]; clamped to [1e-6, 1 - 1e-6] first. Clamped ones have no gradient.
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


def mean_of_top_frames(logits, top_frames):
    """Average each class's highest frames: logits of frames to logits of clips.

    Gradients reach those frames alone, so a network that scores frames is explained
    where it fires, and not by the frames in which it finds nothing.

    Arguments
    ---------
    logits : Tensor (B, frames, C)
    top_frames : int
        How many frames; all of them if a clip has fewer.

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
