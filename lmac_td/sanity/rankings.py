"""Rank bins for RemOve And Retrain: by methods, and by two controls.

A ranking is a callable: :class:`~lmac_td.evaluation.batches.DecidedBatch` -> importance
(B, frames, bins), as :meth:`lmac_td.sanity.removal.Removal.clips` takes it.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lmac_td.evaluation.batches import DecidedBatch
from lmac_td.evaluation.explaining import explain, stft_mask
from lmac_td.interpreters.base import Interpreter
from lmac_td.random import seeded_generator

RANDOM, LOUDEST = "random", "loudest first"

Ranking = Callable[[DecidedBatch], Tensor]


def ranking_functions(
    interpreters: Mapping[str, Interpreter], seed: int
) -> dict[str, Ranking]:
    """Return the rankings of methods, then those of the controls.

    Arguments
    ---------
    interpreters : dict of str to Interpreter
        They rank by their masks, see :func:`lmac_td.evaluation.explaining.stft_mask`.
    seed : int
        Seed of the random ranking.

    Returns
    -------
    dict of str to callable
        Rankings by name; the last two are ``RANDOM`` and ``LOUDEST``.
    """

    def by_mask(interpreter):
        def rank(decided):
            return stft_mask(explain(decided, interpreter))

        return rank

    methods = {name: by_mask(method) for name, method in interpreters.items()}
    return methods | {
        RANDOM: lambda decided: random_importance(
            decided.features.magnitude, decided.clip_ids, seed
        ),
        LOUDEST: lambda decided: decided.features.magnitude,
    }


def random_importance(magnitude: Tensor, clip_ids: Sequence[str], seed: int) -> Tensor:
    """Return a random map for each clip, the same in every run.

    Arguments
    ---------
    magnitude : Tensor (B, frames, bins)
        Only its shape is used.
    clip_ids : sequence of str
    seed : int

    Returns
    -------
    Tensor (B, frames, bins)
        Uniform in [0, 1).
    """
    maps = [
        torch.rand(
            magnitude.shape[1:], generator=seeded_generator(clip_id, "removal", seed)
        )
        for clip_id in clip_ids
    ]
    return torch.stack(maps).to(magnitude.device)
