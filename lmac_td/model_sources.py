"""Where a pretrained model is: a folder, an address or a Hugging Face hub id."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from lmac_td.errors import CheckpointError
from lmac_td.reading import absence

FOLDER, ADDRESS, HUB_ID = "folder", "address", "hub id"


def kind_of_source(source: str | Path) -> str | None:
    """Return what a source is; None if it is none of the three.

    What exists on this disk is never a hub id.

    Arguments
    ---------
    source : str or Path

    Example
    -------
    >>> kind_of_source("/"), kind_of_source("https://example.org/model")
    ('folder', 'address')
    >>> kind_of_source("owner/name"), kind_of_source("results/no/such")
    ('hub id', None)
    """
    name = str(source)
    if os.path.isdir(name):
        return FOLDER
    if name.startswith(("http://", "https://")):
        return ADDRESS
    is_id = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name)
    return HUB_ID if is_id and not os.path.exists(name) else None


def require_source(
    source: str | Path,
    remedy: str,
    kinds: Collection[str] = (FOLDER, HUB_ID),
    setting: str = "",
) -> str:
    """Return what a source is; refuse what is none of some kinds.

    Arguments
    ---------
    source : str or Path
    remedy : str
        What to give, for the message.
    kinds : collection of str
    setting : str
        Stands before the source in the message.

    Raises
    ------
    CheckpointError

    Example
    -------
    >>> require_source("owner/name", "give a folder or a hub id")
    'hub id'
    """
    kind = kind_of_source(source)
    if kind in kinds:
        return kind
    if kind == ADDRESS:
        raise CheckpointError(f"{setting}{source} is an address: {remedy}")
    raise CheckpointError(f"{setting}{source} {absence(source)}: {remedy}")
