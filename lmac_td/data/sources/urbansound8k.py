"""UrbanSound8K: 8732 urban sounds of at most 4 s, ten classes, ten folds.

Layout (Salamon, Jacoby and Bello, "A Dataset and Taxonomy for Urban Sound Research",
2014)::

    <folder>/audio/fold<1..10>/<slice_file_name>
    <folder>/metadata/UrbanSound8K.csv   with columns slice_file_name, fsID, start,
                                         end, salience, fold, classID, class

The clips of one Freesound recording (``fsID``) are in one fold, so a split is a set of
whole folds. Clips shorter than ``signal_length_s`` are padded; padding does not count
in any ratio or metric.
"""

from pathlib import Path

from lmac_td.data.sources.base import Clip, DataSource, require_recordings
from lmac_td.data.sources.tables import names_by_number, read_table, whole_number
from lmac_td.errors import DataError

COLUMNS = (
    "slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class",
)  # fmt: skip


class UrbanSound8K(DataSource):
    """Clips with one label each, in UrbanSound8K's layout.

    The id of a clip is ``fold<fold>-<file name>``. Manifests hold ``fsID`` and
    ``salience`` (1: foreground, 2: background).

    Arguments
    ---------
    folder : str or Path
        Holds ``audio/`` and ``metadata/UrbanSound8K.csv``; nothing is written to it.

    Example
    -------
    >>> source = UrbanSound8K("data/UrbanSound8K")
    >>> source.listing.name
    'UrbanSound8K.csv'
    """

    @property
    def listing(self) -> Path:
        """The table of clips."""
        return self.folder / "metadata" / "UrbanSound8K.csv"

    def clips(self) -> list[Clip]:
        """List the clips in the order of the table; see :meth:`DataSource.clips`.

        Raises
        ------
        DataError
            If the table or a recording is missing, or a row is wrong.
        """
        table, audio_folder = self.listing, self.folder / "audio"
        for needed in (audio_folder, table):
            if not needed.exists():
                raise DataError(
                    f"{needed} is missing: UrbanSound8K's folder holds audio/fold1 to "
                    "audio/fold10 and metadata/UrbanSound8K.csv; give it "
                    "as `folder` of dataset."
                )
        clips = [
            self._clip(table, line, row, audio_folder)
            for line, row in read_table(table, COLUMNS)
        ]
        require_recordings(
            clips,
            {audio_folder / f"fold{clip.fold}" for clip in clips},
            table,
            "complete the data set or remove those rows",
        )
        return clips

    def _clip(
        self, table: Path, line: int, row: dict[str, str], audio_folder: Path
    ) -> Clip:
        """Make the clip of a row."""
        fold = whole_number(table, line, row, "fold")
        return Clip(
            clip_id=f"fold{fold}-{Path(row['slice_file_name']).stem}",
            path=audio_folder / f"fold{fold}" / row["slice_file_name"],
            fold=fold,
            labels=(row["class"],),
            details={
                "classID": whole_number(table, line, row, "classID"),
                "fsID": whole_number(table, line, row, "fsID"),
                "salience": whole_number(table, line, row, "salience"),
            },
        )

    def class_names(self, clips: list[Clip]) -> list[str]:
        """Return the class names in the order of their ``classID``."""
        pairs = ((clip.details["classID"], clip.labels[0]) for clip in clips)
        names = names_by_number(self.listing, pairs, ("classID", "class"))
        return [name for _, name in sorted(names.items())]
