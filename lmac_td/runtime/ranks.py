"""Ranks of processes that ``torchrun`` started, and that work apart until they meet.

Each waits for the others for as long as it takes. (:mod:`.distributed` is for processes
that work in step.)
"""

import contextlib
import datetime
from collections.abc import Iterator

import torch

from lmac_td import launch

# A rank may take days longer than another one.
_PATIENCE = datetime.timedelta(days=30)


def rank_of_torchrun() -> tuple[int, int] | None:
    """Return the rank of this process and the number of ranks.

    Returns
    -------
    tuple of int or None
        None if ``torchrun`` did not start this process, or no other one.
    """
    n_ranks = launch.number_launched()
    return (launch.rank(), n_ranks) if n_ranks > 1 else None


def wait_for_all_ranks() -> None:
    """Wait until every rank is here; without ``torchrun``, do nothing."""
    if rank_of_torchrun() is None:
        return
    if not torch.distributed.is_initialized():
        # On the CPU: nothing but this is sent.
        torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    torch.distributed.barrier()


@contextlib.contextmanager
def first_rank_first() -> Iterator[None]:
    """Let rank 0 do the block first, then all others."""
    rank = rank_of_torchrun()
    if rank is not None and rank[0] > 0:
        wait_for_all_ranks()
    yield
    if rank is not None and rank[0] == 0:
        wait_for_all_ranks()
