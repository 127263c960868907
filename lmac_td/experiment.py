"""What the commands do alike: open an experiment from a recipe and its settings."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import speechbrain as sb
from speechbrain.utils.distributed import infer_device
from speechbrain.utils.run_opts import RunOptions

from lmac_td.classifier import load_classifier
from lmac_td.data.datasets import CONDITIONS
from lmac_td.errors import SettingError
from lmac_td.hparams import compose_text, load_recipe, parse_arguments


@dataclass(frozen=True)
class Experiment:
    """A recipe, loaded.

    Attributes
    ----------
    recipe : str
        Path of the yaml.
    hparams : dict
        All it describes, built.
    run_opts : RunOptions
        SpeechBrain's run options.
    overrides : str
        The command line's settings, as yaml.
    """

    recipe: str
    hparams: dict
    run_opts: RunOptions
    overrides: str

    @property
    def device(self):
        """``--device``, or the best one at hand."""
        return self.run_opts.device or infer_device()

    @property
    def output_folder(self):
        """Where everything that the experiment makes is kept."""
        return Path(self.hparams["output_folder"])

    def prepare(self, *splits):
        """Obtain, check and decode data; see :func:`lmac_td.data.prepare.prepare`."""
        return self.hparams["prepare"](splits)

    def create_output_folder(self):
        """Make the output folder: settings, environment, log."""
        # SpeechBrain resolves the references of one file: give it the whole recipe.
        with tempfile.TemporaryDirectory() as folder:
            whole = os.path.join(folder, "recipe.yaml")
            Path(whole).write_text(compose_text(self.recipe), encoding="utf-8")
            sb.create_experiment_directory(
                experiment_directory=str(self.output_folder),
                hyperparams_to_save=whole,
                overrides=self.overrides or {},
            )

    def load_classifier(self):
        """The frozen classifier named by ``pretrained_classifier``."""
        return load_classifier(
            self.hparams["embedding_model"],
            self.hparams["classifier"],
            self.hparams["pretrained_classifier"],
            Path(self.hparams["cache_folder"]) / "pretrained",
        )

    def conditions(self):
        """Names of the conditions that ``condition`` asks for."""
        wanted = self.hparams["condition"]
        if wanted == "all":
            return list(CONDITIONS)
        if wanted not in CONDITIONS:
            raise SettingError(
                f"condition is {wanted!r}, but it can be all, {', '.join(CONDITIONS)}: "
                "give --condition one of them"
            )
        return [wanted]

    def add_tensorboard(self):
        """Log to TensorBoard as well, where ``use_tensorboard`` asks for it."""
        if not self.hparams["use_tensorboard"]:
            return
        try:
            logger = sb.utils.train_logger.TensorboardLogger(
                str(self.output_folder / "tensorboard")
            )
        except ImportError as error:
            raise SettingError(
                "use_tensorboard is True, but TensorBoard is not installed: "
                "pip install tensorboard, or give --use_tensorboard False"
            ) from error
        self.hparams["train_logger"] = BothLoggers(self.hparams["train_logger"], logger)


class BothLoggers(sb.utils.train_logger.TrainLogger):
    """Pass every line to several of SpeechBrain's loggers."""

    def __init__(self, *loggers):
        self.loggers = loggers

    def log_stats(self, stats_meta, train_stats=None, valid_stats=None, **others):
        """See ``speechbrain.utils.train_logger.TrainLogger.log_stats``."""
        for logger in self.loggers:
            logger.log_stats(stats_meta, train_stats, valid_stats, **others)


def open_experiment(argv):
    """Load the recipe that the command line names.

    Arguments
    ---------
    argv : list of str
        ``recipe.yaml --setting value ...``

    Returns
    -------
    Experiment

    Raises
    ------
    SettingError
        If a setting is unknown or cannot work.
    """
    recipe, run_opts, overrides = parse_arguments(argv)
    return Experiment(recipe, load_recipe(recipe, overrides), run_opts, overrides)
