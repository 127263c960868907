"""The ideal masks of speech in noise (Sivasankaran et al., eq. 3 and 6)."""

from torch import Tensor


def ideal_ratio_mask(speech: Tensor, noise: Tensor) -> Tensor:
    """Compute M = |c| / (|c| + |u|) (eq. 3).

    Arguments
    ---------
    speech, noise : Tensor (..., frames, bins)
        Magnitudes |c| and |u| of the sources, as they are in the mixture.

    Returns
    -------
    Tensor (..., frames, bins)
        In [0, 1]; 0 where both are 0.

    Example
    -------
    >>> from torch import tensor
    >>> ideal_ratio_mask(tensor([[3.0, 0.0]]), tensor([[1.0, 0.0]]))
    tensor([[0.7500, 0.0000]])
    """
    total = speech + noise
    return (speech / total.where(total > 0, 1.0)).where(total > 0, 0.0)


def ideal_binary_mask(speech: Tensor, noise: Tensor) -> Tensor:
    """Compute IBM = 1 where |c| > |u|, else 0 (eq. 6).

    Arguments
    ---------
    speech, noise : Tensor (..., frames, bins)
        Magnitudes of the sources, as they are in the mixture.

    Returns
    -------
    Tensor (..., frames, bins)
        Boolean.

    Example
    -------
    >>> from torch import tensor
    >>> ideal_binary_mask(tensor([[3.0, 1.0]]), tensor([[1.0, 1.0]]))
    tensor([[ True, False]])
    """
    return speech > noise
