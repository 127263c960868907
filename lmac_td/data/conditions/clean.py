"""Clips without interference."""

from lmac_td.data.conditions.base import Condition, SplitSetup


class Clean(Condition):
    """Leaves clips clean.

    Example
    -------
    >>> Clean().snr_db is None
    True
    """

    for_training = True

    def __init__(self) -> None:
        self.snr_db = None

    def prepare(self, setup: SplitSetup) -> None:
        """Return None: there is no interference."""
        return None
