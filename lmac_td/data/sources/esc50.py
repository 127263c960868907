"""ESC-50 and data sets in its layout.

Layout (Piczak, "ESC: Dataset for Environmental Sound Classification", 2015)::

    <folder>/audio/<filename>
    <folder>/meta/esc50.csv     with columns filename, fold, target, category

ESC-10, which is part of ESC-50, and the embedded corpus have the same layout. Clips
that were cut from one recording are in one fold, so a split is a set of whole folds.
"""

import hashlib
import tempfile
from pathlib import Path

import filelock

from lmac_td.data.demo import corpus
from lmac_td.data.download import download_esc50
from lmac_td.data.sources.base import Clip, DataSource, require_recordings
from lmac_td.data.sources.tables import names_by_number, read_table, whole_number
from lmac_td.errors import DataError, SettingError
from lmac_td.reading import absence

COLUMNS = ("filename", "fold", "target", "category")


class ESC50(DataSource):
    """Clips with one label each, in ESC-50's layout.

    The class index is the rank of a target among all targets of the table: the target
    itself for ESC-50, 0 to 9 for ESC-10. Manifests hold the target as ``esc50_target``.

    Arguments
    ---------
    folder : str or Path
        Holds ``audio/`` and ``meta/esc50.csv``. Nothing is written to it unless it is
        missing or empty.
    download : bool
        Download ESC-50 if the folder is missing or empty.
    generate_corpus : bool
        Generate the embedded corpus if the folder is missing or empty.
    wham_folder : str or Path, optional
        The folder for the noise of the embedded corpus; must be ``wham_noise`` beside
        ``folder``.

    Example
    -------
    >>> import tempfile
    >>> from lmac_td.data.demo.corpus import generate_corpus
    >>> from lmac_td.data.sources.base import read_source
    >>> root = tempfile.TemporaryDirectory()
    >>> made = generate_corpus(
    ...     f"{root.name}/corpus", clips_per_class_and_fold=1, duration_s=0.5
    ... )
    >>> clips, class_names = read_source(ESC50(made / "ESC-50"))
    >>> len(clips), clips[0].clip_id, clips[0].labels
    (50, '1-000000-A-0', ('dog',))
    """

    def __init__(
        self,
        folder: str | Path,
        download: bool = False,
        generate_corpus: bool = False,
        wham_folder: str | Path | None = None,
    ):
        super().__init__(folder)
        self.download = download
        self.generate_corpus = generate_corpus
        self.wham_folder = wham_folder

    @property
    def listing(self) -> Path:
        """The table of clips."""
        return self.folder / "meta" / "esc50.csv"

    def obtain(self) -> None:
        """Generate the embedded corpus or download ESC-50, if a setting asks for it.

        Raises
        ------
        SettingError
            If the corpus cannot be generated in these folders.
        DownloadError
            If the download failed.
        """
        if self._is_there() or not (self.generate_corpus or self.download):
            return
        if self.generate_corpus:
            self._check_generated_folders()
        # Another command may be obtaining it at the same time: wait for that one.
        with filelock.FileLock(self._lock()):
            if self._is_there():
                return
            if self.generate_corpus:
                root = self.folder.parent
                print(f"Generating the embedded corpus in {root} ...", flush=True)
                corpus.generate_corpus(root)
            else:
                download_esc50(self.folder)

    def _is_there(self) -> bool:
        return self.folder.is_dir() and any(self.folder.iterdir())

    def _lock(self) -> Path:
        """Return the file that processes of this machine lock to obtain the folder."""
        digest = hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"lmac_td-{digest}.lock"

    def _check_generated_folders(self) -> None:
        root = self.folder.parent
        side_by_side = Path(self.wham_folder or "") == root / "wham_noise"
        if self.folder.name != "ESC-50" or not side_by_side:
            raise SettingError(
                "generate_corpus creates FOLDER/ESC-50 and FOLDER/wham_noise: set "
                "data_folder and wham_folder to these two, not to "
                f"{self.folder} and {self.wham_folder}"
            )

    def clips(self) -> list[Clip]:
        """List the clips in the order of the table; see :meth:`DataSource.clips`."""
        self._check_layout()
        table, audio_folder = self.listing, self.folder / "audio"
        clips = [
            Clip(
                clip_id=Path(row["filename"]).stem,
                path=audio_folder / row["filename"],
                fold=whole_number(table, line, row, "fold"),
                labels=(row["category"],),
                # Not "target", which is the clean clip of a mixture.
                details={"esc50_target": whole_number(table, line, row, "target")},
            )
            for line, row in read_table(table, COLUMNS)
        ]
        self._categories(clips)
        require_recordings(
            clips,
            [audio_folder],
            table,
            "complete the data set in data_folder or remove those rows",
        )
        return clips

    def class_names(self, clips: list[Clip]) -> list[str]:
        """Return the categories in the order of their targets."""
        return [name for _, name in sorted(self._categories(clips).items())]

    def _categories(self, clips: list[Clip]) -> dict[int, str]:
        """Return the category of each target."""
        pairs = ((clip.details["esc50_target"], clip.labels[0]) for clip in clips)
        return names_by_number(self.listing, pairs, ("target", "category"))

    def _check_layout(self) -> None:
        """Refuse a folder that lacks a part of ESC-50's layout."""
        if not self.folder.is_dir():
            raise DataError(
                f"data_folder {self.folder} {absence(self.folder)}: give the folder "
                "that holds audio/ and meta/esc50.csv with --data_folder, or fetch "
                "ESC-50 with --download True."
            )
        for needed in (self.folder / "audio", self.listing):
            if not needed.exists():
                raise DataError(
                    f"{needed} is missing: data_folder must hold audio/ and "
                    "meta/esc50.csv as ESC-50 does; give another one with "
                    "--data_folder, or fetch ESC-50 into a new folder with --download "
                    "True."
                )
