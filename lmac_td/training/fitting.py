"""Run a Brain with the loaders of a recipe, and seed its steps."""

from collections.abc import Mapping

import speechbrain as sb
import torch
from torch.utils.data import Dataset

from lmac_td.data.epoch_seeds import use_epoch_seeded_sampler
from lmac_td.random import seeded_generator


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


def seed_step(brain: sb.Brain, epoch: int) -> None:
    """Seed torch for one training step, so that a resumed training draws the same.

    Arguments
    ---------
    brain : speechbrain.Brain
        With its number of the step, and ``hparams.seed``.
    epoch : int
    """
    seed = brain.hparams.seed, epoch
    draws = seeded_generator(f"step {brain.step}", "training", seed)
    torch.manual_seed(draws.initial_seed())
