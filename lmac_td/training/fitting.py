"""Run a Brain with the loaders of a recipe."""

from collections.abc import Mapping

import speechbrain as sb
from torch.utils.data import Dataset

from lmac_td.data.epoch_seeds import use_epoch_seeded_sampler


def fit(
    brain: sb.Brain,
    hparams: Mapping,
    train: Dataset,
    valid: Dataset,
    repeats: int = 1,
) -> None:
    """Train until the last epoch of a recipe; resume from the last checkpoint.

    Arguments
    ---------
    brain : speechbrain.Brain
    hparams : mapping
        A built recipe, with ``epoch_counter``, ``train_loader``, ``eval_loader`` and
        ``seed``.
    train, valid : Dataset
        Of :meth:`PreparedData.dataset`.
    repeats : int
        How often an epoch goes through the same mixtures.
    """
    brain.fit(
        hparams["epoch_counter"],
        train,
        valid,
        train_loader_kwargs=use_epoch_seeded_sampler(
            brain,
            train,
            hparams["train_loader"],
            hparams["seed"],
            repeats,
        ),
        valid_loader_kwargs=hparams["eval_loader"],
    )
