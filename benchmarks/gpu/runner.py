"""Run the parts of a GPU run, one after the other, within a total time.

    benchmarks/gpu.sh [FOLDER] [--dry] [--install] [--budget SECONDS] [--parts NAME ...]

Each part is a process of its own with a time limit. A part that fails, or that is
stopped at its limit, is recorded, and the next one runs; a part for which no time is
left is skipped. Exit code: 0 if every part succeeded, 1 if one did not, 2 if the
machine cannot run them.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu import environment, figures

BUDGET_S = 480
STOPPING_S = 3  # of the total time: a last part is stopped, the summary written
# torch.compile alone takes minutes on a CPU.
DRY_ENVIRONMENT = {"TORCH_COMPILE_DISABLE": "1"}


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes
    ----------
    name : str
        Of :data:`benchmarks.gpu.parts.PARTS`.
    limit_s : float
        It is stopped after this time.
    least_s : float
        It is skipped where less time than this is left.
    """

    name: str
    limit_s: float = 60
    least_s: float = 20


# In the order of their worth: the last ones are the first to be skipped.
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


def read_options(argv):
    """The command line."""
    options = argparse.ArgumentParser(
        prog="benchmarks/gpu.sh",
        description="Measure on a GPU what only a GPU can tell.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options.add_argument(
        "folder",
        nargs="?",
        default=os.environ.get("OUT") or environment.ROOT / "results" / "gpu",
        help="folder that the figures are written to",
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


def main(argv=None):
    """Check the machine, run the parts, print the summary -> exit code."""
    end = time.monotonic()
    options = read_options(argv)
    end += options.budget
    folder = Path(options.folder).resolve()
    figures.clear(folder)
    say(f"Figures go to {folder}")
    found = environment.check(options.dry, options.install, options.budget / 4)
    status = {"dry": options.dry, "environment": found.lines, "parts": []}
    if found.problem:
        found.lines.append(f"error: {found.problem}")
        figures.write(folder, figures.STATUS, status)
        print(f"error: {found.problem}", file=sys.stderr)
        return 2
    for line in found.lines:
        say(line)
    for part in PARTS:
        if part.name in options.parts:
            run_part(part, folder, status, end, options.dry)
    say(figures.summary(folder))
    return int(any(part["status"] != "done" for part in status["parts"]))


def say(line):
    """Print at once."""
    print(line, flush=True)


def run_part(part, folder, status, end, dry):
    """Run one part, and record what came of it.

    Arguments
    ---------
    part : Part
    folder : Path
    status : dict
        Its list ``parts`` grows by one.
    end : float
        When the total time ends, on the clock of ``time.monotonic``.
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
        # A slow CPU has the total time alone.
        limit = left if dry else min(part.limit_s, left)
        record["status"], record["note"] = process(part.name, folder, limit, dry)
    record["seconds"] = time.monotonic() - begin
    figures.write(folder, figures.STATUS, status)
    result = ": ".join(filter(None, [record["status"], record["note"]]))
    say(f"{part.name} {result} ({record['seconds']:.0f} s)")


def command(name, folder, until, dry):
    """The command line of a part -> list of str."""
    line = [sys.executable, "-m", "benchmarks.gpu.parts", "--part", name]
    line += ["--folder", str(folder), "--until", f"{until:.1f}"]
    return [*line, "--dry"] if dry else line


def process(name, folder, seconds, dry):
    """Run a part in a process -> its status, and a note for a reader.

    Arguments
    ---------
    name : str
    folder : Path
        Its output is added to the log there.
    seconds : float
        After which it and its children are stopped.
    dry : bool
    """
    with open(folder / figures.LOG, "a+", encoding="utf-8", errors="replace") as log:
        log.write(f"\n== {name}\n")
        log.flush()
        begin = log.tell()
        child = subprocess.Popen(
            command(name, folder, time.time() + seconds, dry),
            cwd=environment.ROOT,  # recipes are named from there
            env={**os.environ, **(DRY_ENVIRONMENT if dry else {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            stop(child)
            return "stopped", f"at its limit of {seconds:.0f} s; figures so far count"
        except BaseException:  # interrupted
            stop(child)
            raise
        if code == 0:
            return "done", ""
        log.seek(begin)
        return "failed", f"{environment.last_line(log.read())} (exit code {code})"


def stop(child):
    """Kill a process and its own children, such as compilers."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
