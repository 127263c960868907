"""Set up dataloaders: workers read ahead, into pinned memory if there is a GPU.

These settings change the speed, not the data: the interference of a clip depends on the
clip, the seed and the epoch, not on the process that reads it.
"""

import os
from typing import Any

import torch

from lmac_td.errors import SettingError

# A worker reads about 300 clips of 5 s per second, with their noise.
MOST_WORKERS = 4


def loader_settings(batch_size: int, num_workers: int | str = "auto") -> dict[str, Any]:
    """Return arguments for SpeechBrain's ``make_dataloader``.

    Arguments
    ---------
    batch_size : int
    num_workers : int or str
        Number of processes that read ahead; with 0 the main process reads between two
        steps. ``"auto"``: up to 4 if there is a GPU, else 0.

    Returns
    -------
    dict

    Raises
    ------
    SettingError
        If ``num_workers`` is neither "auto" nor a whole number from 0.

    Example
    -------
    >>> loader_settings(8, 2)["persistent_workers"]
    True
    """
    gpu = torch.cuda.is_available()
    if num_workers == "auto":
        num_workers = min(MOST_WORKERS, _n_cores()) if gpu else 0
    is_count = isinstance(num_workers, int) and not isinstance(num_workers, bool)
    if not is_count or num_workers < 0:
        raise SettingError(
            f"num_workers is {num_workers!r}: give --num_workers auto or a whole "
            "number from 0"
        )
    return {
        "batch_size": batch_size,
        "num_workers": num_workers,
        "persistent_workers": num_workers > 0,  # torch refuses True without workers
        "pin_memory": gpu,  # torch warns if it is True without a GPU
        # It seeds the workers. If the generator of the training did, what training
        # draws would depend on the number of workers.
        "generator": torch.Generator(),
    }


def adapt_to_cpu(settings: dict[str, Any], num_workers: int | str) -> dict[str, Any]:
    """Return the settings of a loader for a run on the CPU of a machine with a GPU.

    Arguments
    ---------
    settings : dict
        What :func:`loader_settings` returned.
    num_workers : int or str
        The ``num_workers`` that was passed to it.

    Returns
    -------
    dict

    Example
    -------
    >>> adapt_to_cpu(loader_settings(8), "auto")["num_workers"]
    0
    """
    settings = settings | {"pin_memory": False}
    if num_workers == "auto":
        settings |= {"num_workers": 0, "persistent_workers": False}
    return settings


def _n_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
