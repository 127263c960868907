"""Parse the settings of a command line, before the recipes are known."""

from __future__ import annotations

from collections.abc import Sequence

from lmac_td.errors import SettingError


def grouped(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Parse ``--name value value ...`` into the values of each name.

    Arguments
    ---------
    arguments : sequence of str

    Returns
    -------
    dict of str to list of str

    Raises
    ------
    SettingError
        If a value has no name, or a name is given twice.

    Example
    -------
    >>> grouped(["--alpha", "0", "0.5", "--size", "small"])
    {'alpha': ['0', '0.5'], 'size': ['small']}
    """
    found, name = {}, None
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            if name in found:
                raise SettingError(f"--{name} is given twice: leave one out")
            found[name] = [value] if equals else []
        elif name is None:
            raise SettingError(f"{argument!r} has no name: write --name {argument}")
        else:
            found[name].append(argument)
    return found
