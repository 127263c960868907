"""Open an experiment: a recipe and the settings of a command line."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import speechbrain as sb
from speechbrain.utils.run_opts import RunOptions

from lmac_td.contracts import Classifier
from lmac_td.data.loading import adapt_to_cpu
from lmac_td.data.prepare import PreparedData, check_named_objects, training_conditions
from lmac_td.data.sources.content import content_of
from lmac_td.errors import SettingError
from lmac_td.experiment import guards, kept, weights
from lmac_td.experiment.beside import missing_weights
from lmac_td.experiment.build import build_recipe, typed_recipe
from lmac_td.experiment.command_line import parse_arguments, print_help, wants_help
from lmac_td.experiment.conditions import EVALUATION, conditions_of
from lmac_td.experiment.fingerprint import fingerprint
from lmac_td.experiment.loggers import add_tensorboard
from lmac_td.experiment.recipe import named_in
from lmac_td.experiment.second_classifier import SETTING as SECOND_CLASSIFIER
from lmac_td.experiment.second_classifier import (
    NamedSecondClassifier,
    load_second_classifier,
)
from lmac_td.experiment.settings import (
    declarations,
    is_fixed_when_measured,
    is_fixed_when_resumed,
    names_with_role,
)
from lmac_td.experiment.shipped import HPARAMS
from lmac_td.experiment.tried_out import nothing_kept, written_elsewhere
from lmac_td.experiment.yaml_files import dump_yaml
from lmac_td.files import (
    remove_leftovers,
    remove_leftovers_of,
    temporary_folder_beside,
    write_atomically,
)
from lmac_td.locks import one_writer
from lmac_td.runtime.distributed import join, on_main
from lmac_td.runtime.process import set_up_process
from lmac_td.runtime.screen import LOG_CONFIG
from lmac_td.training.checkpoints import has_checkpoint, list_checkpoints
from lmac_td.training.export import CARD
from lmac_td.training.export_interpreter import RECIPE

# What evaluations write into an output folder, while a training may run there.
WRITTEN_BY_OTHERS = (EVALUATION, CARD)
SANITY = "sanity"  # folder of sanity checks in an output folder


@dataclass(frozen=True)
class Experiment:
    """A recipe with everything that it builds.

    Attributes
    ----------
    recipe : str
        Path of the yaml.
    hparams : dict
        All objects and values of the recipe.
    run_opts : RunOptions
        SpeechBrain's run options.
    tree : mapping
        The composed recipe with the settings of the command line, before building.
    """

    recipe: str
    hparams: dict
    run_opts: RunOptions
    tree: Mapping = field(repr=False)

    @property
    def device(self) -> str:
        """``--device``, or a GPU if there is one, or the CPU."""
        return self.run_opts.device

    @property
    def output_folder(self) -> Path:
        """The folder of all results of the experiment."""
        return Path(self.hparams["output_folder"])

    @property
    def nothing_kept(self) -> str | None:
        """What a command that was only tried out says, with ``--debug``."""
        return nothing_kept(self.run_opts)

    @property
    def settings(self) -> dict:
        """The recipe's plain values, and the identity of its objects."""
        hparams = self.hparams
        plain = {name: value for name, value in hparams.items() if _is_plain(value)}
        plain["dataset"] = hparams["dataset"].identity
        plain[guards.CLIPS] = content_of(hparams["dataset"])
        training = hparams["conditions"].get(hparams["training_condition"])
        if training is not None:
            plain[guards.TRAINING_MIXTURES] = training.identity
        classifier = getattr(hparams.get("classifier"), "name", None)
        if classifier is not None:
            plain["classifier"] = classifier
        return plain | {
            f"{guards.CONTENT}{name}": fingerprint(hparams[name])
            for name in sorted(names_with_role(self.tree, "pretrained"))
            if hparams.get(name)
        }

    @property
    def roles(self) -> dict[str, tuple]:
        """Roles of the settings, by name."""
        declared = {name: s.roles for name, s in declarations(self.tree).items()}
        of_pretrained = {
            f"{guards.CONTENT}{name}": roles
            for name, roles in declared.items()
            if "pretrained" in roles
        }
        mixtures = {guards.TRAINING_MIXTURES: ("training", "evaluation")}
        clips = {guards.CLIPS: declared["dataset"]} if "dataset" in declared else {}
        return declared | of_pretrained | mixtures | clips

    def prepare(
        self, *splits: str, conditions: Sequence[str] | None = None, **more
    ) -> PreparedData:
        """Obtain, check and decode data; see :func:`lmac_td.data.prepare.prepare`.

        Of several processes the main one does this, and the others wait.

        Arguments
        ---------
        *splits : str
        conditions : sequence of str, optional
            Conditions to prepare; by default that of training.
        **more
            Further arguments.

        Returns
        -------
        PreparedData
        """
        return on_main(self.hparams["prepare"], splits, conditions=conditions, **more)

    def has_begun(self) -> bool:
        """Return whether there is a checkpoint to resume from."""
        return has_checkpoint(self.hparams["save_folder"])

    def check_resumable(self):
        """Refuse an output folder whose checkpoints were made with other settings.

        Raises
        ------
        SettingError
        """
        if self.has_begun():
            self._check_trained_as(is_fixed_when_resumed)

    def check_measurable(self):
        """Refuse to measure a run with settings that it was not trained with.

        Raises
        ------
        SettingError
        """
        self._check_trained_as(is_fixed_when_measured)

    def _check_trained_as(self, is_fixed):
        guards.check_trained_as(self.output_folder, self.settings, self.roles, is_fixed)

    def check_unseen(self):
        """See :func:`lmac_td.experiment.guards.check_unseen`."""
        guards.check_unseen(self.hparams, names_with_role(self.tree, "pretrained"))

    @contextmanager
    def evaluation(self, folder: Path) -> Iterator[Path]:
        """Hold the folder of an evaluation, and tidy what is beside it.

        Arguments
        ---------
        folder : Path
            Below the output folder.

        Yields
        ------
        Path
            The name of a new folder, to be filled and to replace the other one.

        Raises
        ------
        SettingError
            If another process writes this evaluation.
        """
        with one_writer(folder.parent, folder.name):
            remove_leftovers_of(folder)
            with temporary_folder_beside(folder) as scratch:
                yield scratch / folder.name

    @contextmanager
    def sanity_check(self, name: str) -> Iterator[Path]:
        """Hold the folder of sanity checks for one of them.

        Arguments
        ---------
        name : str
            Of the check, such as ``roar``.

        Yields
        ------
        Path
            ``<output_folder>/sanity``.

        Raises
        ------
        SettingError
            If another process makes this check.
        """
        folder = self.output_folder / SANITY
        with one_writer(folder, name):
            yield folder

    @contextmanager
    def training(self) -> Iterator[None]:
        """Hold the output folder for a training, and tidy it.

        Of several processes the main one holds it.

        Raises
        ------
        SettingError
            If another process trains in the folder, or its checkpoints were made with
            other settings.
        """
        with ExitStack() as held:
            on_main(self._hold, held)
            try:
                yield
            except KeyboardInterrupt as interruption:
                if "save_folder" in self.hparams:
                    interruption.remark = self._how_to_resume()
                raise

    def _how_to_resume(self):
        found = list_checkpoints(self.hparams["save_folder"])
        where = f"resumes from {found[0].path}" if found else "begins anew"
        return f"the same command {where}."

    def _hold(self, held: ExitStack) -> None:
        held.enter_context(one_writer(self.output_folder, "training"))
        if "save_folder" in self.hparams:
            self.check_resumable()  # another process may have trained meanwhile
        remove_leftovers(self.output_folder, WRITTEN_BY_OTHERS)

    def create_output_folder(self):
        """Make the output folder: settings, environment, log.

        Raises
        ------
        SettingError
            If ``log_config`` does not configure a log.
        """
        on_main(self._create_output_folder)

    def _create_output_folder(self):
        # SpeechBrain resolves the references of one file: give it the whole recipe.
        recipe = self.output_folder / RECIPE
        with write_atomically(recipe, "w", encoding="utf-8") as file:
            file.write(dump_yaml(self.tree))
        given = self.run_opts.log_config
        try:
            sb.create_experiment_directory(
                experiment_directory=str(self.output_folder),
                hyperparams_to_save=str(recipe),
                overrides={},
                log_config=given or str(LOG_CONFIG),
            )
        except ValueError as error:  # of Python's logging
            if given is None:
                raise
            raise SettingError(f"log_config {given}: {error}: correct it") from error
        self.save_settings(self.output_folder)

    def save_settings(self, folder: str | Path):
        """Write the plain settings and their roles into a folder."""
        kept.save_settings(folder, self.settings, self.roles)

    def load_classifier(self):
        """Load the classifier that is explained: trained, frozen and checked.

        Returns
        -------
        Classifier
            See :func:`lmac_td.experiment.weights.load_classifier`.

        Raises
        ------
        SettingError
            In the cases of :meth:`check_unseen`, or if it cannot be explained.
        CheckpointError
            If its weights are missing or belong to another model.
        """
        self.check_unseen()
        return weights.load_classifier(self.hparams, self.device)

    def load_second_classifier(self, first: Classifier) -> NamedSecondClassifier | None:
        """Load the classifier that judges the explanations of the first one.

        Arguments
        ---------
        first : Classifier
            The classifier that is explained, loaded.

        Returns
        -------
        NamedSecondClassifier or None
            See :func:`~lmac_td.experiment.second_classifier.load_second_classifier`.

        Raises
        ------
        SettingError
            If it was trained on a test fold, cannot be asked, or has other classes.
        CheckpointError
            If its weights are missing or belong to another model.
        """
        guards.check_unseen(self.hparams, [SECOND_CLASSIFIER], ["test_fold_nums"])
        return load_second_classifier(
            self.recipe, self.tree, self.hparams, first, self.device
        )

    def load_interpreter(self):
        """Load the weights of ``pretrained_interpreter``, if it names a run.

        Raises
        ------
        CheckpointError
            If it holds no trained interpreter, or one of other widths.
        SettingError
            If it was trained for another classifier, or the interpreter was another.
        """
        folder = self.hparams["pretrained_interpreter"]
        if folder is None or self.has_begun():
            return
        guards.check_begins_with(folder, self.settings, self._shared_with_pretrained())
        weights.begin_with(self.hparams, folder)

    def _shared_with_pretrained(self):
        """Settings of the interpreter's inputs, and of the classifier it explains."""
        given = named_in(self.tree["interpreter"])
        given &= names_with_role(self.tree, "training")
        given -= names_with_role(self.tree, "evaluation")  # not fixed by a training
        pretrained = names_with_role(self.tree, "pretrained")
        return given | (pretrained & names_with_role(self.tree, "mixture"))

    def conditions(self) -> list[str]:
        """Return names of the conditions that ``condition`` asks for."""
        return conditions_of(self.hparams["condition"], self.hparams["conditions"])

    def training_conditions(self) -> list[str]:
        """Return names of the conditions that a training may mix its clips in."""
        return training_conditions(self.hparams["conditions"])

    def add_tensorboard(self):
        """Log to TensorBoard as well, if ``use_tensorboard`` is True."""
        if self.hparams["use_tensorboard"]:
            self.hparams["train_logger"] = add_tensorboard(
                self.hparams["train_logger"], self.output_folder / "tensorboard"
            )


def open_experiment(
    argv: Sequence[str],
    usage: str,
    needs: str | Sequence[str],
    default_recipe: str | Path = HPARAMS / "lmac_td.yaml",
    trains: bool = False,
) -> Experiment:
    """Load the recipe that the command line names.

    Arguments
    ---------
    argv : sequence of str
        ``recipe.yaml --setting value ...``, or ``--help``.
    usage : str
        What ``--help`` prints first.
    needs : str or sequence of str
        A setting that only the recipes of this command have, or several,
        of which one is enough.
    default_recipe : str or Path
        The recipe whose settings ``--help`` lists if none is named.
    trains : bool
        Whether the command trains by SpeechBrain: processes of a launcher then work
        together, and ``--debug`` writes into a temporary folder.

    Returns
    -------
    Experiment

    Raises
    ------
    SettingError
        If a setting is unknown or not valid, or the recipe is for another command.
    """
    if wants_help(argv):
        print_help(argv, usage, default_recipe)
    recipe, run_opts, given = parse_arguments(argv)
    if trains:
        run_opts, given = written_elsewhere(join(run_opts), given)
    elif run_opts.debug:
        raise SettingError("debug is for trials of a training: leave it out")
    tree = typed_recipe(recipe, given)
    beside = missing_weights(tree, recipe, given)
    if beside:
        tree = typed_recipe(recipe, {**given, **beside})
    needs = [needs] if isinstance(needs, str) else needs
    if not set(needs) & set(tree):
        raise SettingError(
            f"{recipe} is a recipe for another command (it has no {needs[0]}): give "
            "hparams/cnn14*.yaml to train_classifier.py, hparams/nmf*.yaml to "
            "train_nmf.py, hparams/baselines*.yaml to eval_faithfulness.py alone, the "
            "others to train_interpreter.py and eval_faithfulness.py"
        )
    set_up_process()
    experiment = Experiment(recipe, build_recipe(recipe, tree), run_opts, tree)
    hparams = experiment.hparams
    check_named_objects(hparams["dataset"], hparams["conditions"])
    guards.check_row_names(hparams)
    inputs = guards.input_folders(hparams)
    for name in ("output_folder", "cache_folder", "save_folder"):
        if name in hparams:
            guards.check_folder(name, hparams[name], inputs)
    if experiment.device.startswith("cpu"):
        for name in {"train_loader", "eval_loader"} & set(hparams):
            hparams[name] = adapt_to_cpu(hparams[name], hparams["num_workers"])
    return experiment


def _is_plain(value):
    """Return whether json can hold a value; a mapping needs all values plain."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return isinstance(value, (bool, int, float, str, list, type(None)))
