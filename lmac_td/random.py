"""Seeded random generators, so that the order of draws does not matter."""

import contextlib
import hashlib
import json
from collections.abc import Iterator

import numpy as np
import torch


def seeded_generator(
    clip_id: str, purpose: str, seed: int | tuple[int, int]
) -> torch.Generator:
    """Return the random generator of a clip and a purpose.

    Arguments
    ---------
    clip_id : str
        The clip for which something is drawn.
    purpose : str
        What is drawn, for example the name of a condition.
    seed : int or tuple of int
        The seed of all clips; in training, the seed and the epoch.

    Returns
    -------
    torch.Generator
        On the CPU, in the same state in every process and on every machine.

    Example
    -------
    >>> a = torch.rand(1, generator=seeded_generator("dog", "in_domain", 0))
    >>> b = torch.rand(1, generator=seeded_generator("dog", "in_domain", 0))
    >>> torch.equal(a, b)
    True
    """
    # sha256, since Python's hash of a string differs between processes.
    digest = hashlib.sha256(json.dumps([clip_id, purpose, seed]).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))


@contextlib.contextmanager
def seeded_global_generators(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators of torch and numpy, and restore their states afterwards.

    For libraries that draw from the global generators, such as Captum.

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
