"""The contract of a data source: a class that lists clips, their folds and labels.

A source of your own subclasses :class:`DataSource` and writes :meth:`DataSource.clips`.
Everything else (checks, splits, decoding, manifests) is the same for all sources.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lmac_td.errors import DataError


@dataclass(frozen=True)
class Clip:
    """One recording of a data set.

    Arguments
    ---------
    clip_id : str
        A name that no other clip of the data set has. It is also the beginning of file
        names, so it holds no ``/``.
    path : Path
        The recording.
    fold : int
        The fold it belongs to. Clips cut from one recording share a fold.
    labels : tuple of str
        The names of its classes: one, or several if the clip has several tags.
    details : dict
        More entries of the clip in the manifest, such as the data set's own numbers.
    """

    clip_id: str
    path: Path
    fold: int
    labels: tuple
    details: dict = field(default_factory=dict, compare=False)


class DataSource:
    """A data set: its clips, their folds and their classes.

    Arguments
    ---------
    folder : str or Path
        The folder of the data set.

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

    def __init__(self, folder):
        self.folder = Path(folder)

    @property
    def listing(self):
        """The file or folder that lists the clips; errors name it."""
        return self.folder

    @property
    def identity(self):
        """One line that identifies the data set; saved with what is trained on it."""
        return f"{type(self).__module__}.{type(self).__qualname__}({self.listing})"

    def obtain(self):
        """Download or make the data set if it is missing; does nothing by default."""

    def clips(self):
        """List all clips of the data set.

        Returns
        -------
        list of Clip

        Raises
        ------
        DataError
            The data set is not what it should be.
        """
        raise NotImplementedError

    def class_names(self, clips):
        """Name the classes in the order of their class index.

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


def read_source(source):
    """List the clips of a data source, and check them.

    Arguments
    ---------
    source : DataSource

    Returns
    -------
    clips : list of Clip
    class_names : list of str
        The class index is the position.

    Raises
    ------
    DataError
        There are no clips, two have the same id, a clip has no label or one that is no
        class, or the source itself finds a mistake.
    """
    clips = source.clips()
    if not clips:
        raise DataError(f"{source.listing} lists no clips: give another data set.")
    _check_ids(clips, source.listing)
    class_names = source.class_names(clips)
    known = set(class_names)
    for clip in clips:
        if not clip.labels:
            raise DataError(
                f"{source.listing} gives {clip.clip_id} no label: give each clip at "
                "least one."
            )
        for label in clip.labels:
            if label not in known:
                raise DataError(
                    f"{source.listing} gives {clip.clip_id} the label {label!r}, which "
                    "is none of the class names of the data source: add it to them."
                )
    return clips, class_names


def _check_ids(clips, listing):
    counts = Counter(clip.clip_id for clip in clips)
    duplicates = [clip_id for clip_id, count in counts.items() if count > 1]
    if duplicates:
        raise DataError(
            f"{listing} lists {duplicates[0]} {counts[duplicates[0]]} times "
            f"({len(duplicates)} such clips): keep one row a clip."
        )
    for clip_id in counts:
        if not clip_id or "/" in clip_id or "\\" in clip_id:
            raise DataError(
                f"{listing} has a clip with the id {clip_id!r}: an id begins file "
                "names, so it must have a letter and no slash."
            )


def require_recordings(clips, folders, listing, remedy):
    """Refuse clips whose recording is in none of the given folders.

    Arguments
    ---------
    clips : list of Clip
    folders : iterable of Path
        Each is listed once, since a look-up per clip is slow on network disks.
    listing : Path
        The file that lists the clips, named by the error.
    remedy : str
        Ends the error: what the user can do.

    Raises
    ------
    DataError
        A recording is missing.
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
