"""Read options and load what is explained, for all sanity commands.

An option is declared and read as a recipe's setting is
(:mod:`lmac_td.experiment.settings`).
"""

import argparse
from collections.abc import Mapping, Sequence

from speechbrain.dataio.dataloader import make_dataloader

from lmac_td.cli.options import Parser, typed
from lmac_td.contracts import Classifier
from lmac_td.data.prepare import PreparedData
from lmac_td.errors import SettingError
from lmac_td.experiment.build import typed_recipe
from lmac_td.experiment.command_line import wants_help
from lmac_td.experiment.open import Experiment, open_experiment
from lmac_td.experiment.run_options import RUN_OPTIONS
from lmac_td.experiment.scoring import load_trained
from lmac_td.experiment.shipped import find_recipe
from lmac_td.interpreters.base import Interpreter
from lmac_td.targets import label_name
from lmac_td.validation import require_choice


def read_options(
    argv: Sequence[str], defaults: Mapping[str, object], types: Mapping[str, Mapping]
) -> tuple[argparse.Namespace, list[str]]:
    """Read the options of a command, and return the rest of its line.

    Arguments
    ---------
    argv : sequence of str
    defaults : mapping of str to object
        Values by name; given as ``--name value``.
    types : mapping of str to mapping
        Type and limits of each option, as in the ``settings`` of a recipe.

    Returns
    -------
    argparse.Namespace
    list of str
        The recipe and its settings.

    Raises
    ------
    SettingError
        If an option has no value, or a value of another type or outside its limits.

    Example
    -------
    >>> types = {"n_clips": {"type": "int", "min": 2}}
    >>> read_options(["a.yaml", "--n_clips", "4", "--lr", "1"], {"n_clips": 16}, types)
    (Namespace(n_clips=4), ['a.yaml', '--lr', '1'])
    """
    parser = Parser(add_help=False, allow_abbrev=False)
    for name, value in defaults.items():
        limits = dict(types[name])
        kind = limits.pop("type")
        parser.add_argument(f"--{name}", default=value, **typed(name, kind, **limits))
    return parser.parse_known_args(argv)


def open_explained(
    argv: Sequence[str], usage: str, sanity_condition: str
) -> tuple[Experiment, dict[str, Interpreter], Classifier]:
    """Load the interpreters of a recipe and the classifier that they explain.

    Arguments
    ---------
    argv : sequence of str
        The recipe's part of the command line.
    usage : str
        What ``--help`` prints.
    sanity_condition : str
        The condition in which clips are explained; it must be one of training.

    Returns
    -------
    Experiment
        Its ``features``, interpreters and classifier are on its device.
    dict of str to Interpreter
        The interpreters by the names of their rows.
    Classifier

    Raises
    ------
    SettingError
        If the recipe is for another command, or was trained with other settings, the
        condition is not one of training, or a method cannot explain the classifier.
    CheckpointError
        If nothing was trained.
    """
    experiment = open_experiment(argv, usage, needs=("interpreter", "interpreters"))
    possible = experiment.training_conditions()
    require_choice("sanity_condition", sanity_condition, possible)
    trained = load_trained(experiment, argv)
    for interpreter in trained.methods.values():
        interpreter.check(trained.classifier)
    return experiment, trained.methods, trained.classifier


# Settings that a further recipe does not take from the command line.
_OF_THE_FIRST = {"output_folder", "experiment_name"}


def open_side_by_side(
    argv: Sequence[str], usage: str, sanity_condition: str
) -> tuple[Experiment, dict[str, Interpreter], Classifier]:
    """Load the interpreters of one or several recipes for one classifier.

    Arguments
    ---------
    argv : sequence of str
        Recipes, then settings. Each recipe takes the settings that it has; a further
        one keeps its own output folder.
    usage, sanity_condition : str
        As for :func:`open_explained`.

    Returns
    -------
    Experiment
        That of the first recipe.
    dict of str to Interpreter
        The interpreters of all recipes by the names of their rows.
    Classifier

    Raises
    ------
    SettingError
        As :func:`open_explained`; or if the recipes differ in the mixtures or in the
        classifier, two methods have one name, or a setting belongs to no recipe.
    CheckpointError
        If nothing was trained.
    """
    n_recipes = next(
        (i for i, word in enumerate(argv) if word.startswith("-")), len(argv)
    )
    recipes, words = argv[:n_recipes], argv[n_recipes:]
    if len(recipes) < 2 or wants_help(argv):
        return open_explained([*recipes[:1], *words], usage, sanity_condition)
    known = [set(typed_recipe(find_recipe(recipe), {})) for recipe in recipes]
    of_others = set().union(*known[1:]) - known[0]
    first = open_explained(
        [recipes[0], *_without(words, of_others)], usage, sanity_condition
    )
    experiment, methods, classifier = first
    for recipe, own in zip(recipes[1:], known[1:], strict=True):
        foreign = set().union(*known) - own | _OF_THE_FIRST
        other, more, _ = open_explained(
            [recipe, *_without(words, foreign)], usage, sanity_condition
        )
        _require_same_mixtures(experiment, other)
        if twice := sorted(set(methods) & set(more)):
            raise SettingError(
                f"a method of {recipe} is named {twice[0]}, as one of another recipe: "
                "leave one of them out"
            )
        methods = methods | more
    return experiment, methods, classifier


def _without(words, names):
    """Return the words of a command line without some settings and their values."""
    left, keeps = [], True
    for word in words:
        if word.startswith("--"):
            name = word[2:].partition("=")[0]
            keeps = name in RUN_OPTIONS or name not in names
        if keeps:
            left.append(word)
    return left


def _require_same_mixtures(first, other):
    ours, theirs, roles = first.settings, other.settings, first.roles
    for name in sorted(ours.keys() & theirs.keys()):
        if "mixture" in roles.get(name, ()) and ours[name] != theirs[name]:
            raise SettingError(
                f"{name} is {ours[name]!r} in {first.recipe} and {theirs[name]!r} in "
                f"{other.recipe}: give both the same, as with --{name}"
            )


def sample_batches(
    data: PreparedData, n_clips: int, condition: str, loader_settings: Mapping
) -> list:
    """Return batches of test clips, spread over the classes.

    Arguments
    ---------
    data : PreparedData
    n_clips : int
    condition : str
    loader_settings : mapping
        Arguments of SpeechBrain's ``make_dataloader``.

    Returns
    -------
    list of PaddedBatch
    """
    wanted = data.sample_ids("test", n_clips)
    clips = data.dataset("test", condition).filtered_sorted(
        key_test={"id": wanted.__contains__}
    )
    return list(make_dataloader(clips, **loader_settings))


def require_ascending(name: str, levels: Sequence[float], example: str) -> None:
    """Refuse levels that are not in ascending order.

    Arguments
    ---------
    name : str
        The option.
    levels : sequence of float
    example : str

    Raises
    ------
    SettingError
    """
    if not levels or sorted(set(levels)) != levels:
        raise SettingError(
            f"{name} is {levels}: give --{name} in ascending order, each once, such as "
            f"{example}"
        )


def name_of_clip(batch, class_names: Sequence[str]) -> str:
    """Return the id and the label of the first clip of a batch, for a title.

    Arguments
    ---------
    batch : PaddedBatch
        One of :func:`sample_batches`.
    class_names : sequence of str
        Names of the labels.
    """
    label = label_name(class_names, int(batch.class_index[0]))
    return f"{batch.id[0]} ({label})"
