"""Controls in the same frame: loudness, and random fields.

A method that chooses among candidates by the classifier's answer raises AI by choosing
alone. The best of as many random fields shows by how much.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lmac_td.contracts import Decision
from lmac_td.features import Features, SpectralFeatures
from lmac_td.interpreters.budgeted.scores import KERNELS, Relevance, Scores

# Of the control with one field, and of loudness: no smoothing.
ONE_FIELD = ((515, 270),)
NO_SMOOTHING = ((1, 1),)


class Loudness(Relevance):
    """The magnitude |X| as relevance: the loudest bins are kept first."""

    does = "keeps what is loudest, for comparison"
    is_control = True

    def relevance(self, wavs: Tensor, features: Features, decision: Decision) -> Tensor:
        """See :meth:`Relevance.relevance`."""
        return features.magnitude


class RandomFields(Relevance):
    """Smoothed white noise as relevance, one field per kernel.

    The fields are the same for every clip. They are smoothed and scaled as evidence is.

    Arguments
    ---------
    seed : int
        Seed of the noise.

    The other arguments are those of :class:`Relevance`.
    """

    does = "keeps regions at random, for comparison"
    is_control = True

    def __init__(self, *args: Any, seed: int = 0, **kernels: Any) -> None:
        super().__init__(*args, **kernels)
        self.seed = seed

    def relevance(self, wavs: Tensor, features: Features, decision: Decision) -> Tensor:
        """See :meth:`Relevance.relevance`; one map per kernel."""
        generator = torch.Generator().manual_seed(self.seed)
        batch, *shape = features.magnitude.shape
        fields = torch.randn(self.n_candidates, *shape, generator=generator)
        return fields.to(wavs.device).expand(batch, -1, -1, -1)


def control_sources(features: SpectralFeatures, n_candidates: int) -> dict[str, Scores]:
    """Return the sources of the controls, by the names of their rows.

    Arguments
    ---------
    features : SpectralFeatures
    n_candidates : int
        How many candidates the method has for each clip. If it has more than one, the
        best of as many random fields stands beside it.

    Example
    -------
    >>> features = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    >>> list(control_sources(features, 6))
    ['loudness', 'random field', 'best of 6 random fields']
    """
    sources = {
        "loudness": Loudness(features, NO_SMOOTHING),
        "random field": RandomFields(features, ONE_FIELD),
    }
    if n_candidates > 1:
        kernels = [KERNELS[k % len(KERNELS)] for k in range(n_candidates)]
        sources[f"best of {n_candidates} random fields"] = RandomFields(
            features, kernels, seed=1
        )
    return sources
