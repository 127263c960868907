"""Read options and load the explained classifier, for both sanity commands.

An option is declared and read as a recipe's setting is
(:mod:`lmac_td.experiment.settings`).
"""

import argparse
from collections.abc import Mapping, Sequence

from lmac_td.contracts import Classifier
from lmac_td.errors import SettingError
from lmac_td.experiment.open import Experiment, open_experiment
from lmac_td.experiment.scoring import load_trained
from lmac_td.experiment.settings import DECLARATIONS, declarations
from lmac_td.interpreters.base import Interpreter
from lmac_td.validation import require_choice


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise SettingError(message)


class _Read(argparse.Action):
    """Reads a value by the declaration of its option, which is ``const``."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, self.const.read(values))


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
    lines = {name: {"role": "evaluation", **types[name]} for name in defaults}
    settings = declarations({DECLARATIONS: lines})
    parser = _Parser(add_help=False, allow_abbrev=False)
    for name, value in defaults.items():
        parser.add_argument(
            f"--{name}", default=value, action=_Read, const=settings[name]
        )
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
