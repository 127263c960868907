"""Log a training to TensorBoard in addition to its text file."""

from pathlib import Path

import speechbrain as sb

from lmac_td.errors import SettingError


def add_tensorboard(logger: sb.utils.train_logger.TrainLogger, folder: Path):
    """Return a logger that also logs to TensorBoard.

    Arguments
    ---------
    logger : speechbrain.utils.train_logger.TrainLogger
    folder : Path
        Folder of TensorBoard's files.

    Returns
    -------
    BothLoggers

    Raises
    ------
    SettingError
        If TensorBoard is not installed.
    """
    try:
        tensorboard = sb.utils.train_logger.TensorboardLogger(str(folder))
    except ImportError as error:
        raise SettingError(
            "use_tensorboard is True, but TensorBoard is not installed: "
            "pip install tensorboard, or give --use_tensorboard False"
        ) from error
    return BothLoggers(logger, tensorboard)


class BothLoggers(sb.utils.train_logger.TrainLogger):
    """Pass every line to several of SpeechBrain's loggers."""

    def __init__(self, *loggers):
        self.loggers = loggers

    def log_stats(self, stats_meta, train_stats=None, valid_stats=None, **others):
        """See ``speechbrain.utils.train_logger.TrainLogger.log_stats``."""
        for logger in self.loggers:
            logger.log_stats(stats_meta, train_stats, valid_stats, **others)
