"""Errors with names of their own: one for every way a user's input can be wrong.

Each carries one sentence that names the file or setting and the remedy. The commands
print that sentence and leave with exit code 2 (see :func:`exit_on_user_error`).
"""

import contextlib
import math
import re
import sys


class UserError(Exception):
    """Base of every mistake that the person at the keyboard can mend."""


class DataError(UserError):
    """A data folder, a table of clips or a noise folder is not what it should be."""


class LoadAudioError(DataError):
    """An audio file is missing, corrupt, empty, silent or holds NaN."""


class SettingError(UserError, ValueError):
    """A yaml or command line setting has a value that cannot work."""


class CheckpointError(UserError):
    """A checkpoint is missing or belongs to a model of other widths."""


class DownloadError(UserError):
    """A download failed; nothing of it was kept."""


def require_number(name, value, above=0.0, least=None, most=math.inf):
    """Refuse a setting that is no finite number within bounds.

    Arguments
    ---------
    name : str
        Of the setting.
    value : object
        What it was given.
    above : float
        The lower bound, itself refused; ``-math.inf`` for none.
    least : float, optional
        A lower bound that is itself allowed, in the place of ``above``.
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


def require_choice(name, value, choices):
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
def as_setting_error(what, remedy):
    """Turn what a user's network raises into a sentence; a sentence stays as it is.

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


@contextlib.contextmanager
def exit_on_user_error(when_interrupted="Interrupted."):
    """Turn a :class:`UserError` into one sentence on stderr and exit code 2.

    Arguments
    ---------
    when_interrupted : str
        What Ctrl-C prints; the exit code is then 130, as a shell expects.
    """
    try:
        yield
    except UserError as error:
        # A dataloader's worker sends its whole traceback: the sentence ends it.
        sentence = str(error).strip().splitlines()[-1]
        sentence = re.sub(r"^lmac_td\.errors\.\w+: ", "", sentence)
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{when_interrupted}", file=sys.stderr)
        sys.exit(130)
