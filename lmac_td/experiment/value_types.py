"""Types of settings: how a text or a yaml value becomes the value of a setting.

A declaration names a type as Python does: ``bool``, ``int``, ``float``, ``str``,
``path``, ``dict``, ``list[int]``, ``int or str``. Whatever is declared as a text stays
the text that was given; ``no`` and ``off`` are False where a truth value is declared.
``object``, or the name of a class, is for what a recipe builds (``!new:``).
"""

import io
import math
import pydoc
import re
from dataclasses import dataclass

import ruamel.yaml

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
# Of the usual file systems, in bytes.
LONGEST_NAME, LONGEST_PATH = 255, 4096


@dataclass(frozen=True)
class Limits:
    """What a value must satisfy besides its type.

    Attributes
    ----------
    min, max : float, optional
        Bounds of numbers, themselves allowed.
    above : float, optional
        Lower bound of numbers, itself refused.
    choices : tuple of str
        All texts that are allowed; empty: any.
    """

    min: float | None = None
    max: float | None = None
    above: float | None = None
    choices: tuple = ()


@dataclass(frozen=True)
class Bool:
    """A truth value."""

    def read(self, value: object, limits: Limits) -> bool:
        """See :func:`read_value`."""
        if isinstance(value, bool):
            return value
        word = value.lower() if isinstance(value, str) else None
        if word not in TRUE + FALSE:
            raise ValueError
        return word in TRUE

    def describe(self, limits: Limits) -> str:
        """What a message asks for."""
        return "True or False"


@dataclass(frozen=True)
class Number:
    """A finite number. A whole one is an int, also where a float is declared.

    Arguments
    ---------
    whole : bool
        Refuse fractions.
    """

    whole: bool = False

    def read(self, value: object, limits: Limits) -> int | float:
        """See :func:`read_value`."""
        if isinstance(value, str):
            try:
                value = int(value)
            except ValueError:
                value = float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError
        if not abs(value) < math.inf or (self.whole and value != int(value)):
            raise ValueError
        too_low = limits.min is not None and value < limits.min
        too_low |= limits.above is not None and value <= limits.above
        if too_low or (limits.max is not None and value > limits.max):
            raise ValueError
        return int(value) if self.whole else value

    def describe(self, limits: Limits, many: bool = False) -> str:
        """What a message asks for."""
        kind = "whole number" if self.whole else "number"
        bound = f" above {limits.above}" if limits.above is not None else ""
        bound += f" from {limits.min}" if limits.min is not None else ""
        bound += f" to {limits.max}" if limits.max is not None else ""
        return (f"{kind}s" if many else f"a {kind}") + bound


@dataclass(frozen=True)
class Text:
    """A text, kept as it was given.

    Arguments
    ---------
    is_path : bool
        Refuse what no file system takes as a path.
    """

    is_path: bool = False

    def read(self, value: object, limits: Limits) -> str:
        """See :func:`read_value`."""
        if value is None or isinstance(value, (list, dict)):
            raise ValueError
        text = value if isinstance(value, str) else _source_of(value)
        if limits.choices and text not in limits.choices:
            raise ValueError
        # HyperPyYAML reads the one as a tuple and the other as a reference.
        if not text.strip() or re.fullmatch(r"\(.*\)|.*<[^>]*>.*", text, re.DOTALL):
            raise ValueError
        if self.is_path and (
            "\0" in text
            or len(text.encode(errors="replace")) >= LONGEST_PATH
            or any(len(p.encode(errors="replace")) > LONGEST_NAME for p in _names(text))
        ):
            raise ValueError
        return str(text)

    def describe(self, limits: Limits) -> str:
        """What a message asks for."""
        if limits.choices:
            return _either([str(choice) for choice in limits.choices])
        if self.is_path:
            return "a path that the file system takes, without <...> and not in (...)"
        return "a text, without <...> and not in (...)"


@dataclass(frozen=True)
class ListOf:
    """A list; one value alone is a list of one.

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
        return [read_value(self.items, item, limits) for item in value]

    def describe(self, limits: Limits) -> str:
        """What a message asks for."""
        first = self.items[0]
        if isinstance(first, Number):
            return f"a list of {first.describe(limits, many=True)}, such as [1, 2]"
        return f"a list, each {_either([i.describe(limits) for i in self.items])}"


@dataclass(frozen=True)
class Mapping:
    """A mapping of names to plain values."""

    def read(self, value: object, limits: Limits) -> dict:
        """See :func:`read_value`."""
        value = _parsed(value, "safe") if isinstance(value, str) else value
        if not isinstance(value, dict):
            raise ValueError
        return value

    def describe(self, limits: Limits) -> str:
        """What a message asks for."""
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
        """Nothing plain is an object."""
        raise ValueError

    def fits(self, value: object) -> bool:
        """Whether a built object is of this type."""
        if self.name == "callable":
            return callable(value)
        if self.name == "object":
            return not isinstance(value, (bool, int, float, str, type(None)))
        return isinstance(value, pydoc.locate(self.name))

    def describe(self, limits: Limits) -> str:
        """What a message asks for."""
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
    """The alternatives that the type of a declaration names.

    Arguments
    ---------
    text : str
        Such as ``int``, ``list[int]``, ``int or list[int or str]``,
        ``torch.nn.Module``.

    Returns
    -------
    tuple
        Of the classes of this module.

    Raises
    ------
    ValueError
        If it names no type.

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
    """The value of the first type that takes it.

    Arguments
    ---------
    types : tuple
        Of :func:`parse_type`.
    value : object
        A text, as the command line gives it, or what yaml read.
    limits : Limits

    Returns
    -------
    object

    Raises
    ------
    ValueError
        If none takes it.

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
        except (ValueError, OverflowError):
            continue
    raise ValueError


def describe_types(types: tuple, limits: Limits) -> str:
    """What a message asks for, of all types."""
    return _either([candidate.describe(limits) for candidate in types])


def _parsed(text, kind):
    try:
        return ruamel.yaml.YAML(typ=kind, pure=True).load(text)
    except (ruamel.yaml.error.YAMLError, RecursionError) as error:
        raise ValueError from error


def _source_of(scalar):
    """A scalar as it stands in its file: 1e3 is no 1000.0."""
    text = io.StringIO()
    ruamel.yaml.YAML().dump(scalar, text)
    return text.getvalue().removesuffix("\n").removesuffix("\n...")


def _names(path):
    return re.split(r"[/\\]", path)


def _either(options):
    *others, last = options
    return f"{', '.join(others)} or {last}" if others else last
