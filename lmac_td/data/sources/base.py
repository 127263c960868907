"""The base class of a data source, which lists clips with their folds and labels.

To add a data set, subclass :class:`DataSource` and implement :meth:`DataSource.clips`.
Everything else (checks, splits, decoding, manifests) is the same for all sources.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lmac_td.errors import DataError, SettingError


@dataclass(frozen=True)
class Clip:
    """One recording of a data set.

    Arguments
    ---------
    clip_id : str
        A unique name in the data set. File names begin with it, so it has no ``/``.
    path : Path
        The recording.
    fold : int
        The fold of the clip. Clips that were cut from one recording share a fold.
    labels : tuple of str
        The names of its classes: one; if clips have tags, any number.
    details : dict
        Further entries for the manifest, such as the data set's own class number.
    """

    clip_id: str
    path: Path
    fold: int
    labels: tuple[str, ...]
    details: dict = field(default_factory=dict, compare=False)


class DataSource:
    """A data set: its clips, their folds and their classes.

    Arguments
    ---------
    folder : str or Path
        The folder of the data set.

    Attributes
    ----------
    may_lack_labels : bool
        Whether a clip may have no label. A subclass for tags sets it.
    owns_folder : bool
        Whether all of its folder belongs to the data set. Nothing is written there.

    Example
    -------
    >>> class OneFolderAClass(DataSource):
    ...     def clips(self):
    ...         return [
    ...             Clip(f"{wav.parent.name}-{wav.stem}", wav, 1, (wav.parent.name,))
    ...             for wav in sorted(self.folder.glob("*/*.wav"))
    ...         ]
    >>> import tempfile
    >>> root = tempfile.TemporaryDirectory()
    >>> for name in ("dog/a.wav", "cat/a.wav"):
    ...     path = Path(root.name) / name
    ...     path.parent.mkdir()
    ...     path.touch()
    >>> clips, class_names = read_source(OneFolderAClass(root.name))
    >>> [clip.clip_id for clip in clips], class_names
    (['cat-a', 'dog-a'], ['cat', 'dog'])
    """

    may_lack_labels = False
    owns_folder = True

    def __init__(self, folder: str | Path):
        if folder is None:
            raise SettingError(
                f"the data set ({type(self).__name__}) has no folder: give "
                "--data_folder, or name one in the recipe"
            )
        self.folder = Path(folder)

    @property
    def listing(self) -> Path:
        """The file or folder that lists the clips, for error messages."""
        return self.folder

    @property
    def identity(self) -> str:
        """One line that identifies the data set; saved with trained weights."""
        return f"{type(self).__module__}.{type(self).__qualname__}({self.listing})"

    def obtain(self) -> None:
        """Download or generate the data set if it is missing; by default do nothing."""

    def clips(self) -> list[Clip]:
        """List all clips of the data set.

        Returns
        -------
        list of Clip

        Raises
        ------
        DataError
            If the data set cannot be used.
        """
        raise NotImplementedError

    def class_names(self, clips: list[Clip]) -> list[str]:
        """Return the class names in the order of their class index.

        Arguments
        ---------
        clips : list of Clip
            All clips of the data set.

        Returns
        -------
        list of str
            By default all labels in alphabetical order.
        """
        return sorted({label for clip in clips for label in clip.labels})


def read_source(source: DataSource) -> tuple[list[Clip], list[str]]:
    """List and check the clips and classes of a data source.

    Arguments
    ---------
    source : DataSource

    Returns
    -------
    clips : list of Clip
    class_names : list of str
        By class index.

    Raises
    ------
    DataError
        If there are no clips, two have the same id, a clip lacks a label that it must
        have, a label is not a class name, or the source itself finds a mistake.
    """
    clips = source.clips()
    if not clips:
        raise DataError(f"{source.listing} lists no clips: give another data set.")
    _check_ids(clips, source.listing)
    class_names = source.class_names(clips)
    known = set(class_names)
    for clip in clips:
        if not clip.labels and not source.may_lack_labels:
            raise DataError(
                f"{source.listing} gives {clip.clip_id} no label: give each clip at "
                "least one."
            )
        for label in clip.labels:
            if label not in known:
                raise DataError(
                    f"{source.listing} gives {clip.clip_id} the label {label!r}, which "
                    "is not a class name of the data source: add it to class_names."
                )
    return clips, class_names


def _check_ids(clips: list[Clip], listing: Path) -> None:
    """Refuse ids that are not unique or cannot be part of a file name."""
    counts = Counter(clip.clip_id for clip in clips)
    duplicates = [clip_id for clip_id, count in counts.items() if count > 1]
    if duplicates:
        raise DataError(
            f"{listing} lists {duplicates[0]} {counts[duplicates[0]]} times "
            f"({len(duplicates)} such clips): keep one row per clip."
        )
    for clip_id in counts:
        if not clip_id or "/" in clip_id or "\\" in clip_id:
            raise DataError(
                f"{listing} has a clip with the id {clip_id!r}: file names begin with "
                "it, so it must not be empty and must not contain a slash."
            )


def require_recordings(
    clips: list[Clip], folders: Iterable[Path], listing: Path, remedy: str
) -> None:
    """Refuse clips whose recording is in none of the given folders.

    Arguments
    ---------
    clips : list of Clip
    folders : iterable of Path
        Each is listed once, since one look-up per clip is slow on network disks.
    listing : Path
        The file that lists the clips, for the error message.
    remedy : str
        What the user can do, for the error message.

    Raises
    ------
    DataError
        If a recording is missing.
    """
    present = {
        path for folder in folders if folder.is_dir() for path in folder.iterdir()
    }
    absent = [clip.path for clip in clips if clip.path not in present]
    if absent:
        raise DataError(
            f"{absent[0]} is listed in {listing} but missing ({len(absent)} of "
            f"{len(clips)} clips are): {remedy}."
        )
