"""Clips without interference."""

from lmac_td.data.conditions.base import Condition


class Clean(Condition):
    """Mixes clips with nothing.

    Example
    -------
    >>> Clean().snr_db is None
    True
    """

    for_training = True

    def __init__(self):
        self.snr_db = None

    def prepare(self, setup):
        """There is nothing to prepare."""
        return None
