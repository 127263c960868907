"""A representation: the output of one layer, with its positions in time and frequency.

Decoders are planned from the :class:`Geometry` of a classifier's representations,
never from constants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Geometry:
    """The positions of a representation's entries in time and frequency.

    Attributes
    ----------
    name : str
        Name of the layer that returns the representation.
    channels : int
    frequencies : int
        Number of entries along frequency; 1 for a sequence.
    hop_samples : float
        Samples of the waveform between two entries along time.
    offset_samples : float
        The sample on which entry 0 is centred.
    bands : Tensor (frequencies, n_mels), optional
        How much each entry along frequency contributes to each mel band of the
        classifier, if it has mel bands; each column adds up to 1.
    """

    name: str
    channels: int
    frequencies: int
    hop_samples: float
    offset_samples: float
    bands: Tensor | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class LayerOutput:
    """A layer's output that is not already (B, channels, time, frequencies).

    Attributes
    ----------
    output : Tensor
        The tensor that the next layer takes, so that the logits depend on it.
    as_map : callable
        The linear function, such as a permutation, that gives (B, channels, time,
        frequencies).
    """

    output: Tensor
    as_map: Callable[[Tensor], Tensor]

    @property
    def values(self) -> Tensor:
        """The output as (B, channels, time, frequencies)."""
        return self.as_map(self.output)


@dataclass(frozen=True)
class Representation:
    """The output of one layer of a classifier for a batch of B clips.

    Attributes
    ----------
    values : Tensor (B, channels, time, frequencies)
    geometry : Geometry
    layer : LayerOutput, optional
        The output from which ``values`` are computed; None if the next layer takes
        ``values`` itself.
    """

    values: Tensor
    geometry: Geometry
    layer: LayerOutput | None = None

    def gradient(self, score: Tensor) -> Tensor:
        """Compute d score / d values, (B, channels, time, frequencies).

        Arguments
        ---------
        score : Tensor ()
            A score of the same forward pass. If it does not depend on the layer's
            output, the gradient is 0.
        """
        source = self.values if self.layer is None else self.layer.output
        (gradient,) = torch.autograd.grad(
            score, source, retain_graph=True, materialize_grads=True
        )
        return gradient if self.layer is None else self.layer.as_map(gradient)

    @property
    def hop_samples(self) -> float:
        """Samples of the waveform between two entries along time."""
        return self.geometry.hop_samples

    @property
    def offset_samples(self) -> float:
        """The sample on which entry 0 is centred."""
        return self.geometry.offset_samples


def even_shares(n_entries: int, n_bins: int) -> Tensor:
    """Share bins evenly among entries along frequency, in order.

    Arguments
    ---------
    n_entries, n_bins : int

    Returns
    -------
    Tensor (n_entries, n_bins)
        1 where a bin belongs to an entry, else 0.

    Example
    -------
    >>> even_shares(2, 3)
    tensor([[1., 1., 0.],
            [0., 0., 1.]])
    """
    entries = torch.arange(n_bins) * n_entries // n_bins
    return nn.functional.one_hot(entries, n_entries).T.float()
