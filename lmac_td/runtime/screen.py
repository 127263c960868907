"""Select what a training shows on the screen: one line per epoch, and warnings.

``LOG_CONFIG`` is the configuration of Python's logging for SpeechBrain's
``create_experiment_directory``. All messages go to ``log.txt`` in the output folder.
"""

import logging
import sys
from pathlib import Path

from speechbrain.utils.logger import TqdmCompatibleStreamHandler

LOG_CONFIG = Path(__file__).with_name("log_config.yaml")

# The logger of SpeechBrain's FileTrainLogger, which logs one line per epoch.
EPOCH_LOGGER = "speechbrain.utils.train_logger"


class ScreenFilter(logging.Filter):
    """Passes the lines of epochs, and all warnings and errors.

    Example
    -------
    >>> def passes(name, level):
    ...     record = logging.LogRecord(name, level, "", 0, "text", None, None)
    ...     return ScreenFilter().filter(record)
    >>> passes(EPOCH_LOGGER, logging.INFO)
    True
    >>> passes("speechbrain.utils.checkpoints", logging.INFO)
    False
    >>> passes("speechbrain.utils.checkpoints", logging.WARNING)
    True
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message is shown."""
        return record.levelno >= logging.WARNING or record.name == EPOCH_LOGGER


class ScreenHandler(TqdmCompatibleStreamHandler):
    """SpeechBrain's handler, which lets a command end when nobody reads the screen."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Raise the error of a pipe that nobody reads; print other errors."""
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            raise
        super().handleError(record)
