"""What surrounds a command: its terminal, pipes and signals, whatever they are."""

from __future__ import annotations

import codecs
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

BROKEN_PIPE = 141  # the exit code that a shell expects: 128 and SIGPIPE
_UTF8 = "utf-8"


class StoppedError(KeyboardInterrupt):
    """The process is asked to end, as a scheduler does before it kills.

    Arguments
    ---------
    number : int
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def prepared_terminal() -> Iterator[None]:
    """Run a command in any surroundings.

    Output that the terminal cannot show is written as in Python, such as ``\\xe9``.
    SIGTERM and SIGHUP raise a :class:`StoppedError`, so everything that tidies after
    Ctrl-C does so after them, too; a second one has no effect. What was printed is
    written when the block ends, so that a reader that has left is noticed here.
    """
    use_utf8_names()
    _received.clear()
    for stream in (sys.stdout, sys.stderr):
        # Streams that tests or notebooks put in their place may lack it.
        if getattr(stream, "errors", "") == "strict":
            stream.reconfigure(errors="backslashreplace")
    with _signals_raise():
        try:
            yield
        finally:
            sys.stdout.flush()


def use_utf8_names() -> None:
    """Start the command again in Python's UTF-8 mode, if names are not read as UTF-8.

    In some locales Python reads names of files as ASCII or Latin-1, and libraries
    refuse what it makes of others. Nothing has been done yet, so nothing is done twice.
    """
    if codecs.lookup(sys.getfilesystemencoding()).name == _UTF8 or sys.flags.utf8_mode:
        return
    os.environ["PYTHONUTF8"] = "1"  # of the processes that this one starts, too
    words = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
    os.execv(sys.executable, words)


@contextlib.contextmanager
def _signals_raise():
    """Let SIGTERM and SIGHUP raise, unless something else handles or ignores them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def stop(number, frame):
        signal.signal(number, signal.SIG_IGN if os.getpid() == process else _DEFAULT)
        if os.getpid() != process:  # a worker that was forked: it ends at once
            os.kill(os.getpid(), number)
        _received.append(number)
        raise StoppedError(number)

    numbers = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
    numbers = [n for n in numbers if n and signal.getsignal(n) == _DEFAULT]
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, _DEFAULT)


_DEFAULT = signal.SIG_DFL
_received: list[int] = []  # signals that stop this process


def signal_of(error: KeyboardInterrupt) -> signal.Signals:
    """Return the signal that stops a command, whichever library raises the error.

    Example
    -------
    >>> signal_of(KeyboardInterrupt()).name, signal_of(StoppedError(15)).name
    ('SIGINT', 'SIGTERM')
    """
    last = _received[-1] if _received else signal.SIGINT
    return signal.Signals(getattr(error, "number", last))


def say(sentence: str) -> None:
    """Print a sentence on stderr, if somebody reads it."""
    with contextlib.suppress(OSError):
        print(sentence, file=sys.stderr, flush=True)


def write_to_nobody() -> None:
    """Let nothing more be written to a stream whose reader has left."""
    for stream, own in ((sys.stdout, sys.__stdout__), (sys.stderr, sys.__stderr__)):
        if stream is not own or stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
