"""Checks of single values, and of what a user's network raises.

Each refuses with a :class:`~lmac_td.errors.SettingError` that names the setting and
what to give instead.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence

from lmac_td.errors import SettingError, UserError


def require_number(
    name: str,
    value: object,
    above: float = 0.0,
    least: float | None = None,
    most: float = math.inf,
):
    """Refuse a setting that is not a finite number within bounds.

    Arguments
    ---------
    name : str
        Of the setting.
    value : object
        What it was given.
    above : float
        The lower bound, itself refused; ``-math.inf`` for none.
    least : float, optional
        A lower bound that is itself allowed, instead of ``above``.
    most : float
        The upper bound, itself allowed.

    Raises
    ------
    SettingError

    Example
    -------
    >>> require_number("lr", 0)
    Traceback (most recent call last):
    lmac_td.errors.SettingError: lr is 0: give --lr a number above 0.0
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if least is not None:
        fits, bound = is_number and least <= value, f" from {least}"
    else:
        fits, bound = is_number and above < value, f" above {above}"
    if not fits or not value <= most or math.isinf(value):
        bound = "" if above == -math.inf else bound
        bound += f" to {most}" if most < math.inf else ""
        raise SettingError(f"{name} is {value!r}: give --{name} a number{bound}")


def require_count(name: str, value: object):
    """Refuse a setting that is not a whole number from 1.

    Arguments
    ---------
    name : str
        Of the setting.
    value : object
        What it was given.

    Raises
    ------
    SettingError

    Example
    -------
    >>> require_count("draws", 0)
    Traceback (most recent call last):
    lmac_td.errors.SettingError: draws is 0: give --draws a whole number from 1
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingError(f"{name} is {value!r}: give --{name} a whole number from 1")


def require_choice(name: str, value: object, choices: Sequence[str]):
    """Refuse a setting that is none of its choices.

    Arguments
    ---------
    name : str
        Of the setting.
    value : object
        What it was given.
    choices : sequence of str

    Raises
    ------
    SettingError

    Example
    -------
    >>> require_choice("domain", "stfd", ("stft", "mel"))
    Traceback (most recent call last):
    lmac_td.errors.SettingError: domain is 'stfd': give --domain stft or mel
    """
    if value not in choices:
        *others, last = choices
        offered = f"{', '.join(others)} or {last}" if others else last
        raise SettingError(f"{name} is {value!r}: give --{name} {offered}")


@contextlib.contextmanager
def as_setting_error(what: str, remedy: str) -> Iterator[None]:
    """Turn what a user's network raises into a sentence; a UserError passes unchanged.

    Arguments
    ---------
    what : str
        What cannot be done.
    remedy : str

    Raises
    ------
    SettingError
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or ["no message"]
        raise SettingError(
            f"{what} ({type(error).__name__}: {lines[0]}): {remedy}"
        ) from error


def require_methods(methods: object, known: Sequence[str], example: str) -> None:
    """Refuse what is not a list of names of methods.

    Arguments
    ---------
    methods : object
        The setting ``methods``.
    known : sequence of str
        The names that exist.
    example : str
        A value of the setting, for the message.

    Raises
    ------
    SettingError

    Example
    -------
    >>> require_methods(["lime"], ["lime", "rise"], "[lime]")
    """
    if not isinstance(methods, list) or not methods:
        raise SettingError(
            f'methods is {methods!r}: give --methods a list such as "{example}"'
        )
    for method in methods:
        if method not in known:
            raise SettingError(
                f"methods names {method!r}: give --methods some of [{', '.join(known)}]"
            )
