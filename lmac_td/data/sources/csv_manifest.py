"""Any data set that is listed in a csv file with one row per recording.

The first line names the columns ``path``, ``labels`` and ``fold``; other columns are
ignored::

    path,labels,fold
    street/siren_01.wav,siren,1
    street/both_02.wav,siren;dog,2

A path is absolute or relative to the folder of the csv file. Several labels are
separated by ``;``.
"""

import os
from collections import Counter
from pathlib import Path

from lmac_td.data.sources.base import Clip, DataSource, require_recordings
from lmac_td.data.sources.tables import read_table, whole_number
from lmac_td.errors import DataError, SettingError
from lmac_td.reading import absence

COLUMNS = ("path", "labels", "fold")


class CsvManifest(DataSource):
    """Clips with one or several labels each, listed in a csv file.

    The id of a clip is its path in the table, without the extension and with ``-`` for
    ``/``. Class names are all labels in alphabetical order.

    Arguments
    ---------
    table : str or Path
        The csv file.
    separator : str
        The text between two labels of a clip.

    Raises
    ------
    SettingError
        If the separator is not a string, or is empty.

    Example
    -------
    >>> import tempfile
    >>> from lmac_td.data.sources.base import read_source
    >>> root = Path(tempfile.mkdtemp())
    >>> (root / "street").mkdir()
    >>> (root / "street" / "a.wav").touch()
    >>> _ = (root / "clips.csv").write_text(
    ...     "path,labels,fold\\nstreet/a.wav,siren;dog,1\\n"
    ... )
    >>> (clip,), class_names = read_source(CsvManifest(root / "clips.csv"))
    >>> clip.clip_id, clip.labels, class_names
    ('street-a', ('siren', 'dog'), ['dog', 'siren'])
    """

    owns_folder = False  # the table may lie beside everything else

    def __init__(self, table: str | Path, separator: str = ";"):
        super().__init__(Path(table).parent)
        self.table = Path(table)
        if not isinstance(separator, str) or not separator:
            raise SettingError(
                f"separator is {separator!r}: give the text between two labels, such "
                "as ';'"
            )
        self.separator = separator

    @property
    def listing(self) -> Path:
        """The csv file."""
        return self.table

    def clips(self) -> list[Clip]:
        """List the clips in the order of the file; see :meth:`DataSource.clips`.

        Raises
        ------
        DataError
            If the file or a recording is missing, or a row is wrong.
        """
        if not self.table.is_file():
            raise DataError(
                f"{self.table} {absence(self.table, 'file')}: give the csv file that "
                "lists the clips as `table` of dataset."
            )
        clips = [self._clip(line, row) for line, row in read_table(self.table, COLUMNS)]
        require_recordings(
            clips,
            {clip.path.parent for clip in clips},
            self.table,
            "correct the path, which is relative to the csv file, or remove the row",
        )
        return clips

    def _clip(self, line: int, row: dict[str, str]) -> Clip:
        """Make the clip of a row."""
        # Links are not resolved, since the user may not know their targets.
        path = Path(os.path.normpath(self.folder / row["path"].strip()))
        labels = tuple(label.strip() for label in row["labels"].split(self.separator))
        if not all(labels):
            raise DataError(
                f"{self.table}, line {line}: labels {row['labels']!r} has an empty "
                f"label; write names with one {self.separator!r} between them."
            )
        repeated = [label for label, count in Counter(labels).items() if count > 1]
        if repeated:
            raise DataError(
                f"{self.table}, line {line}: labels {row['labels']!r} has "
                f"{repeated[0]!r} twice; write each label once."
            )
        return Clip(
            clip_id=_path_to_id(row["path"].strip()),
            path=path,
            fold=whole_number(self.table, line, row, "fold"),
            labels=labels,
        )


def _path_to_id(path: str) -> str:
    """Return the id of a clip, from its path in the table."""
    path = Path(os.path.normpath(path)).with_suffix("")
    return "-".join(part for part in path.parts if part not in (path.anchor, ".."))
