"""Random generators that are seeded by names, so the order of draws does not matter."""

import hashlib
import json

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
