"""The condition ``effects``: excerpts of sound effects, from any folder."""

from pathlib import Path

from lmac_td.data.conditions.base import Condition, SplitSetup
from lmac_td.data.noise import NoisePool, list_recordings
from lmac_td.errors import DataError, SettingError

ENDINGS = (".wav", ".flac", ".ogg")
# Of the recordings by name; what was cut from one source has one beginning of the name.
SHARES = {"train": (0.0, 0.8), "valid": (0.8, 0.9), "test": (0.9, 1.0)}
FEWEST = 10  # recordings: each split gets at least one


class Effects(Condition):
    """Mixes clips with sound effects, from separate recordings per split.

    In the order of their names, the first 80 % of the recordings are for training, the
    next 10 % for validation and the last 10 % for the test.

    Arguments
    ---------
    folder : str or Path
        Holds ``audio/``, as ESC-50 does, or the recordings themselves. Nothing is
        written to it.
    snr_db : float
        Power of the clip over the power of the effects, in dB.

    Example
    -------
    >>> Effects("data/ESC-50", snr_db=0).for_training
    True
    """

    for_training = True

    def __init__(self, folder: str | Path | None, snr_db: float):
        super().__init__(snr_db)
        self.folder = folder

    def prepare(self, setup: SplitSetup) -> NoisePool:
        """Return the effects of a split; see :meth:`Condition.prepare`.

        Raises
        ------
        SettingError
            If no folder is given.
        DataError
            If the folder is missing or has fewer than ten recordings.
        """
        if self.folder is None:
            raise SettingError(
                "condition effects needs recordings: give a folder with "
                "--effects_folder"
            )
        folder = Path(self.folder)
        folder = folder / "audio" if (folder / "audio").is_dir() else folder
        found = list_recordings(folder, "effects_folder", ENDINGS)
        if len(found) < FEWEST:
            raise DataError(
                f"{folder} has {len(found)} recordings, too few for three splits: "
                f"give at least {FEWEST}, or another effects_folder."
            )
        first, last = (round(share * len(found)) for share in SHARES[setup.split])
        return NoisePool(
            folder,
            setup.sample_rate,
            setup.signal_length_s,
            setup.cache_folder,
            setup.skip_bad_files,
            setting="effects_folder",
            files=found[first:last],
        )
