"""Run a Brain with the loaders of a recipe."""

import math
from collections.abc import Mapping
from typing import Any

import speechbrain as sb
from speechbrain.utils.distributed import if_main_process
from torch.utils.data import Dataset

from lmac_td.data.epoch_seeds import use_epoch_seeded_sampler
from lmac_td.errors import SettingError
from lmac_td.runtime.distributed import n_processes, process_rank


def fit(
    brain: sb.Brain,
    hparams: Mapping,
    train: Dataset,
    valid: Dataset,
    repeats: int = 1,
) -> None:
    """Train until the last epoch of a recipe; resume from the last checkpoint.

    Several processes divide the clips of an epoch, and the batches of a validation.

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

    Raises
    ------
    SettingError
        If an epoch has too few batches for a run option, or several processes train a
        network of which a step uses a part.
    """
    loader = use_epoch_seeded_sampler(
        brain, train, hparams["train_loader"], hparams["seed"], repeats
    )
    batch_size = loader.get("batch_size", 1)
    _check_number_of_batches(brain, math.ceil(len(brain.train_sampler) / batch_size))
    try:
        brain.fit(
            hparams["epoch_counter"],
            train,
            valid,
            train_loader_kwargs=loader,
            valid_loader_kwargs=share_of_batches(
                hparams["eval_loader"], len(valid), process_rank(), n_processes()
            ),
        )
    except RuntimeError as error:
        if "find_unused_parameters" not in str(error):
            raise
        raise SettingError(
            "several processes cannot train a network of which a step uses a part: "
            "give --find_unused_parameters"
        ) from error
    except SystemExit as error:  # SpeechBrain's end of a profile
        if if_main_process():
            print(
                f"Profiled {brain.profile_steps} steps: {hparams['output_folder']}"
                "/profiler_logs. The training ends here: give the same command without "
                "--profile_training to train."
            )
        raise SystemExit(0) from error


def share_of_batches(
    loader: Mapping[str, Any], n_clips: int, process: int, n_processes: int
) -> dict[str, Any]:
    """Return a loader's arguments for the batches of one of several processes.

    The batches are those of one process, so what a batch gives is the same. A process
    may have one more than another, or none.

    Arguments
    ---------
    loader : mapping
        Arguments of ``make_dataloader``.
    n_clips : int
    process, n_processes : int
        The number of this process, and of all.

    Returns
    -------
    dict

    Example
    -------
    >>> share_of_batches({"batch_size": 2}, 5, process=0, n_processes=2)
    {'batch_sampler': [[0, 1], [4]]}
    """
    loader = dict(loader)
    if n_processes == 1:
        return loader
    size = loader.pop("batch_size", 1)
    batches = [
        list(range(first, min(first + size, n_clips)))
        for first in range(0, n_clips, size)
    ]
    return {**loader, "batch_sampler": batches[process::n_processes]}


def _check_number_of_batches(brain: sb.Brain, n_batches: int) -> None:
    """Refuse options with which an epoch would never make a step, or end a profile."""
    accumulated = brain.grad_accumulation_factor
    if brain.debug:
        n_batches = min(n_batches, brain.debug_batches)
    if accumulated > n_batches:
        raise SettingError(
            f"grad_accumulation_factor is {accumulated}, but an epoch has {n_batches} "
            f"batches, so no step would be made: give {n_batches} or less"
        )
    profiled = brain.profile_warmup + brain.profile_steps
    if brain.profile_training and profiled > n_batches:
        raise SettingError(
            f"profile_training takes {profiled} batches, but an epoch has {n_batches}: "
            "give smaller --profile_warmup and --profile_steps"
        )
