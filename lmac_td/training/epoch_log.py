"""The log of a training: one line for each epoch, also after it was resumed."""

import re
from pathlib import Path

from speechbrain.utils.train_logger import TrainLogger

from lmac_td.files import write_atomically
from lmac_td.reading import read_text


def forget_epochs(train_logger: TrainLogger, after: int) -> None:
    """Remove the lines of epochs that come again, from the files of a logger.

    A training that was killed after it logged an epoch and before it saved it repeats
    this epoch.

    Arguments
    ---------
    train_logger : TrainLogger
        SpeechBrain's FileTrainLogger, or one with several ``loggers``; others are left
        as they are.
    after : int
        The last finished epoch; 0 before the first.

    Example
    -------
    >>> import tempfile
    >>> from speechbrain.utils.train_logger import FileTrainLogger
    >>> path = Path(tempfile.mkdtemp()) / "train_log.txt"
    >>> logger = FileTrainLogger(path)
    >>> for epoch in (1, 2, 3):
    ...     logger.log_stats({"epoch": epoch}, verbose=False)
    >>> forget_epochs(logger, after=2)
    >>> path.read_text()
    'epoch: 1\\nepoch: 2\\n'
    """
    for logger in getattr(train_logger, "loggers", [train_logger]):
        path = getattr(logger, "save_file", None)
        if path is not None and Path(path).is_file():
            _keep_until(Path(path), after)


def _keep_until(path, last):
    lines = read_text(path).splitlines(keepends=True)
    kept = [line for line in lines if _epoch_of(line) <= last]
    if kept != lines:
        with write_atomically(path, "w", encoding="utf-8") as file:
            file.writelines(kept)


def _epoch_of(line):
    """Return the epoch of a line; 0 for what is no line of an epoch."""
    found = re.match(r"epoch: (\d+)\b", line)
    return int(found[1]) if found else 0
