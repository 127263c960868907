"""The condition ``speech``: utterances in LJSpeech's layout, or in any folder."""

import math
from pathlib import Path

from lmac_td.data.conditions.base import PaperCondition, SplitSetup
from lmac_td.data.demo import corpus
from lmac_td.data.noise import NoisePool
from lmac_td.errors import DataError, SettingError


class Speech(PaperCondition):
    """Mixes clips with utterances, which are cut or looped to the length of a clip.

    Arguments
    ---------
    folder : str or Path
        Holds ``wavs/``, as LJSpeech does, or the recordings themselves. Nothing is
        written to it. None is allowed here, but refused by :meth:`prepare`.
    snr_db, snr
        See :class:`~lmac_td.data.conditions.base.PaperCondition`.

    Example
    -------
    >>> round(Speech("data/LJSpeech-1.1", snr_db=3, snr="published").snr_db, 2)
    12.04
    """

    snr_setting = "speech_snr_db"
    published_snr_db = 20 * math.log10(0.8 / 0.2)

    def __init__(self, folder: str | Path | None, snr_db: float, snr: str = "paper"):
        super().__init__(snr_db, snr)
        self.folder = folder

    def prepare(self, setup: SplitSetup) -> NoisePool:
        """Return the utterances, which are the same for all splits.

        Raises
        ------
        SettingError
            If no folder is given.
        DataError
            If the folder does not exist or has no recordings.
        """
        if self.folder is None:
            raise SettingError(
                "condition speech needs recordings of speech: give a folder in "
                "LJSpeech's layout with --ljspeech_folder"
            )
        _check_corpus_has_speech(Path(self.folder))
        return NoisePool(
            speech_folder(self.folder),
            setup.sample_rate,
            setup.signal_length_s,
            setup.cache_folder,
            setup.skip_bad_files,
            setting="ljspeech_folder",
        )


def speech_folder(ljspeech_folder: str | Path) -> Path:
    """Return the folder that holds the utterances of a data set of speech.

    Arguments
    ---------
    ljspeech_folder : str or Path
        Holds ``wavs/``, as LJSpeech does, or the recordings themselves.

    Returns
    -------
    Path
        An existing folder.

    Raises
    ------
    DataError
        If the folder does not exist.

    Example
    -------
    >>> import tempfile
    >>> root = tempfile.TemporaryDirectory()
    >>> speech_folder(root.name) == Path(root.name)
    True
    >>> (Path(root.name) / "wavs").mkdir()
    >>> speech_folder(root.name).name
    'wavs'
    """
    folder = Path(ljspeech_folder)
    if not folder.is_dir():
        raise DataError(
            f"{folder}, the folder of speech, is missing: give one in LJSpeech's "
            "layout with --ljspeech_folder, or remove speech from --condition."
        )
    return folder / "wavs" if (folder / "wavs").is_dir() else folder


def _check_corpus_has_speech(folder: Path) -> None:
    """Refuse an embedded corpus of an earlier version, which has no speech."""
    root = folder.parent
    is_corpus = folder.name == "LJSpeech-1.1" and (root / corpus.MARKER).exists()
    if is_corpus and not folder.exists():
        raise DataError(
            f"{root} holds an embedded corpus of an earlier version, without speech: "
            "delete it and give --generate_corpus True to generate it again, or give "
            "another --ljspeech_folder"
        )
