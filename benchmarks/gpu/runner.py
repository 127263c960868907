"""Run the parts of a GPU run one after the other, within a total time.

    benchmarks/gpu.sh [FOLDER] [--dry] [--install] [--budget SECONDS] [--parts NAME ...]

Each part runs in its own process with a time limit. If a part fails or is stopped at
its limit, this is recorded and the next part runs. A part is skipped if too little time
is left. The exit code is 0 if every part succeeded, 1 if one did not, and 2 if the
machine cannot run them.
"""

import argparse
import contextlib
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks.gpu import environment, figures
from benchmarks.processes import context_of

BUDGET_S = 480
STOPPING_S = 3  # reserved at the end, to stop a part and write the summary
# On a CPU, torch.compile would take minutes.
DRY_ENVIRONMENT = {"TORCH_COMPILE_DISABLE": "1"}
MODULE = "benchmarks.gpu.parts"


@dataclass(frozen=True)
class Part:
    """A part and its time limits.

    Attributes
    ----------
    name : str
        A key of :data:`benchmarks.gpu.parts.PARTS`.
    limit_s : float
        The part is stopped after this time.
    least_s : float
        The part is skipped if less time is left.
    """

    name: str
    limit_s: float = 60
    least_s: float = 20


# By decreasing importance, since the last ones are skipped first.
PARTS = (
    Part("rates"),
    Part("gpu_equals_cpu", limit_s=90),
    Part("train_published"),
    Part("train_float32"),
    Part("train_tf32"),
    Part("train_bf16"),
    Part("eval_published"),
    Part("eval_float32"),
    Part("eval_tf32"),
    Part("eval_bf16"),
    Part("bf16_training", limit_s=90, least_s=30),
    Part("train_bf16_compile", limit_s=150, least_s=45),
    Part("eval_bf16_compile", limit_s=120, least_s=45),
)


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    options = argparse.ArgumentParser(
        prog="benchmarks/gpu.sh",
        description="Measure what cannot be measured without a GPU.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options.add_argument(
        "folder",
        nargs="?",
        default=os.environ.get("OUT") or environment.ROOT / "results" / "gpu",
        help="folder of the figures",
    )
    options.add_argument(
        "--dry", action="store_true", help="on the CPU, with tiny widths and clips"
    )
    options.add_argument(
        "--install",
        action="store_true",
        help="install missing packages by pip (never PyTorch)",
    )
    options.add_argument(
        "--budget", type=float, default=BUDGET_S, metavar="S", help="total seconds"
    )
    names = [part.name for part in PARTS]
    options.add_argument(
        "--parts", nargs="+", default=names, choices=names, metavar="NAME",
        help="parts to run",
    )  # fmt: skip
    return options.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Check the machine, run the parts, print the summary; return the exit code."""
    end = time.monotonic()
    options = read_options(argv)
    end += options.budget
    folder = Path(options.folder).resolve()
    figures.clear(folder)
    say(f"Writing figures to {folder}")
    found = environment.check(options.dry, options.install, options.budget / 4)
    status = {"dry": options.dry, "environment": found.lines, "parts": []}
    if found.problem:
        found.lines.append(f"error: {found.problem}")
        figures.write(folder, figures.STATUS, status)
        print(f"error: {found.problem}", file=sys.stderr)
        return 2
    for line in found.lines:
        say(line)
    if options.dry:
        os.environ.update(DRY_ENVIRONMENT)
    for part in PARTS:
        if part.name in options.parts:
            run_part(part, folder, status, end, options.dry)
    say(figures.summary(folder))
    return int(any(part["status"] != "done" for part in status["parts"]))


def say(line: str) -> None:
    """Print a line without buffering."""
    print(line, flush=True)


def run_part(part: Part, folder: Path, status: dict, end: float, dry: bool) -> None:
    """Run a part, and record its result.

    Arguments
    ---------
    part : Part
    folder : Path
    status : dict
        The result is appended to its list ``parts``.
    end : float
        The end of the total time, on the clock of ``time.monotonic``.
    dry : bool
    """
    record = {"name": part.name, "status": "running", "seconds": 0.0, "note": ""}
    status["parts"].append(record)
    begin = time.monotonic()
    left = end - begin - STOPPING_S
    if left < part.least_s:
        record["status"] = "skipped"
        record["note"] = f"{max(left, 0):.0f} s left, at least {part.least_s:g} needed"
    else:
        figures.write(folder, figures.STATUS, status)
        # A CPU may be slow, so a dry run has only the total time as its limit.
        limit = left if dry else min(part.limit_s, left)
        record["status"], record["note"] = process(part.name, folder, limit, dry)
    record["seconds"] = time.monotonic() - begin
    figures.write(folder, figures.STATUS, status)
    result = ": ".join(filter(None, [record["status"], record["note"]]))
    say(f"{part.name} {result} ({record['seconds']:.0f} s)")


def call_of(
    name: str, folder: Path, until: float, dry: bool
) -> tuple[Callable[[list[str]], None], list[str]]:
    """Return the function that runs a part in its process, and its argument."""
    words = ["--part", name, "--folder", str(folder), "--until", f"{until:.1f}"]
    return run_words, [*words, "--dry"] if dry else words


def run_words(words: list[str]) -> None:
    """Run ``python -m benchmarks.gpu.parts`` with these words, in this process."""
    importlib.import_module(MODULE).main(words)


def in_session(log: Path, call: Callable, argument: object) -> None:
    """Call a function in a session of its own, with its output in a log."""
    os.setsid()  # so that its children are stopped with it
    with open(log, "a", encoding="utf-8") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    os.chdir(environment.ROOT)  # recipes are relative to it
    call(argument)


def process(name: str, folder: Path, seconds: float, dry: bool) -> tuple[str, str]:
    """Run a part in a process; return its status and a note.

    Arguments
    ---------
    name : str
    folder : Path
        The output of the part is appended to the log in this folder.
    seconds : float
        Time limit, after which the process and its children are stopped.
    dry : bool
    """
    log = folder / figures.LOG
    with open(log, "a", encoding="utf-8") as heading:
        heading.write(f"\n== {name}\n")
    size = log.stat().st_size
    end = time.time() + seconds
    context = context_of(dry, MODULE)
    call, argument = call_of(name, folder, end, dry)
    child = context.Process(target=in_session, args=(log, call, argument))
    try:
        child.start()
        child.join(timeout=max(end - time.time(), 0))
        code = child.exitcode
    except BaseException:  # interrupted
        stop(child)
        raise
    if code is None:
        stop(child)
        return "stopped", f"at its limit of {seconds:.0f} s; its figures are valid"
    if code == 0:
        return "done", ""
    text = log.read_bytes()[size:].decode("utf-8", errors="replace")
    return "failed", f"{environment.last_line(text)} (exit code {code})"


def stop(child: BaseProcess) -> None:
    """Kill a process and its children, such as compilers."""
    if child.pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.join()
