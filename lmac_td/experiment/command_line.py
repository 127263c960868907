"""Read a command line: ``recipe.yaml --device cuda --any_setting value``."""

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

from speechbrain.utils.run_opts import RunOptions

from lmac_td.errors import SettingError
from lmac_td.experiment.build import typed_recipe
from lmac_td.experiment.description import describe_settings
from lmac_td.experiment.run_options import (
    MODULE_KEYS,
    RUN_OPTIONS,
    is_flag,
    read_run_options,
)
from lmac_td.experiment.scalar_types import FALSE, TRUE
from lmac_td.experiment.shipped import find_recipe

HELP = ("--help", "-h")


def parse_arguments(argv: Sequence[str]) -> tuple[str, RunOptions, dict[str, str]]:
    """Parse a command line.

    Arguments
    ---------
    argv : sequence of str
        The arguments without the program's name.

    Returns
    -------
    recipe : str
    run_opts : speechbrain.utils.run_opts.RunOptions
        Options of SpeechBrain's Brain (``--device``, ``--precision``, ...).
    given : dict of str to str
        The remaining settings, as text.

    Raises
    ------
    SettingError
        If the first argument is not a recipe, an argument has no name or value, or a
        run option is not valid.

    Example
    -------
    >>> parse_arguments(["a.yaml", "--lr", "1e1", "--output_folder=run #2"])[2]
    {'lr': '1e1', 'output_folder': 'run #2'}
    """
    if not argv or argv[0].startswith("-"):
        raise SettingError(
            "name a recipe first, then settings, as in hparams/lmac_td.yaml --alpha 0.5"
        )
    recipe, *words = argv
    options, given = {}, {}
    while words:
        word = words.pop(0)
        if not word.startswith("--") or not word.strip("-"):
            raise SettingError(
                f"{word!r} belongs to no setting: write each as --name value"
            )
        name, equals, value = word[2:].partition("=")
        values = [value] if equals else []
        while not equals and words and _belongs_to(name, words[0], values):
            values.append(words.pop(0))
        kind = options if name in RUN_OPTIONS else given
        if name in kind:
            raise SettingError(f"--{name} is given twice: leave one out")
        kind[name] = _only_value(name, values)
    recipe = find_recipe(recipe)
    return recipe, read_run_options(recipe, options), given


def _belongs_to(name, word, values):
    """Return whether the next word of a line is a value of an option."""
    if word.startswith("--"):
        return False
    if name in RUN_OPTIONS and is_flag(name):
        return not values and word.lower() in TRUE + FALSE
    return name in MODULE_KEYS or not values


def _only_value(name, values):
    if name in MODULE_KEYS and values:
        return f"[{', '.join(values)}]"
    if not values and name in RUN_OPTIONS and is_flag(name):
        return "True"
    if not values:
        raise SettingError(f"--{name} has no value: write --{name} VALUE")
    return values[0]


def wants_help(argv: Sequence[str]) -> bool:
    """Return whether a command line asks for help."""
    return any(word in HELP for word in argv)


def print_help(argv: Sequence[str], usage: str, default_recipe: str | Path):
    """Print what a command does, its recipe's settings and SpeechBrain's run options.

    Arguments
    ---------
    argv : sequence of str
        An optional recipe, then settings that change the listed values.
    usage : str
        What the command does.
    default_recipe : str or Path
        The recipe whose settings are listed if none is named.

    Raises
    ------
    SystemExit
        Always: help ends a command.
    """
    words = [word for word in argv if word not in HELP]
    recipe, given = default_recipe, {}
    if words and not words[0].startswith("-"):
        recipe, _, given = parse_arguments(words)
    print(usage.strip())
    lines = describe_settings(typed_recipe(recipe, given))
    print(f"\nSettings of {os.path.relpath(recipe)}:\n\n{textwrap.indent(lines, '  ')}")
    print("\nRun options of SpeechBrain:\n")
    RunOptions.from_command_line_args(["--help"])  # prints and exits
