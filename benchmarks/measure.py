"""Measure implementations that take turns, each in its own process.

Memory settings and peak memory belong to a process, so each implementation (a "side")
has its own. The sides take turns, A B A B ..., so that a slow phase of the machine
affects all of them. Ratios are computed within a turn; their median is reported.
"""

import contextlib
import statistics
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.cost import counted, give_back, peak_gb, timed
from benchmarks.processes import context_of
from lmac_td.runtime.process import set_up_process

FORKED = False  # tests of many small tasks set it


@dataclass(frozen=True)
class Side:
    """One implementation of a task.

    Arguments
    ---------
    name : str
        The name in the table.
    build : callable
        Called with ``settings`` and ``device`` in the process of the side. Returns the
        task: a callable without arguments that returns a dict of results.
    settings : dict
        Plain values.
    set_up : bool
        Whether the process is set up like this project's commands: freed memory is
        kept, and a GPU computes float32 in full precision. Otherwise the defaults of
        glibc and SpeechBrain hold (a GPU then multiplies in TF32).
    """

    name: str
    build: Callable[..., Callable[[], dict]]
    settings: dict[str, Any]
    set_up: bool = True


@dataclass
class Measured:
    """The cost of a side.

    Attributes
    ----------
    seconds : list of float
        One value per turn.
    peak_gb : float
        Peak memory in 1e9 bytes. On a CPU: of the process, from its start. On a GPU: of
        PyTorch's allocations, after the task was built.
    gflop : float
        Of one call of the task: matrix products, convolutions and attention.
    outcome : dict
        The result of the first call.
    """

    seconds: list[float]
    peak_gb: float
    gflop: float
    outcome: dict

    @property
    def median(self) -> float:
        """Median of the seconds."""
        return statistics.median(self.seconds)


def measure(
    sides: Sequence[Side],
    repeats: int,
    device: str = "cpu",
    progress: Callable[[str], None] = print,
) -> list[Measured]:
    """Measure sides that take turns.

    After its turn a side releases its memory for the others. Each turn therefore starts
    with a call that is not timed; then memory and caches are in the state of a running
    training.

    Arguments
    ---------
    sides : sequence of Side
    repeats : int
        Number of turns of each side.
    device : str
    progress : callable
        Called with a line of text after each turn.

    Returns
    -------
    list of Measured
        In the order of the sides.
    """
    with contextlib.ExitStack() as stack:
        workers, firsts = [], []
        for side in sides:  # one after the other, since building needs memory, too
            workers.append(stack.enter_context(_Worker(side, device)))
            firsts.append(workers[-1].ask("work"))
            progress(f"{side.name} is ready")
        seconds = [[] for _ in sides]
        for turn in range(repeats):
            for worker, taken in zip(workers, seconds, strict=True):
                taken.append(worker.ask("time"))
                progress(
                    f"turn {turn + 1} of {repeats}: {worker.side.name} "
                    f"{taken[-1]:.2f} s"
                )
        peaks = [worker.ask("peak") for worker in workers]
        # At the end, since counting needs time, and memory that is released otherwise.
        gflops = [worker.ask("count") for worker in workers]
    measured = zip(seconds, peaks, gflops, firsts, strict=True)
    return [Measured(*values) for values in measured]


class _Worker:
    """A side in its own process, which answers requests over a pipe."""

    def __init__(self, side: Side, device: str):
        self.side = side
        context = context_of(FORKED, side.build.__module__)
        self._pipe, end = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(end, side, device), daemon=True
        )
        self._process.start()
        end.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._pipe.close()
        self._process.join(timeout=30)
        if self._process.is_alive():
            self._process.kill()

    def ask(self, request: str) -> Any:
        """Send a request to the process, and return its answer."""
        with contextlib.suppress(BrokenPipeError):  # a last answer can still be read
            self._pipe.send(request)
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            sys.exit(
                f"{self.side.name} ended (exit code {self._process.exitcode}; -9 "
                "usually means that memory was full): give a smaller --batch_size or "
                "close other programs"
            )
        if isinstance(answer, _Failure):
            sys.exit(f"{self.side.name} failed:\n{answer.trace}")
        return answer


@dataclass
class _Failure:
    trace: str


def _serve(pipe: Any, side: Side, device: str) -> None:
    """Build the task of a side, and answer requests until the pipe is closed."""
    try:
        if side.set_up:
            set_up_process()
        task = side.build(**side.settings, device=device)
        give_back(device)
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(device)
        answers = {
            "work": task,
            "count": lambda: counted(task),
            "time": lambda: timed(task, device),
            "peak": lambda: peak_gb(device),
        }
        while True:
            answer = answers[pipe.recv()]()
            give_back(device)  # the other sides need it
            pipe.send(answer)
    except EOFError:  # the pipe is closed: no more requests
        return
    except BaseException:
        pipe.send(_Failure(traceback.format_exc()))


def ratios(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """Return slow / fast for each turn."""
    return [a / b for a, b in zip(slow, fast, strict=True)]


def with_spread(values: Sequence[float], digits: int = 2) -> str:
    """Format values as "median [smallest, largest]"."""
    low, middle, high = (f(values) for f in (min, statistics.median, max))
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
