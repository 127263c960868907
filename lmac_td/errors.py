"""Errors that a user can fix: one class for every way in which input can be wrong.

Each carries one sentence that names the file or the setting, and the remedy. The
commands print that sentence and exit with code 2 (see :func:`exit_on_user_error`).
"""

import contextlib
import errno
import re
import signal
import sys

from lmac_td import launch
from lmac_td.terminal import (
    BROKEN_PIPE,
    prepared_terminal,
    say,
    signal_of,
    write_to_nobody,
)


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


class TrainingError(UserError):
    """A training cannot go on: losses or weights are not finite."""


class UnreadableFileError(UserError, ValueError):
    """A file is there, but is not what it should be: a pipe, damaged, too large.

    Attributes
    ----------
    reason : str
        Why, without the name of the file.
    """

    reason: str = ""


class DownloadError(UserError):
    """A download failed; nothing of it was kept."""


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
    errno.ELOOP: "a link leads to itself: remove it",
    errno.EFBIG: "the disk takes no file of this size: give another folder",
    errno.EMFILE: "allow more open files by `ulimit -n 4096`",
}
OTHER_REMEDY = "give another path"
LONGEST_WORD = 300  # characters of a path that are printed


AGAIN = "nothing incomplete is left; give the same command again."


@contextlib.contextmanager
def exit_on_user_error(when_interrupted=AGAIN, many_processes=False):
    """Turn a :class:`UserError` into one sentence on stderr and exit code 2.

    The same holds for what the system says of a disk: it is full, read-only, and so on.
    Of several processes that one command started, one prints the sentence. See
    :func:`lmac_td.terminal.prepared_terminal` for terminals, pipes and signals.

    Arguments
    ---------
    when_interrupted : str
        How to go on after Ctrl-C or SIGTERM. The exit code is then 130 or 143, as a
        shell expects. A ``remark`` of the exception is printed in its place.
    many_processes : bool
        Whether a launcher may start the command in several processes, which share the
        work. Others would each do and write the same.
    """
    try:
        with prepared_terminal():
            if launch.number_launched() > 1 and not many_processes:
                raise SettingError(
                    f"{launch.number_launched()} processes were started, and this "
                    "command uses one: start it without torchrun"
                )
            yield
    except UserError as error:
        # A dataloader's worker sends its traceback, which ends with the sentence.
        sentence = re.split(r"^lmac_td\.errors\.\w+: ", str(error), flags=re.M)[-1]
        _exit_with(sentence)
    except BrokenPipeError:  # as in `command | head`: nobody reads what is printed
        write_to_nobody()
        sys.exit(BROKEN_PIPE)
    except OSError as error:
        if error.errno is None or not (error.errno in REMEDIES or error.filename):
            raise
        place = f"{error.filename}: " if error.filename else ""
        remedy = REMEDIES.get(error.errno, OTHER_REMEDY)
        _exit_with(f"{place}{error.strerror}: {remedy}")
    except KeyboardInterrupt as error:
        number = signal_of(error)
        is_ctrl_c = number == signal.SIGINT
        what = "Interrupted" if is_ctrl_c else f"Stopped by {number.name}"
        _print_once(f"\n{what}: {getattr(error, 'remark', when_interrupted)}")
        sys.exit(128 + number)
    except RuntimeError as error:
        if not launch.is_lost(error):
            raise
        if launch.another_has_spoken():
            sys.exit(2)
        first_line = str(error).splitlines()[0]
        _exit_with(
            f"another process of this command has ended ({first_line}): see its "
            "message, if it left one, and give the same command again"
        )


def _exit_with(sentence):
    words = " ".join(sentence.split())
    words = re.sub(rf"(\S{{{LONGEST_WORD}}})\S+", r"\1...", words)
    _print_once(f"error: {words}")
    sys.exit(2)


def _print_once(text):
    """Print to stderr, unless another process of this command has."""
    if launch.speaks_first():
        say(text)
        launch.has_spoken()
