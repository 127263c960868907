"""What the commands of the sanity checks do alike: options, and what is explained."""

import argparse
import shlex

import ruamel.yaml

from lmac_td.checkpoints import load_best
from lmac_td.errors import SettingError, require_choice, require_number

# What training clips can be, and so what is explained and retrained on.
MIXTURES = ("in_domain", "clean")


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
    if value != int(value):
        raise SettingError(f"{name} is {value!r}: give --{name} a whole number")


def require_mixture(options):
    """Refuse an option ``sanity_condition`` that training knows nothing of.

    Raises
    ------
    SettingError
    """
    require_choice("sanity_condition", options.sanity_condition, MIXTURES)


def load_interpreters(experiment, argv):
    """The recipe's interpreters, trained where there is something to train.

    Arguments
    ---------
    experiment : Experiment
        Of a recipe with ``interpreter`` or ``interpreters``.
    argv : list of str
        Its command line, to say how to train.

    Returns
    -------
    dict of str to Interpreter
        By the names of their rows, on the experiment's device.

    Raises
    ------
    CheckpointError
        If nothing was trained.
    """
    hparams = experiment.hparams
    if "interpreters" in hparams:
        interpreters = dict(hparams["interpreters"])
    else:
        interpreters = {hparams["experiment_name"]: hparams["interpreter"]}
        if any(p.requires_grad for p in hparams["interpreter"].parameters()):
            load_best(
                hparams["checkpointer"],
                hparams["save_folder"],
                f"train it with `python train_interpreter.py {shlex.join(argv)}`",
            )
    for interpreter in interpreters.values():
        interpreter.to(experiment.device).eval()
    return interpreters
