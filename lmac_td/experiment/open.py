"""What the commands do alike: open an experiment from a recipe and its settings."""

import dataclasses
import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import speechbrain as sb
import torch
from speechbrain.utils.run_opts import RunOptions

from lmac_td.classifiers.check import check_classifier
from lmac_td.contracts import Classifier
from lmac_td.data.loading import on_the_cpu
from lmac_td.data.prepare import check_named_objects, training_conditions
from lmac_td.data.sources.esc50 import ESC50
from lmac_td.errors import SettingError, require_choice, require_number
from lmac_td.experiment.recipe import (
    compose_text,
    load_recipe,
    parse_arguments,
    read_overrides,
)
from lmac_td.files import write_atomically
from lmac_td.runtime.allocator import keep_freed_memory
from lmac_td.training.checkpoints import find_best, load_best, load_weights

# Kept beside what is trained, so that it is never resumed or measured as another.
SETTINGS = "settings.json"
# Settings of mixtures that no training knows.
EVALUATION_MIXTURES = (
    "ljspeech_folder", "mixtures_snr_db", "white_noise_snr_db", "speech_snr_db", "snr",
)  # fmt: skip
# Settings that do not change what is trained.
RUN_SETTINGS = {
    "number_of_epochs", "num_workers", "eval_batch_size", "interpret_period",
    "n_samples", "condition", "references", "download", "generate_corpus",
    "skip_bad_files", "use_tensorboard", "cache_folder", "output_folder",
    "save_folder", "test_fold_nums", "relevance_threshold", "removal_thresholds",
    "export_components", "checkpoint_activations",
    *EVALUATION_MIXTURES,
}  # fmt: skip
# Settings that an evaluation may choose anew.
MIXTURE_SETTINGS = {
    "data_folder", "dataset", "wham_folder", "wham_snr_db", "training mixtures",
    "mixing_seed",
}  # fmt: skip
# Settings that name a folder with something that was trained before.
PRETRAINED_SETTINGS = (
    "pretrained_classifier",
    "pretrained_interpreter",
    "nmf_dictionary",
)
# Settings in which a fine-tuning agrees with what it begins with.
SHARED_WITH_PRETRAINED = (
    "pretrained_classifier", "alpha", "domain", "mask_domain", "classifier_input",
)  # fmt: skip
# Settings that had other names when a folder was made.
RENAMED = {"heard": "classifier_input"}
POSITIVE_SETTINGS = ("number_of_epochs", "batch_size", "eval_batch_size", "lr")


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
        """``--device``, or a GPU if there is one, or the CPU."""
        return self.run_opts.device

    @property
    def settings(self):
        """The recipe's plain values, and what the folders that it names hold."""
        plain = {
            name: value for name, value in self.hparams.items() if _is_plain(value)
        }
        # Of objects, what identifies them.
        plain["dataset"] = self.hparams["dataset"].identity
        training = self.hparams["conditions"].get(self.hparams["training_condition"])
        if training is not None:
            plain["training mixtures"] = training.identity
        classifier = getattr(self.hparams.get("classifier"), "name", None)
        if classifier is not None:
            plain["classifier"] = classifier
        return plain | {
            f"content of {name}": content_of(self.hparams[name])
            for name in PRETRAINED_SETTINGS
            if self.hparams.get(name)
        }

    @property
    def output_folder(self):
        """Where everything that the experiment makes is kept."""
        return Path(self.hparams["output_folder"])

    def prepare(self, *splits, conditions=None, **more):
        """Obtain, check and decode data; see :func:`lmac_td.data.prepare.prepare`.

        Arguments
        ---------
        *splits : str
        conditions : sequence of str, optional
            Those that the command mixes clips in; that of training when left out.
        **more
            Further arguments.

        Returns
        -------
        PreparedData
        """
        return self.hparams["prepare"](splits, conditions=conditions, **more)

    def check_resumable(self):
        """Refuse an output folder whose checkpoints are of other settings.

        Raises
        ------
        SettingError
        """
        if self.has_begun():
            self.check_trained_as(RUN_SETTINGS)

    def has_begun(self):
        """Whether there is a checkpoint to resume from."""
        return any(Path(self.hparams["save_folder"]).glob("CKPT*"))

    def create_output_folder(self):
        """Make the output folder: settings, environment, log."""
        # SpeechBrain resolves the references of one file: give it the whole recipe.
        recipe = self.output_folder / "recipe.yaml"
        with write_atomically(recipe, "w", encoding="utf-8") as file:
            file.write(compose_text(self.recipe, read_overrides(self.overrides)))
        sb.create_experiment_directory(
            experiment_directory=str(self.output_folder),
            hyperparams_to_save=str(recipe),
            overrides=self.overrides or {},
        )
        self.save_settings(self.output_folder)

    def save_settings(self, folder):
        """Write the plain settings into a folder."""
        with write_atomically(Path(folder) / SETTINGS, "w", encoding="utf-8") as file:
            json.dump(self.settings, file, indent=1)

    def check_trained_as(self, ignored):
        """Compare with the settings that the output folder was trained with.

        Arguments
        ---------
        ignored : set of str
            Settings that may differ.

        Raises
        ------
        SettingError
            If another one differs.
        """
        # As a file gives them back: its keys are text.
        settings = json.loads(json.dumps(self.settings))
        for name, trained in read_settings(self.output_folder).items():
            now = settings.get(name)
            if name.startswith("content of "):
                if None in (trained, now) or now == trained:
                    continue
                raise SettingError(
                    f"{name.removeprefix('content of ')} was trained anew after "
                    f"{self.output_folder} was: train this one anew, too (delete it, "
                    "or give another --output_folder)"
                )
            if name not in ignored and now != trained:
                is_object = name in ("dataset", "training mixtures", "classifier")
                remedy = "name it in the recipe" if is_object else f"give --{name}"
                raise SettingError(
                    f"{self.output_folder} was trained with {name} {trained!r}, not "
                    f"{now!r}: {remedy} as it was, or another --output_folder"
                )

    def check_unseen(self):
        """Refuse what was trained on clips that are not to be seen.

        Raises
        ------
        SettingError
            If the classifier, or another thing that the recipe starts from, was
            trained on a fold of this data set that is for validation or test.
        """
        for source in PRETRAINED_SETTINGS:
            folder = self.hparams.get(source)
            trained = read_settings(folder) if folder else {}
            if not self._is_of_this_data_set(trained):
                continue
            for name in ("valid_fold_nums", "test_fold_nums"):
                seen = set(trained.get("train_fold_nums", ())) & set(self.hparams[name])
                if seen:
                    raise SettingError(
                        f"{folder} was trained on fold {min(seen)} of {name}: take "
                        f"that out of --{name}, or give another {source}"
                    )

    def _is_of_this_data_set(self, trained):
        """Whether something with these settings was trained on this data set."""
        if "dataset" in trained:
            return trained["dataset"] == self.hparams["dataset"].identity
        if "data_folder" not in trained:
            return False
        # Before data sources were named, there was the layout of ESC-50 alone.
        return (
            ESC50(trained["data_folder"]).identity == self.hparams["dataset"].identity
        )

    def load_classifier(self):
        """The classifier that is explained: trained, frozen and checked.

        Notes of the check, such as dither that gradients need, are printed.

        Returns
        -------
        Classifier
            On the experiment's device.

        Raises
        ------
        SettingError
            As :meth:`check_unseen`, or if it cannot be explained.
        CheckpointError
            If its weights are missing or belong to another model.
        """
        self.check_unseen()
        hparams = self.hparams
        classifier = hparams["classifier"]
        if not isinstance(classifier, Classifier):
            raise SettingError(
                f"classifier is a {type(classifier).__name__}, no Classifier: name a "
                "class of lmac_td.classifiers, as !new:lmac_td.classifiers.modules."
                "ModuleClassifier around a network of your own"
            )
        classifier.load(
            hparams["pretrained_classifier"],
            Path(hparams["cache_folder"]) / "pretrained",
        )
        classifier = classifier.freeze().to(self.device)
        n_samples = round(hparams["signal_length_s"] * hparams["sample_rate"])
        features = hparams["features"].to(self.device)
        notes = check_classifier(classifier, features, n_samples, self.device)
        for note in notes:
            print(note, flush=True)
        hparams["targets"].of(classifier)
        return classifier

    def load_interpreter(self):
        """Begin with the weights of ``pretrained_interpreter``, where it names a run.

        Raises
        ------
        CheckpointError
            If it holds no trained interpreter, or one of other widths.
        SettingError
            If it was trained for something else.
        """
        folder = self.hparams["pretrained_interpreter"]
        if folder is None or self.has_begun():
            return
        trained = read_settings(folder)
        for name in SHARED_WITH_PRETRAINED:
            now = self.hparams.get(name)
            if name in trained and now != trained[name]:
                raise SettingError(
                    f"pretrained_interpreter {folder} was trained with {name} "
                    f"{trained[name]!r}, not {now!r}: give --{name} as it was, or "
                    "another pretrained_interpreter"
                )
        epoch = load_weights(
            self.hparams["interpreter"], "interpreter", Path(folder) / "save"
        )
        print(f"Beginning with {folder}, epoch {epoch}", flush=True)

    def interpreters(self, argv):
        """What the recipe measures, trained where there is something to train.

        Arguments
        ---------
        argv : list of str
            The command line, to say how to train.

        Returns
        -------
        dict of str to Interpreter
            By the names of their rows, on the experiment's device.
        int or None
            The epoch of the checkpoint; None where there was nothing to train.

        Raises
        ------
        CheckpointError
            If nothing was trained.
        """
        hparams, epoch = self.hparams, None
        if "interpreters" in hparams:
            interpreters = dict(hparams["interpreters"])
        else:
            interpreters = {hparams["experiment_name"]: hparams["interpreter"]}
            if any(p.requires_grad for p in hparams["interpreter"].parameters()):
                epoch = load_best(
                    hparams["checkpointer"],
                    hparams["save_folder"],
                    f"train it with `python train_interpreter.py {shlex.join(argv)}`",
                )
        for interpreter in interpreters.values():
            interpreter.to(self.device).eval()
        return interpreters, epoch

    def conditions(self):
        """What ``condition`` asks for, see :func:`conditions_of`."""
        return conditions_of(self.hparams["condition"], self.hparams["conditions"])

    def training_conditions(self):
        """Names of the conditions that a training may mix its clips in."""
        return training_conditions(self.hparams["conditions"])

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


def conditions_of(wanted, known):
    """Names of the conditions that the setting ``condition`` asks for.

    Arguments
    ---------
    wanted : str or list of str
        ``all``, one name, or several.
    known : sequence of str
        All that the recipe names.

    Returns
    -------
    list of str
        In the order given.

    Raises
    ------
    SettingError
        If one is unknown or named twice, or none is.
    """
    if wanted == "all":
        return list(known)
    if not isinstance(wanted, list):
        require_choice("condition", wanted, ("all", *known))
        return [wanted]
    for condition in wanted:
        require_choice("condition", condition, tuple(known))
    if not wanted or len(set(wanted)) < len(wanted):
        raise SettingError(
            f"condition is {wanted!r}: give --condition all, one name, or a list "
            f"of {', '.join(known)}, each at most once"
        )
    return list(wanted)


class BothLoggers(sb.utils.train_logger.TrainLogger):
    """Pass every line to several of SpeechBrain's loggers."""

    def __init__(self, *loggers):
        self.loggers = loggers

    def log_stats(self, stats_meta, train_stats=None, valid_stats=None, **others):
        """See ``speechbrain.utils.train_logger.TrainLogger.log_stats``."""
        for logger in self.loggers:
            logger.log_stats(stats_meta, train_stats, valid_stats, **others)


def set_up_process():
    """What every command does first: keep memory, and compute float32 as float32."""
    keep_freed_memory()
    # TF32 keeps three digits; ties between probabilities are told apart at six.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def open_experiment(argv, usage, needs):
    """Load the recipe that the command line names.

    Arguments
    ---------
    argv : list of str
        ``recipe.yaml --setting value ...``, or ``--help``.
    usage : str
        What ``--help`` prints before SpeechBrain's run options.
    needs : str or sequence of str
        A setting that the recipes of this command have and others do not, or several,
        of which one is enough.

    Returns
    -------
    Experiment

    Raises
    ------
    SettingError
        If a setting is unknown or cannot work, or the recipe is for another command.
    """
    if "--help" in argv or "-h" in argv:
        print(f"{usage.strip()}\n\nSettings are those of the recipe; besides:\n")
        RunOptions.from_command_line_args(["--help"])  # prints and exits
    set_up_process()
    recipe, run_opts, overrides = parse_arguments(argv)
    experiment = Experiment(
        recipe, load_recipe(recipe, overrides), _with_device(run_opts), overrides
    )
    needs = [needs] if isinstance(needs, str) else needs
    if not set(needs) & set(experiment.hparams):
        raise SettingError(
            f"{recipe} is a recipe for another command (it has no {needs[0]}): give "
            "hparams/cnn14*.yaml to train_classifier.py, hparams/nmf*.yaml to "
            "train_nmf.py, hparams/baselines*.yaml to eval_faithfulness.py alone, the "
            "others to train_interpreter.py and eval_faithfulness.py"
        )
    check_named_objects(experiment.hparams["dataset"], experiment.hparams["conditions"])
    if experiment.device.startswith("cpu"):
        for name in {"train_loader", "eval_loader"} & set(experiment.hparams):
            experiment.hparams[name] = on_the_cpu(
                experiment.hparams[name], experiment.hparams["num_workers"]
            )
    for name in POSITIVE_SETTINGS:
        if name in experiment.hparams:
            require_number(name, experiment.hparams[name])
    return experiment


def _with_device(run_opts):
    """Choose a device where none is given: a GPU of CUDA, or the CPU.

    Other accelerators lack the float64 in which the metrics are computed.
    """
    cuda = torch.cuda.is_available()
    device = run_opts.device or ("cuda" if cuda else "cpu")
    if device.startswith("cuda") and not cuda:
        raise SettingError(
            f"device is {device}, but no CUDA GPU is at hand: give --device cpu"
        )
    if device.startswith("cpu") and (
        "fp16" in (run_opts.precision, run_opts.eval_precision)
        or run_opts.auto_mix_prec  # SpeechBrain's older name of it
    ):
        raise SettingError(
            "precision or eval_precision is fp16, which no CPU computes in: give bf16, "
            "or --device cuda"
        )
    return dataclasses.replace(
        run_opts,
        device=device,
        overridden_args=run_opts.overridden_args | {"device"},
    )


def _is_plain(value):
    """Whether json holds it; of a mapping, such as representations, all its values."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return isinstance(value, (bool, int, float, str, list, type(None)))


def read_settings(folder):
    """The settings that were kept in a folder; none where none were."""
    path = Path(folder) / SETTINGS
    try:
        return renamed(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):  # a file of weights has none
        return {}


def renamed(settings):
    """Kept settings, by the names that they have now.

    Example
    -------
    >>> renamed({"heard": "audio", "seed": 1})
    {'classifier_input': 'audio', 'seed': 1}
    """
    return {RENAMED.get(name, name): value for name, value in settings.items()}


def content_of(folder):
    """The fingerprint of what was trained, another one when it is trained again.

    Arguments
    ---------
    folder : str
        Of a classifier, a dictionary or an interpreter; or a file of weights.

    Returns
    -------
    str or None
        None where there is nothing on this disk.
    """
    best = None if Path(folder).is_file() else find_best(Path(folder) / "save")
    files = [
        *([Path(folder)] if Path(folder).is_file() else []),
        *(
            path
            for kind in ("*.ckpt", "*.npy", "*.safetensors", "*.bin", "*.pt", "*.pth")
            for path in sorted(Path(folder).glob(kind))
        ),
        *([best.paramfiles["interpreter"]] if best else []),
    ]
    if not files:
        return None
    digest = hashlib.sha256()
    for path in files:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:16]
