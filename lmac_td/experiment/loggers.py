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
        tensorboard = StepsAreEpochs(str(folder))
    except ImportError as error:
        raise SettingError(
            "use_tensorboard is True, but TensorBoard is not installed: "
            "pip install tensorboard, or give --use_tensorboard False"
        ) from error
    return BothLoggers(logger, tensorboard)


class StepsAreEpochs(sb.utils.train_logger.TensorboardLogger):
    """Log to TensorBoard with the epoch as the step, also after a resume.

    SpeechBrain's own logger counts its calls from 1 in every process, so a resumed
    training would be drawn over its first epochs.
    """

    def log_stats(
        self,
        stats_meta,
        train_stats=None,
        valid_stats=None,
        test_stats=None,
        verbose=False,
    ):
        """See ``speechbrain.utils.train_logger.TrainLogger.log_stats``."""
        before = stats_meta["epoch"] - 1  # each value adds one
        self.global_step["meta"] = before
        groups = {"train": train_stats, "valid": valid_stats, "test": test_stats}
        for name, stats in groups.items():
            self.global_step[name] = dict.fromkeys(stats or (), before)
        super().log_stats(stats_meta, train_stats, valid_stats, test_stats, verbose)


class BothLoggers(sb.utils.train_logger.TrainLogger):
    """Pass every line to several of SpeechBrain's loggers."""

    def __init__(self, *loggers):
        self.loggers = loggers

    def log_stats(self, stats_meta, train_stats=None, valid_stats=None, **others):
        """See ``speechbrain.utils.train_logger.TrainLogger.log_stats``."""
        for logger in self.loggers:
            logger.log_stats(stats_meta, train_stats, valid_stats, **others)
