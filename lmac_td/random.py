"""Seeded random generators that depend on names, not on the order of draws."""

import hashlib
import json

import torch


def seeded_generator(clip_id, purpose, seed):
    """Make the random generator of one clip for one purpose.

    Arguments
    ---------
    clip_id : str
        The clip that something is drawn for.
    purpose : str
        What is drawn, such as the name of a condition.
    seed : int or tuple of int
        The seed of all clips; in training, the seed and the epoch.

    Returns
    -------
    torch.Generator
        The same in every process and on every machine.

    Example
    -------
    >>> a = torch.rand(1, generator=seeded_generator("dog", "in_domain", 0))
    >>> b = torch.rand(1, generator=seeded_generator("dog", "in_domain", 0))
    >>> torch.equal(a, b)
    True
    """
    # sha256, because Python's own hash of a string differs between processes.
    digest = hashlib.sha256(json.dumps([clip_id, purpose, seed]).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))
