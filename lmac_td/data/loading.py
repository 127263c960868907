"""How batches are loaded: ahead of a GPU, by workers, into memory that it can fetch.

Nothing here changes what is loaded: a clip's interference is drawn by the clip, the
seed and the epoch, whichever process reads it.
"""

import os

import torch

from lmac_td.errors import SettingError

# Each reads some 300 clips of 5 s, with their noise, a second.
MOST_WORKERS = 4


def loader_settings(batch_size, num_workers="auto"):
    """Arguments of SpeechBrain's ``make_dataloader``.

    Arguments
    ---------
    batch_size : int
    num_workers : int or str
        Processes that read ahead; 0 reads in this one, between two steps. ``"auto"``:
        4 at most where there is a GPU, none where there is not.

    Returns
    -------
    dict

    Raises
    ------
    SettingError
        ``num_workers`` is neither.

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
        "persistent_workers": num_workers > 0,  # torch refuses them of none
        "pin_memory": gpu,  # torch warns where there is nothing to pin it for
        # Workers are seeded from it, and not from the generator that training draws
        # from, which would then depend on their number.
        "generator": torch.Generator(),
    }


def on_the_cpu(settings, num_workers):
    """The same loader, for a run on the CPU of a machine that has a GPU.

    Arguments
    ---------
    settings : dict
        Of :func:`loader_settings`.
    num_workers : int or str
        As it was given there.

    Returns
    -------
    dict

    Example
    -------
    >>> on_the_cpu(loader_settings(8), "auto")["num_workers"]
    0
    """
    settings = settings | {"pin_memory": False}
    if num_workers == "auto":
        settings |= {"num_workers": 0, "persistent_workers": False}
    return settings


def _n_cores():
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
