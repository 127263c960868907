"""The condition ``in_domain``: ambient noise in WHAM!'s layout."""

from pathlib import Path

from lmac_td.data.conditions.base import Condition, SplitSetup
from lmac_td.data.noise import NoisePool
from lmac_td.errors import DataError, SettingError

WHAM_SPLIT_FOLDERS = {"train": "tr", "valid": "cv", "test": "tt"}


class InDomain(Condition):
    """Mixes clips with excerpts of ambient noise, from separate recordings per split.

    Arguments
    ---------
    folder : str or Path
        Holds ``tr/``, ``cv/`` and ``tt/``; nothing is written to it.
    snr_db : float
        Power of the clip over the power of the noise, in dB.

    Example
    -------
    >>> InDomain("data/wham_noise", snr_db=0).for_training
    True
    """

    for_training = True
    snr_setting = "wham_snr_db"

    def __init__(self, folder: str | Path | None, snr_db: float):
        super().__init__(snr_db)
        self.folder = folder

    def prepare(self, setup: SplitSetup) -> NoisePool:
        """Return the noise of a split; see :meth:`Condition.prepare`."""
        return NoisePool(
            wham_split_folder(self.folder, setup.split),
            setup.sample_rate,
            setup.signal_length_s,
            setup.cache_folder,
            setup.skip_bad_files,
        )


def wham_split_folder(wham_folder: str | Path | None, split: str) -> Path:
    """Return the folder of WHAM! noise for a split.

    Arguments
    ---------
    wham_folder : str or Path or None
        Holds ``tr/``, ``cv/`` and ``tt/``.
    split : str
        ``"train"``, ``"valid"`` or ``"test"``.

    Returns
    -------
    Path
        An existing folder.

    Raises
    ------
    SettingError
        If no folder is given.
    DataError
        If the folder does not exist.

    Example
    -------
    >>> import tempfile
    >>> root = tempfile.TemporaryDirectory()
    >>> (Path(root.name) / "tt").mkdir()
    >>> wham_split_folder(root.name, "test").name
    'tt'
    """
    if wham_folder is None:
        raise SettingError(
            "condition in_domain needs recordings of noise: give the folder that holds "
            "WHAM!'s tr, cv and tt with --wham_folder"
        )
    folder = Path(wham_folder) / WHAM_SPLIT_FOLDERS[split]
    if not folder.is_dir():
        raise DataError(
            f"{folder}, the noise of the {split} split, is missing: give the folder "
            "that holds WHAM!'s tr, cv and tt with --wham_folder."
        )
    return folder
