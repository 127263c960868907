"""Utterances of speech, in LJSpeech's layout or in any folder.

LJSpeech's layout::

    <folder>/wavs/<id>.wav
    <folder>/metadata.csv     id|transcript|normalised transcript, without a header
"""

from pathlib import Path

from lmac_td.data.conditions.speech import speech_folder
from lmac_td.data.noise import list_recordings
from lmac_td.data.sources.base import Clip, DataSource
from lmac_td.data.sources.esc50 import ESC50
from lmac_td.errors import DataError, UnreadableFileError
from lmac_td.reading import read_text

N_FOLDS = 5
ENDINGS = (".wav", ".flac", ".ogg")
METADATA = "metadata.csv"


class Utterances(DataSource):
    """Utterances, spread over five folds in the order of their names.

    The first utterance has fold 1, the sixth again fold 1. So the folds share their
    speakers. Manifests hold the transcript, or None, as ``transcript``.

    Arguments
    ---------
    folder : str or Path
        Holds ``wavs/`` and ``metadata.csv``, as LJSpeech does, or the recordings.
    corpus : ESC50, optional
        The sounds of the embedded corpus beside the folder; they are generated as its
        settings say.

    Example
    -------
    >>> import tempfile
    >>> from lmac_td.data.sources.base import read_source
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in ("LJ001-0001.wav", "LJ001-0002.wav"):
    ...     (root / name).touch()
    >>> clips, _ = read_source(Utterances(root))
    >>> [(clip.clip_id, clip.fold) for clip in clips]
    [('LJ001-0001', 1), ('LJ001-0002', 2)]
    """

    def __init__(self, folder: str | Path, corpus: ESC50 | None = None):
        super().__init__(folder)
        self.corpus = corpus

    def obtain(self) -> None:
        """Generate the embedded corpus, if the settings ask for it."""
        if self.corpus is not None and not self.folder.is_dir():
            self.corpus.obtain()

    def clips(self) -> list[Clip]:
        """List the utterances by name; see :meth:`DataSource.clips`."""
        recordings = list_recordings(
            speech_folder(self.folder), "ljspeech_folder", ENDINGS
        )
        transcripts = read_transcripts(self.folder / METADATA)
        return [
            Clip(
                clip_id=path.stem,
                path=path,
                fold=1 + n % N_FOLDS,
                labels=("speech",),
                details={"transcript": transcripts.get(path.stem)},
            )
            for n, path in enumerate(recordings)
        ]


def read_transcripts(path: Path) -> dict[str, str]:
    """Read the transcripts of LJSpeech's table, by id; none if there is no table.

    Arguments
    ---------
    path : Path
        Its lines are ``id|transcript|normalised transcript``.

    Returns
    -------
    dict of str to str
        The normalised transcripts, or the transcripts where a line has no other.

    Raises
    ------
    DataError
        If it cannot be read, or a line has no transcript.
    """
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnreadableFileError) as error:
        raise DataError(
            f"{path} cannot be read as a table of transcripts ({error}): save it in "
            "UTF-8, or remove it."
        ) from error
    found = {}
    for number, line in enumerate(lines, start=1):
        name, *texts = line.split("|")
        if line and not texts:
            raise DataError(
                f"{path}, line {number}, has no transcript: write id|transcript."
            )
        if line:
            found[name] = texts[-1].strip() or texts[0].strip()
    return found
