"""Options of command lines: declared and read as the settings of a recipe are.

For example ``parser.add_argument("--jobs", default=1, **typed("jobs", "int", min=1))``.
"""

import argparse
from pathlib import Path

from lmac_td.errors import SettingError
from lmac_td.experiment.settings import DECLARATIONS, Setting, declarations


class Parser(argparse.ArgumentParser):
    """Raises a mistake as a :class:`SettingError`, as the settings do."""

    def error(self, message):
        """Raise a SettingError in the place of printing the usage."""
        raise SettingError(message)


class Read(argparse.Action):
    """Reads a value by the declaration of its option, which is ``const``."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Store the typed value, or the list of typed values."""
        if isinstance(values, list):
            read = [self.const.read(value) for value in values]
        else:
            read = self.const.read(values)
        setattr(namespace, self.dest, read)


def typed(name: str, kind: str, **limits) -> dict:
    """Return the arguments of ``add_argument`` that give an option a type.

    Arguments
    ---------
    name : str
        The option, for messages.
    kind : str
        A type of a single value, of :mod:`lmac_td.experiment.value_types`.
    **limits
        ``min``, ``max``, ``above``, ``choices``.

    Returns
    -------
    dict

    Example
    -------
    >>> parser = argparse.ArgumentParser()
    >>> _ = parser.add_argument("--jobs", default=1, **typed("jobs", "int", min=1))
    >>> parser.parse_args(["--jobs", "4"])
    Namespace(jobs=4)
    """
    return {"action": Read, "const": declare(name, kind, **limits)}


def declare(name: str, kind: str, **limits) -> Setting:
    """Return the declaration of an option; see :func:`typed`."""
    line = {"role": "run", "type": kind, **limits}
    return declarations({DECLARATIONS: {name: line}})[name]


def text(value: str) -> str:
    """Read an option that is any text; ``type`` of ``add_argument``.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is blank. argparse names the option.
    """
    if not value.strip():
        raise argparse.ArgumentTypeError("it is empty: give a value, or leave it out")
    return value


def path(value: str) -> Path:
    """Read an option that is a path; ``type`` of ``add_argument``.

    Names may have any bytes. The file system refuses names that are too long.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is blank, which would be the current folder.
    """
    return Path(text(value))


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add ``--columns``, ``--by_condition`` and ``--no_intervals``."""
    parser.add_argument(
        "--columns",
        nargs="+",
        type=text,
        default=[],
        metavar="NAME",
        help='such as AI "eta (99)"',
    )
    parser.add_argument(
        "--by_condition",
        nargs="+",
        type=text,
        default=[],
        metavar="NAME",
        help="columns that also get a table each, with one column per condition",
    )
    parser.add_argument(
        "--no_intervals", action="store_true", help="print no intervals over clips"
    )
