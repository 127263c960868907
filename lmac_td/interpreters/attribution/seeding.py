"""Seed the global random generators, from which Captum draws, for a limited time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def seeded_global_generators(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators of torch and numpy, and restore their states afterwards.

    Arguments
    ---------
    seed : int
    device : torch.device
        A GPU's generator is seeded and restored, too.

    Example
    -------
    >>> with seeded_global_generators(0, torch.device("cpu")):
    ...     first = torch.rand(1)
    >>> with seeded_global_generators(0, torch.device("cpu")):
    ...     torch.equal(first, torch.rand(1))
    True
    """
    state = np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)
