"""Ranks of processes that ``torchrun`` started, and that score apart until they meet.

They share what the main process prepares (:mod:`.distributed`), and wait for each other
at the end for as long as it takes.
"""

import datetime

import torch

from lmac_td import launch
from lmac_td.runtime.distributed import leave, wait_for_all

# A rank may take days longer than another one.
_PATIENCE = datetime.timedelta(days=30)


def rank_of_torchrun() -> tuple[int, int] | None:
    """Return the rank of this process and the number of ranks.

    Returns
    -------
    tuple of int or None
        None if ``torchrun`` did not start this process, or no other one.

    Example
    -------
    >>> rank_of_torchrun()  # without a launcher
    """
    n_ranks = launch.number_launched()
    return (launch.rank(), n_ranks) if n_ranks > 1 else None


def meet_ranks() -> None:
    """Join the ranks in one group, on the CPU: little is sent."""
    torch.distributed.init_process_group("gloo", timeout=_PATIENCE)


def leave_ranks() -> None:
    """Wait until every rank is here, and end the group."""
    wait_for_all()
    leave()
