"""Names of models on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from lmac_td.errors import CheckpointError


def require_hub_id(source: str | Path, wanted: str) -> None:
    """Refuse a source that is neither on this disk nor a hub id.

    Arguments
    ---------
    source : str or Path
        It does not exist on this disk.
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
    if name.count("/") != 1 or name.startswith(("/", ".", "~")):
        raise CheckpointError(
            f"{source} does not exist: give {wanted}, or a hub id such as owner/name"
        )
