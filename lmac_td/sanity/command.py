"""What the commands of the sanity checks do alike: their options, their beginning."""

import argparse

import ruamel.yaml

from lmac_td.errors import SettingError, require_choice, require_number
from lmac_td.experiment.open import open_experiment


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise SettingError(message)


def read_options(argv, defaults):
    """Options of a command, and the rest of its line, which is a recipe's.

    Arguments
    ---------
    argv : list of str
    defaults : dict
        Values by name; given as ``--name value``, read as yaml.

    Returns
    -------
    argparse.Namespace
    list of str

    Raises
    ------
    SettingError
        If an option has no value, or one that cannot be read.

    Example
    -------
    >>> read_options(["a.yaml", "--n_clips", "4", "--lr", "1"], {"n_clips": 16})
    (Namespace(n_clips=4), ['a.yaml', '--lr', '1'])
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", default=value, type=_plain)
    return parser.parse_known_args(argv)


def _plain(text):
    try:
        return ruamel.yaml.YAML(typ="safe").load(text)
    except ruamel.yaml.error.YAMLError as error:
        raise argparse.ArgumentTypeError(f"cannot read {text!r}") from error


def require_count(name, value, least=1):
    """Refuse an option that is no whole number, or a smaller one.

    Raises
    ------
    SettingError
    """
    require_number(name, value, least=least)
    if not isinstance(value, int):
        raise SettingError(f"{name} is {value!r}: give --{name} a whole number")


def open_explained(argv, usage, sanity_condition):
    """Load what a recipe explains by, and the classifier that it explains.

    Arguments
    ---------
    argv : list of str
        The recipe's part of the command line.
    usage : str
        What ``--help`` prints.
    sanity_condition : str
        The condition that clips are explained and retrained in: one of training.

    Returns
    -------
    Experiment
        Its ``features``, as all that follows, on its device.
    dict of str to Interpreter
        By the names of their rows.
    Classifier

    Raises
    ------
    SettingError
        If the recipe is for another command, or was trained with other settings, the
        condition is none of training, or a method cannot explain the classifier.
    CheckpointError
        If nothing was trained.
    """
    experiment = open_experiment(argv, usage, needs=("interpreter", "interpreters"))
    possible = experiment.training_conditions()
    require_choice("sanity_condition", sanity_condition, possible)
    experiment.check_measurable()
    methods, _ = experiment.interpreters(argv)
    experiment.hparams["features"].to(experiment.device)
    classifier = experiment.load_classifier().to(experiment.device)
    for interpreter in methods.values():
        interpreter.check(classifier)
    return experiment, methods, classifier
