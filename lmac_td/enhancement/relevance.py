"""The speech relevance score η of a mask estimator (Sivasankaran et al., eq. 5-6).

The share of the bins that a frame's map ranks highest in which the speech is louder
than the noise. "The measure is computed only for frames containing speech": those whose
energy of speech is within 30 dB of the loudest one of the utterance, as the score of
all other methods here has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lmac_td.metrics.localisation import active_frames, speech_relevance_at


def speech_frames(speech: Tensor) -> list[int]:
    """Find the frames that contain speech.

    Arguments
    ---------
    speech : Tensor (frames, bins)
        Magnitude of the speech.

    Returns
    -------
    list of int
    """
    return active_frames(speech[None])[0].nonzero()[:, 0].tolist()


def speech_relevance(
    maps: Tensor, speech: Tensor, noise: Tensor, percentiles: Sequence[float]
) -> list[float]:
    """Compute η (eq. 5) of one utterance, for each percentile T.

    Each map has its own threshold, the T-th percentile of its absolute values over all
    frames and bins of the input. Counts are summed over the maps before the division.

    Arguments
    ---------
    maps : Tensor (explained frames, frames, bins)
        Φ^T(n) of the frames n that contain speech; or one utterance map, (1, ...).
    speech, noise : Tensor (frames, bins)
        Magnitudes of the sources, as they are in the mixture.
    percentiles : sequence of float
        In [0, 100].

    Returns
    -------
    list of float
        In [0, 1]; NaN if no value is above its threshold.

    Example
    -------
    >>> maps = torch.tensor([[[0.1, 0.2], [-0.9, 0.8]]])
    >>> speech = torch.tensor([[0.0, 0.0], [1.0, 0.2]])
    >>> speech_relevance(maps, speech, torch.full((2, 2), 0.5), [50, 90])
    [0.5, 1.0]
    """
    # The score takes the threshold of a row: here a map is one row of all its bins.
    rows = maps.flatten(1)[None]  # (1, explained frames, frames * bins)
    sources = (
        source.flatten()[None, None].expand_as(rows) for source in (speech, noise)
    )
    return [float(eta) for eta in speech_relevance_at(rows, *sources, percentiles)]


def most_relevant(maps: Tensor, percentile: float) -> Tensor:
    """Count for each bin of the input in how many maps it is above the threshold.

    Arguments
    ---------
    maps : Tensor (explained frames, frames, bins)
    percentile : float
        T, in [0, 100]; see :func:`speech_relevance`.

    Returns
    -------
    Tensor (frames, bins)
        int64.

    Example
    -------
    >>> most_relevant(torch.tensor([[[0.1, 0.2], [-0.9, 0.8]]]), 50)
    tensor([[0, 0],
            [1, 1]])
    """
    size = maps.abs().flatten(1)
    # torch.quantile refuses more than 16 million values in all, so row by row.
    limits = torch.stack([torch.quantile(row, percentile / 100) for row in size])
    return (maps.abs() > limits[:, None, None]).sum(dim=0)
