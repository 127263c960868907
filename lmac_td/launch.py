"""The processes that ``torchrun`` starts for one command, and which of them speaks.

A mistake usually ends all of them at once, or one after the other. The sentence about
it is printed once: by the first process that asks.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import TCPStore

PATIENCE = datetime.timedelta(seconds=10)
# What gloo, NCCL and their store say in a process that waits for one that has ended.
_LOST = re.compile(
    "Connection closed|Connection reset|Broken pipe|remote process exited|"
    "failed to recv|Socket closed"
)


def is_launched() -> bool:
    """Return whether ``torchrun``, or a launcher like it, has started this process."""
    return "RANK" in os.environ and "LOCAL_RANK" in os.environ


def number_launched() -> int:
    """Return how many processes were started for this command; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", 1)) if is_launched() else 1


def number_here() -> int:
    """Return how many of them run on this machine."""
    here = os.environ.get("LOCAL_WORLD_SIZE", number_launched())
    return int(here) if is_launched() else 1


def rank() -> int:
    """Return the number of this process, from 0; 0 is the main process."""
    return int(os.environ["RANK"]) if is_launched() else 0


def local_rank() -> int:
    """Return the number of this process on its machine, from 0."""
    return int(os.environ["LOCAL_RANK"]) if is_launched() else 0


def speaks_first() -> bool:
    """Return whether this process is the first to ask, so that it prints an error.

    A process for which it is False waits until the first one has called
    :func:`has_spoken`: when a process ends, ``torchrun`` stops the others.

    Example
    -------
    >>> speaks_first()  # without a launcher
    True
    """
    if number_launched() == 1:
        return True
    try:
        store = _store()
        if store.add(_key("asked"), 1) == 1:
            return True
        with contextlib.suppress(RuntimeError):
            store.wait([_key("spoken")], PATIENCE)
        return False
    except RuntimeError:  # the launcher has ended, or there is no other process yet
        return rank() == 0


def has_spoken() -> None:
    """Tell the other processes that the error is printed."""
    if number_launched() > 1:
        with contextlib.suppress(RuntimeError):
            _store().set(_key("spoken"), "1")


def another_has_spoken() -> bool:
    """Return whether another process has printed an error: this one fails after it."""
    if number_launched() == 1:
        return False
    try:
        return _store().check([_key("asked")])
    except RuntimeError:
        return False


def is_lost(error: BaseException) -> bool:
    """Return whether an error means that another process of the command has ended.

    Example
    -------
    >>> is_lost(RuntimeError("gloo: Connection closed by peer"))  # without a launcher
    False
    """
    is_of_torch = isinstance(error, RuntimeError) and _LOST.search(str(error))
    return number_launched() > 1 and bool(is_of_torch)


def _key(name: str) -> str:
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return f"lmac_td/{attempt}/{name}"


def _store() -> TCPStore:
    """Connect to the store of the launcher."""
    import torch.distributed

    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    except (KeyError, ValueError) as error:
        raise RuntimeError("the launcher names no store") from error
    return torch.distributed.TCPStore(address, port, is_master=False, timeout=PATIENCE)
