"""Names of models on the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

from lmac_td.errors import CheckpointError
from lmac_td.reading import absence


def require_hub_id(source: str | Path, wanted: str) -> None:
    """Refuse a source that is neither on this disk nor a hub id.

    Arguments
    ---------
    source : str or Path
        It is no folder of this disk.
    wanted : str
        What the folder would have been, for the message.

    Raises
    ------
    CheckpointError

    Example
    -------
    >>> require_hub_id("owner/name", "the folder of a classifier")
    """
    name = str(source)
    is_id = name.count("/") == 1 and not name.startswith(("/", ".", "~"))
    if os.path.exists(name) or not is_id:
        raise CheckpointError(
            f"{source} {absence(source)}: give {wanted}, or a hub id such as owner/name"
        )
