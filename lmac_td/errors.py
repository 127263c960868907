"""Errors that a user can fix: one class for every way in which input can be wrong.

Each carries one sentence that names the file or the setting, and the remedy. The
commands print that sentence and exit with code 2 (see :func:`exit_on_user_error`).
"""

import contextlib
import errno
import math
import os
import re
import sys


class UserError(Exception):
    """Base of every mistake that a user can fix."""


class DataError(UserError):
    """A data folder, a table of clips or a noise folder has the wrong content."""


class LoadAudioError(DataError):
    """An audio file is missing, corrupt, empty, silent or holds NaN."""


class SettingError(UserError, ValueError):
    """A setting of a recipe or of the command line has a value that cannot work."""


class CheckpointError(UserError):
    """A checkpoint is missing or belongs to a model of other widths."""


class DownloadError(UserError):
    """A download failed; nothing of it was kept."""


def require_number(name, value, above=0.0, least=None, most=math.inf):
    """Refuse a setting that is not a finite number within bounds.

    Arguments
    ---------
    name : str
        Name of the setting.
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


def require_choice(name, value, choices):
    """Refuse a setting that is none of its choices.

    Arguments
    ---------
    name : str
        Name of the setting.
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


# What to do where the system cannot read or write.
REMEDIES = {
    errno.ENOSPC: "free some space, then give the command again",
    errno.EDQUOT: "free some space, then give the command again",
    errno.EROFS: "give another --output_folder or --cache_folder",
    errno.EACCES: "change its permissions, or give another folder",
    errno.EPERM: "change its permissions, or give another folder",
    errno.ENOTDIR: "give a folder that is not below a file",
    errno.EISDIR: "move the folder that has the file's name",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EIO: "check the disk",
}


BROKEN_PIPE = 141  # the exit code that a shell expects


@contextlib.contextmanager
def exit_on_user_error(when_interrupted="Interrupted."):
    """Turn a :class:`UserError` into one sentence on stderr and exit code 2.

    The same holds for what the system says of a disk: it is full, read-only, and so on.

    Arguments
    ---------
    when_interrupted : str
        What Ctrl-C prints; the exit code is then 130, as a shell expects.
    """
    try:
        yield
    except UserError as error:
        # A dataloader's worker sends its traceback, which ends with the sentence.
        sentence = re.split(r"^lmac_td\.errors\.\w+: ", str(error), flags=re.M)[-1]
        _exit_with(sentence)
    except BrokenPipeError:  # as in `command | head`: nobody reads what is printed
        if sys.stdout is sys.__stdout__:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        place = f"{error.filename}: " if error.filename else ""
        _exit_with(f"{place}{error.strerror}: {REMEDIES[error.errno]}")
    except KeyboardInterrupt:
        print(f"\n{when_interrupted}", file=sys.stderr)
        sys.exit(130)


def _exit_with(sentence):
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(2)
