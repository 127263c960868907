"""SONYC-UST: recordings of New York's streets of 10 s, with tags by annotators.

Layout of version 2.3 (Cartwright et al., "SONYC-UST-V2: An Urban Sound Tagging Dataset
with Spatiotemporal Context", 2020)::

    <folder>/annotations.csv     one row for each annotator of a recording
    <folder>/audio*/<audio_filename>

Columns of the table that are read: ``split``, ``audio_filename``, ``annotator_id`` and
the eight coarse tags, such as ``1_engine_presence`` (1: present, 0: absent, -1: not
labelled). An ``annotator_id`` above 0 is a volunteer, one below 0 a member of the
team, and 0 is what the team agreed on.
"""

from pathlib import Path

from lmac_td.data.demo import street
from lmac_td.data.sources.base import Clip, DataSource, require_recordings
from lmac_td.data.sources.tables import read_table, whole_number
from lmac_td.errors import DataError

COARSE_TAGS = (
    "engine", "machinery-impact", "non-machinery-impact", "powered-saw",
    "alert-signal", "music", "human-voice", "dog",
)  # fmt: skip
PRESENCE = tuple(f"{i}_{tag}_presence" for i, tag in enumerate(COARSE_TAGS, start=1))
COLUMNS = ("split", "audio_filename", "annotator_id", *PRESENCE)
FOLD_OF_SPLIT = {"train": 1, "validate": 2, "test": 3}
AGREED = 0  # the annotator_id of what the team agreed on


class SonycUst(DataSource):
    """Clips with any number of the eight coarse tags, in SONYC-UST's layout.

    The splits are folds: 1 is ``train``, 2 ``validate``, 3 ``test``. The tags of a clip
    are those that the team agreed on, if the table has them, otherwise all that one
    annotator or more found (the *minority vote* of the DCASE baseline and of L2I's
    authors). Of ``validate`` and ``test``, clips without agreed tags are left out, as
    in both. A clip may have no tag. Manifests hold ``n_annotators`` and ``agreed``.

    Arguments
    ---------
    folder : str or Path
        Nothing is written to it unless it is missing or empty.
    generate_corpus : bool
        Generate a small synthetic data set in this layout if the folder is missing or
        empty, see :mod:`lmac_td.data.demo.street`.

    Example
    -------
    >>> import tempfile
    >>> from lmac_td.data.sources.base import read_source
    >>> root = tempfile.TemporaryDirectory()
    >>> n = {"train": 4, "validate": 3, "test": 3}
    >>> folder = street.generate_street(f"{root.name}/street", n, duration_s=0.5)
    >>> clips, tags = read_source(SonycUst(folder))
    >>> clips[0].clip_id, clips[0].fold, len(tags)
    ('00_000000', 1, 8)
    """

    may_lack_labels = True

    def __init__(self, folder: str | Path, generate_corpus: bool = False):
        super().__init__(folder)
        self.generate_corpus = generate_corpus

    @property
    def listing(self) -> Path:
        """The table of annotations."""
        return self.folder / "annotations.csv"

    def obtain(self) -> None:
        """Generate the synthetic data set, if a setting asks for it."""
        if self.generate_corpus and not self.listing.exists():
            print(f"Generating street scenes in {self.folder} ...", flush=True)
            street.generate_street(self.folder)

    def clips(self) -> list[Clip]:
        """List the clips in the order of the table; see :meth:`DataSource.clips`.

        Raises
        ------
        DataError
            If the table or a recording is missing, or a row is wrong.
        """
        if not self.listing.is_file():
            raise DataError(
                f"{self.listing} is missing: SONYC-UST's folder holds annotations.csv "
                "and audio/; give it with --data_folder."
            )
        rows_of = {}  # by recording
        for line, row in read_table(self.listing, COLUMNS):
            rows_of.setdefault(row["audio_filename"], []).append(self._row(line, row))
        folders = sorted(path for path in self.folder.glob("audio*") if path.is_dir())
        found = {path.name: path for folder in folders for path in folder.iterdir()}
        clips = [
            clip
            for name, rows in rows_of.items()
            if (clip := self._clip(name, rows, found)) is not None
        ]
        require_recordings(
            clips, folders, self.listing, "extract all archives of the data set"
        )
        return clips

    def class_names(self, clips: list[Clip]) -> list[str]:
        """Return the coarse tags in the order of their numbers."""
        return list(COARSE_TAGS)

    def _row(self, line, row):
        """Return fold, annotator and present tags of a row of the table."""
        fold = FOLD_OF_SPLIT.get(row["split"])
        if fold is None:
            raise DataError(
                f"{self.listing}, line {line}: split {row['split']!r} is none of "
                f"{', '.join(FOLD_OF_SPLIT)}; correct it."
            )
        present = {
            tag
            for tag, column in zip(COARSE_TAGS, PRESENCE, strict=True)
            if whole_number(self.listing, line, row, column) == 1
        }
        annotator = whole_number(self.listing, line, row, "annotator_id")
        return fold, annotator, present

    def _clip(self, name, rows, found):
        """Make the clip of a recording; None if it is left out."""
        folds = sorted({fold for fold, *_ in rows})
        if len(folds) > 1:
            raise DataError(
                f"{self.listing} has {name} in several splits: keep it in one."
            )
        agreed = [present for _, annotator, present in rows if annotator == AGREED]
        if folds != [FOLD_OF_SPLIT["train"]] and not agreed:
            return None
        present = agreed[0] if agreed else set().union(*(p for *_, p in rows))
        return Clip(
            clip_id=Path(name).stem,
            path=found.get(name, self.folder / "audio" / name),
            fold=folds[0],
            labels=tuple(tag for tag in COARSE_TAGS if tag in present),
            details={
                "n_annotators": sum(annotator != AGREED for _, annotator, _ in rows),
                "agreed": bool(agreed),
            },
        )
