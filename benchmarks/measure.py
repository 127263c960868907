"""Sides that take turns: one process each, timed one after the other.

Every side is a process of its own, because memory settings and peak memory belong to a
process. The sides take turns, A B A B ..., so that a slow minute of the machine is a
slow minute of both; ratios are taken within a turn, and their median is what is told.
"""

import argparse
import contextlib
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
import traceback
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.utils import flop_counter

from lmac_td.runtime.allocator import give_freed_memory_back
from lmac_td.runtime.linear import processor
from lmac_td.runtime.process import set_up_process

GB = 1e9


@dataclass(frozen=True)
class Side:
    """One way of doing the work.

    Arguments
    ---------
    name : str
        In the table.
    build : callable
        Called in the side's own process with ``settings``; returns the work, a
        callable without arguments that returns a dict of whatever is to be compared.
    settings : dict
        Plain values.
    set_up : bool
        Whether its process is set up as those of this project's commands: freed memory
        is kept, and a GPU computes float32 as float32. Otherwise both are left as glibc
        and SpeechBrain have them (a GPU then multiplies in TF32).
    """

    name: str
    build: object
    settings: dict
    set_up: bool = True


@dataclass
class Measured:
    """What a side took.

    Attributes
    ----------
    seconds : list of float
        A turn each.
    peak_gb : float
        1e9 bytes: of the process on a CPU, from its start; on a GPU of what PyTorch
        allocated, once everything was built.
    gflop : float
        Of one piece of work: matrix products, convolutions and attention.
    outcome : dict
        What the work returned the first time.
    """

    seconds: list
    peak_gb: float
    gflop: float
    outcome: dict

    @property
    def median(self):
        """Seconds."""
        return statistics.median(self.seconds)


def measure(sides, repeats, device="cpu", progress=print):
    """Let sides take turns.

    After its turn a side gives its memory back, for the others. So every turn begins
    with a piece of work that is not timed, after which memory and caches are as they
    are in the middle of a training.

    Arguments
    ---------
    sides : sequence of Side
    repeats : int
        Turns of each.
    device : str
    progress : callable
        Called with a line a turn.

    Returns
    -------
    list of Measured
        In the order of the sides.
    """
    with contextlib.ExitStack() as stack:
        workers, firsts = [], []
        for side in sides:  # one after the other: building takes memory, too
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
        # In the end: counting takes time, and memory that is else given back.
        gflops = [worker.ask("count") for worker in workers]
    measured = zip(seconds, peaks, gflops, firsts, strict=True)
    return [Measured(*values) for values in measured]


class _Worker:
    """A side in its own process, asked over a pipe."""

    def __init__(self, side, device):
        self.side = side
        context = multiprocessing.get_context("spawn")  # CUDA cannot be forked
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

    def ask(self, what):
        """Do it there, and return the answer."""
        with contextlib.suppress(BrokenPipeError):  # what it said last can be read
            self._pipe.send(what)
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            sys.exit(
                f"{self.side.name} ended (exit code {self._process.exitcode}; -9 is "
                "for want of memory, mostly): give a smaller --batch_size or "
                "close other programs"
            )
        if isinstance(answer, _Failure):
            sys.exit(f"{self.side.name} failed:\n{answer.trace}")
        return answer


@dataclass
class _Failure:
    trace: str


def _serve(pipe, side, device):
    try:
        if side.set_up:
            set_up_process()
        work = side.build(**side.settings, device=device)
        give_back(device)
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(device)
        answers = {
            "work": work,
            "count": lambda: counted(work),
            "time": lambda: timed(work, device),
            "peak": lambda: peak_gb(device),
        }
        while True:
            answer = answers[pipe.recv()]()
            give_back(device)  # the others need it while this side waits
            pipe.send(answer)
    except EOFError:  # asked no more
        return
    except BaseException:
        pipe.send(_Failure(traceback.format_exc()))


def timed(work, device):
    """Seconds of the second of two pieces of work."""
    work()
    synchronise(device)
    return clocked(work, device)


def clocked(work, device):
    """Seconds of one piece of work."""
    begin = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - begin


def give_back(device):
    """Return freed memory of the CPU, and of a GPU."""
    give_freed_memory_back()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def synchronise(device):
    """Wait for a GPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def peak_gb(device):
    """The most memory that this process has held so far, in 1e9 bytes."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / GB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / GB


def counted(work):
    """GFLOP of a piece of work. Networks to be compiled must be so already."""
    with flop_counter.FlopCounterMode(display=False, custom_mapping=_ON_CPU) as counter:
        work()
    return counter.get_total_flops() / 1e9


def _attention(query, key, value, *_, out_shape=None, **__):
    return flop_counter.sdpa_flop_count(query, key, value)


def _attention_backward(grad, query, key, value, *_, out_shape=None, **__):
    return flop_counter.sdpa_backward_flop_count(grad, query, key, value)


# PyTorch counts attention on a GPU alone.
_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        _attention_backward
    ),
}


def matrix_rate(device="cpu", dtype=torch.float32, product=F.linear, repeats=7):
    """Measure how fast the machine multiplies square matrices.

    Arguments
    ---------
    device : str
    dtype : torch.dtype
    product : callable
        Of two matrices, the second transposed.
    repeats : int

    Returns
    -------
    float
        GFLOP/s, the median.
    """
    n = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    seconds = [timed(lambda: product(a, b), device) for _ in range(repeats)]
    return 2 * n**3 / statistics.median(seconds) / 1e9


def ratios(slow, fast):
    """Turn by turn, how many times as long one side took as the other."""
    return [a / b for a, b in zip(slow, fast, strict=True)]


def with_spread(values, digits=2):
    """Median, and in brackets the least and the most."""
    low, middle, high = (f(values) for f in (min, statistics.median, max))
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def machine(device="cpu"):
    """One line: processor or GPU, threads, versions."""
    import speechbrain

    if device.startswith("cuda"):
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = f"{_processor()}, {torch.get_num_threads()} threads"
    libc = " ".join(platform.libc_ver())
    return (
        f"{hardware}; Python {platform.python_version()}, torch {torch.__version__}, "
        f"speechbrain {speechbrain.__version__}, {libc}"
    )


def _processor():
    """Its name and its instructions, as far as they matter here."""
    facts = processor()
    if not facts:
        return platform.processor() or platform.machine()
    flags = facts.get("flags", "").split()
    known = [
        flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags
    ]
    return f"{facts.get('model name', platform.machine())} ({', '.join(known)})"


def parser(description, batch_size=1):
    """Options that all benchmarks have."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.add_argument("--device", type=_at_hand, default="cpu", help="cpu or cuda")
    options.add_argument(
        "--repeats", type=int, default=7, help="turns; 7 or more to quote"
    )
    options.add_argument("--batch_size", type=int, default=batch_size, help="clips")
    options.add_argument(
        "--setting",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="of the recipes, such as --setting alpha 1; may be given again",
    )
    return options


def overrides(settings):
    """Settings of the command line as the yaml that recipes are loaded with."""
    return "\n".join(f"{name}: {value}" for name, value in settings)


def _at_hand(name):
    """The device that the command line names; a GPU that is not there is refused."""
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("no CUDA GPU is at hand: give --device cpu")
    return name


def say(line):
    """What a person waits by, apart from the table."""
    print(line, file=sys.stderr, flush=True)


# Variables of the environment, by how they begin.
_TELLING = ("OMP_", "MALLOC_", "MKL_", "GLIBC_TUNABLES", "NVIDIA_TF32", "PYTORCH_")


def environment_note():
    """What the user has set that changes the numbers, or nothing."""
    names = [n for n in os.environ if n.startswith(_TELLING)]
    return ", ".join(f"{name}={os.environ[name]}" for name in sorted(names))
