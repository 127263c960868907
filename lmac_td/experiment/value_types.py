"""Types of settings: convert a text or a yaml value to the value of a setting.

A declaration names a type as Python does: ``bool``, ``int``, ``float``, ``str``,
``path``, ``dict``, ``list[int]``, ``int or str``. A value of type ``str`` is never
converted; ``no`` and ``off`` are False if the type is ``bool``. ``object``, or the name
of a class, is the type of what a recipe builds (``!new:``).
"""

import pydoc
import re
from dataclasses import dataclass

import ruamel.yaml

from lmac_td.experiment.scalar_types import (
    Bool,
    Limits,
    Number,
    Text,
    WrongValueError,
    either,
)


@dataclass(frozen=True)
class ListOf:
    """A list; a single value becomes a list with one item.

    Arguments
    ---------
    items : tuple
        The types that an item may have.
    """

    items: tuple

    def read(self, value: object, limits: Limits) -> list:
        """See :func:`read_value`."""
        if isinstance(value, str):
            bare = value.strip()
            value = _parsed(bare if bare.startswith("[") else f"[{bare}]", "base")
        elif not isinstance(value, list):
            value = [value]
        if not (value or limits.empty):
            raise WrongValueError
        return [read_value(self.items, item, limits) for item in value]

    def describe(self, limits: Limits) -> str:
        """Return the wording of this type in a message."""
        first = self.items[0]
        if isinstance(first, Number):
            small = limits.max is not None and limits.max < 2
            example = "[0.1, 0.5]" if small and not first.whole else "[1, 2]"
            described = f"a list of {first.describe(limits, many=True)}"
            if limits.choices:
                described += f" or {either([str(c) for c in limits.choices])}"
            return f"{described}, such as {example}"
        return f"a list, each {either([i.describe(limits) for i in self.items])}"


@dataclass(frozen=True)
class Mapping:
    """A mapping of names to plain values."""

    def read(self, value: object, limits: Limits) -> dict:
        """See :func:`read_value`."""
        value = _parsed(value, "safe") if isinstance(value, str) else value
        if not isinstance(value, dict):
            raise WrongValueError
        return value

    def describe(self, limits: Limits) -> str:
        """Return the wording of this type in a message."""
        return "a mapping of names to values, such as {name: value}"


@dataclass(frozen=True)
class Built:
    """What a recipe builds with ``!new:``, ``!apply:`` or ``!name:``.

    Arguments
    ---------
    name : str
        ``object``, ``callable``, or the dotted name of a class.
    """

    name: str

    def read(self, value: object, limits: Limits) -> object:
        """Refuse every plain value: it is not an object."""
        raise WrongValueError

    def fits(self, value: object) -> bool:
        """Return whether a built object is of this type."""
        if self.name == "callable":
            return callable(value)
        if self.name == "object":
            return not isinstance(value, (bool, int, float, str, type(None)))
        return isinstance(value, pydoc.locate(self.name))

    def describe(self, limits: Limits) -> str:
        """Return the wording of this type in a message."""
        kind = "an object" if self.name in ("object", "callable") else f"a {self.name}"
        return f"{kind}, built in the recipe (!new:, !apply: or !name:)"


_SIMPLE = {
    "bool": Bool(),
    "int": Number(whole=True),
    "float": Number(),
    "str": Text(),
    "path": Text(is_path=True),
    "dict": Mapping(),
    "object": Built("object"),
    "callable": Built("callable"),
}


def parse_type(text: str) -> tuple:
    """Parse the type of a declaration into its alternatives.

    Arguments
    ---------
    text : str
        A type such as ``int``, ``list[int]``, ``int or list[int or str]``,
        ``torch.nn.Module``.

    Returns
    -------
    tuple
        Instances of the classes of this module.

    Raises
    ------
    ValueError
        If the text is not a type.

    Example
    -------
    >>> parse_type("int or list[str]")
    (Number(whole=True), ListOf(items=(Text(is_path=False),)))
    """
    alternatives = re.split(r"\s+or\s+(?![^\[]*\])", str(text).strip())
    return tuple(map(_parse_one, alternatives))


def _parse_one(text):
    if text in _SIMPLE:
        return _SIMPLE[text]
    inside = re.fullmatch(r"list\[(.+)\]", text)
    if inside:
        return ListOf(parse_type(inside[1]))
    if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", text):
        return Built(text)
    raise ValueError(f"there is no type {text!r}: use {', '.join(_SIMPLE)}, list[...]")


def read_value(types: tuple, value: object, limits: Limits) -> object:
    """Return the value as the first type that accepts it.

    Arguments
    ---------
    types : tuple
        The result of :func:`parse_type`.
    value : object
        A text of the command line, or what yaml read.
    limits : Limits

    Returns
    -------
    object

    Raises
    ------
    WrongValueError
        If no type accepts it.

    Example
    -------
    >>> read_value(parse_type("int or str"), "1e1", Limits())
    10
    >>> read_value(parse_type("str"), "1e1", Limits())
    '1e1'
    >>> read_value(parse_type("list[int]"), "[4, 5]", Limits())
    [4, 5]
    """
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        types = sorted(types, key=lambda t: not isinstance(t, (ListOf, Mapping)))
    for candidate in types:
        try:
            return candidate.read(value, limits)
        except WrongValueError:
            continue
    raise WrongValueError


def type_of(value: object) -> str:
    """Return the declared type that a plain value would have, to suggest it.

    Example
    -------
    >>> type_of(0.5), type_of([1, 2]), type_of({"a": 1}), type_of("stft")
    ('float', '"list[int]"', 'dict', 'str')
    """
    if isinstance(value, list):
        return f'"list[{type_of(value[0]) if value else "str"}]"'
    kinds = {bool: "bool", int: "int", float: "float", dict: "dict"}
    return next(
        (name for kind, name in kinds.items() if isinstance(value, kind)), "str"
    )


def describe_types(types: tuple, limits: Limits) -> str:
    """Return the wording of several types in a message."""
    return either([candidate.describe(limits) for candidate in types])


def _parsed(text, kind):
    try:
        return ruamel.yaml.YAML(typ=kind, pure=True).load(text)
    except (ruamel.yaml.error.YAMLError, RecursionError) as error:
        raise WrongValueError from error
