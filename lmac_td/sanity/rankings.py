"""RemOve And Retrain, what bins are removed by: methods, chance, loudness.

A ranking is a callable: :class:`~lmac_td.evaluation.batches.DecidedBatch` -> values (B,
frames, bins), as :meth:`lmac_td.sanity.removal.Removal.clips` takes it.
"""

import torch

from lmac_td.evaluation.explaining import explain, stft_mask
from lmac_td.random import seeded_generator

RANDOM, LOUDEST = "random", "loudest first"


def rankings_of(interpreters, seed):
    """What bins are removed by: the methods, then the controls.

    Arguments
    ---------
    interpreters : dict of str to Interpreter
        Each ranks by its mask, see :func:`lmac_td.evaluation.explaining.stft_mask`.
    seed : int
        Of the random ranking.

    Returns
    -------
    dict of str to callable
        By name; the last two are ``RANDOM`` and ``LOUDEST``.
    """

    def by(interpreter):
        def rank(decided):
            return stft_mask(explain(decided, interpreter))

        return rank

    return {name: by(interpreter) for name, interpreter in interpreters.items()} | {
        RANDOM: lambda decided: random_importance(
            decided.features.magnitude, decided.clip_ids, seed
        ),
        LOUDEST: lambda decided: decided.features.magnitude,
    }


def random_importance(magnitude, clip_ids, seed):
    """The control: a new random map a clip, the same in every run.

    Arguments
    ---------
    magnitude : Tensor (B, frames, bins)
        For its shape.
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
