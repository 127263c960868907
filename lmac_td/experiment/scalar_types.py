"""Scalar types of settings: truth values, numbers, texts and paths."""

import io
import math
import re
from dataclasses import dataclass
from pathlib import PurePath

import ruamel.yaml
from ruamel.yaml.comments import TaggedScalar
from ruamel.yaml.scalarstring import FoldedScalarString, LiteralScalarString

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
# Limits of the usual file systems, in bytes.
LONGEST_NAME, LONGEST_PATH = 255, 4096
# Of a whole number whose declaration has no ``max``: libraries count in 32 bits.
LARGEST_WHOLE = 10**9


class WrongValueError(ValueError):
    """A value has another type, or is outside its limits."""


@dataclass(frozen=True)
class Limits:
    """What a value must satisfy besides its type.

    Attributes
    ----------
    min, max : float, optional
        Inclusive bounds of numbers.
    above : float, optional
        Exclusive lower bound of numbers.
    choices : tuple of str
        The allowed texts; empty: any text.
    empty : bool
        Whether a list may have no item.
    """

    min: float | None = None
    max: float | None = None
    above: float | None = None
    choices: tuple = ()
    empty: bool = False


@dataclass(frozen=True)
class Bool:
    """A truth value."""

    def read(self, value: object, limits: Limits) -> bool:
        """See :func:`lmac_td.experiment.value_types.read_value`."""
        if isinstance(value, bool):
            return value
        word = value.lower() if isinstance(value, str) else None
        if word not in TRUE + FALSE:
            raise WrongValueError
        return word in TRUE

    def describe(self, limits: Limits) -> str:
        """Return the wording of this type in a message."""
        return "True or False"


@dataclass(frozen=True)
class Number:
    """A finite number. A whole number becomes an int, even if a float is declared.

    Arguments
    ---------
    whole : bool
        Refuse fractions.
    """

    whole: bool = False

    def read(self, value: object, limits: Limits) -> int | float:
        """See :func:`lmac_td.experiment.value_types.read_value`."""
        if isinstance(value, str):
            try:
                value = int(value)
            except ValueError:
                value = _float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise WrongValueError
        if not abs(_float(value)) < math.inf or (self.whole and value != int(value)):
            raise WrongValueError
        too_low = limits.min is not None and value < limits.min
        too_low |= limits.above is not None and value <= limits.above
        highest = LARGEST_WHOLE if limits.max is None and self.whole else limits.max
        if too_low or (highest is not None and value > highest):
            raise WrongValueError
        return int(value) if self.whole else value

    def describe(self, limits: Limits, many: bool = False) -> str:
        """Return the wording of this type in a message."""
        kind = "whole number" if self.whole else "number"
        bound = f" above {limits.above}" if limits.above is not None else ""
        bound += f" from {limits.min}" if limits.min is not None else ""
        bound += f" to {limits.max}" if limits.max is not None else ""
        return (f"{kind}s" if many else f"a {kind}") + bound


@dataclass(frozen=True)
class Text:
    """A text, which is not converted.

    Arguments
    ---------
    is_path : bool
        Refuse texts that are not valid paths.
    """

    is_path: bool = False

    def read(self, value: object, limits: Limits) -> str:
        """See :func:`lmac_td.experiment.value_types.read_value`."""
        if value is None or isinstance(value, (list, dict, bytes, tuple, set)):
            raise WrongValueError
        text = _text_of(value)
        if not is_unicode(text):  # no file of settings could hold it
            raise WrongValueError
        if limits.choices and text not in limits.choices:
            raise WrongValueError
        # HyperPyYAML reads (...) as a tuple and <...> as a reference.
        if not text.strip() or re.fullmatch(r"\(.*\)|.*<[^>]*>.*", text, re.DOTALL):
            raise WrongValueError
        if self.is_path and (
            "\0" in text
            or len(text.encode(errors="replace")) >= LONGEST_PATH
            or any(len(p.encode(errors="replace")) > LONGEST_NAME for p in _names(text))
        ):
            raise WrongValueError
        return str(text)

    def describe(self, limits: Limits) -> str:
        """Return the wording of this type in a message."""
        if limits.choices:
            return either([str(choice) for choice in limits.choices])
        if self.is_path:
            return (
                "a path in UTF-8 that the file system takes, without <...> and not in "
                "(...)"
            )
        return "a text in UTF-8, without <...> and not in (...)"


def is_unicode(text: str) -> bool:
    """Return whether UTF-8 can hold a text; bytes that are no text cannot be held.

    Example
    -------
    >>> is_unicode("caf\\u00e9"), is_unicode("caf\\udce9")
    (True, False)
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _float(value):
    try:
        return float(value)
    except (ValueError, OverflowError) as error:
        raise WrongValueError from error


def _text_of(value):
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, TaggedScalar):
        if value.tag.value != "tag:yaml.org,2002:str":  # `!!str 5` is a text
            raise WrongValueError
        return str(value.value)
    if isinstance(value, (LiteralScalarString, FoldedScalarString)):
        return value.rstrip("\n")
    return value if isinstance(value, str) else _source_of(value)


def _source_of(scalar):
    """Return a scalar as it is written in its file: 1e3 is not 1000.0."""
    text = io.StringIO()
    ruamel.yaml.YAML().dump(scalar, text)
    return text.getvalue().removesuffix("\n").removesuffix("\n...")


def _names(path):
    return re.split(r"[/\\]", path)


def either(options: list[str]) -> str:
    """Join options in a sentence: a, b or c."""
    *others, last = options
    return f"{', '.join(others)} or {last}" if others else last
