"""Run commands, each with its own log, and stop them."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from lmac_td.benchmark.minutes import Minutes
from lmac_td.benchmark.repository import ROOT
from lmac_td.benchmark.step import Step

PATIENCE_S = 20  # between asking a command to stop and killing it
NOTE_PERIOD_S = 60  # between two records of the minutes so far
LINES_SHOWN = 15  # of the log of a command that failed


@dataclass(frozen=True)
class Failure:
    """Why a command did not finish.

    Attributes
    ----------
    message : str
        For the user: the last lines of the log, the command, where the log is.
    exit_code : int
        The exit code of this program: 2 for a user's error, otherwise 1.
    interrupted : bool
        Whether this program stopped it.
    """

    message: str
    exit_code: int = 1
    interrupted: bool = False


def child_environment(jobs: int) -> dict:
    """Return the environment of the commands; each gets its share of the cores."""
    defaults = {
        "TQDM_MININTERVAL": "30",  # s; a log is no terminal
        "PYTHONUNBUFFERED": "1",  # logs are written at once
    }
    if jobs > 1:
        defaults["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))
    return defaults | os.environ


class Commands:
    """Runs commands, each in the thread that calls :meth:`run`.

    Arguments
    ---------
    folder : Path
        Receives ``logs/``.
    minutes : Minutes
    jobs : int
        Commands that run at a time; each gets its share of the cores.
    """

    def __init__(self, folder: Path, minutes: Minutes, jobs: int = 1):
        self.folder, self.minutes = folder, minutes
        self.environment = child_environment(jobs)
        self._running = {}  # Popen by step name
        self._change = threading.Condition()
        self._stopping = False

    def log(self, step: Step) -> Path:
        """Return the path of the log of a step."""
        return self.folder / "logs" / f"{step.name}.log"

    def run(self, step: Step) -> Failure | None:
        """Run a step's command until it ends; return why it failed, or None."""
        with self._change:
            if self._stopping:
                return Failure(f"{step.name} was not started", interrupted=True)
            process = self._start(step)
            self._running[step.name] = process
        before, started = self.minutes.start(step, process.pid), time.monotonic()

        def minutes():
            return before + (time.monotonic() - started) / 60

        try:
            while True:
                try:
                    process.wait(NOTE_PERIOD_S)
                    break
                except subprocess.TimeoutExpired:
                    self.minutes.note(step, minutes=minutes())
            failure = self._failure(step, process.returncode)
            state = "finished"
            if failure:
                state = "interrupted" if failure.interrupted else "failed"
            self.minutes.note(step, state=state, minutes=minutes())
            return failure
        finally:
            with self._change:
                del self._running[step.name]
                self._change.notify_all()

    def _start(self, step):
        log = self.log(step)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w", encoding="utf-8") as file:
            print(f"$ {step.command}", file=file, flush=True)
            return subprocess.Popen(
                [sys.executable, *step.arguments],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                # Only this program gets Ctrl-C; it stops each command once.
                start_new_session=True,
            )

    def _failure(self, step, code):
        if code == 0 and step.is_made():
            return None
        log = self.log(step)
        printed = log.read_text(encoding="utf-8", errors="replace")
        lines = printed.replace("\r", "\n").splitlines()[-LINES_SHOWN:]
        how = f"exit code {code}" if code else f"it did not make {step.makes}"
        lines.append(f"{step.name} failed ({how}): {step.command}")
        lines.append(f"The whole log: {log}")
        return Failure("\n".join(lines), 2 if code == 2 else 1, self._stopping)

    def stop(self):
        """Stop running commands as Ctrl-C would, then kill what still runs.

        Commands are killed after ``PATIENCE_S`` or at the second Ctrl-C. No command can
        start afterwards.
        """
        with self._change:
            self._stopping = True
            for process in self._running.values():
                process.send_signal(signal.SIGINT)
            with contextlib.suppress(KeyboardInterrupt):
                self._change.wait_for(lambda: not self._running, PATIENCE_S)
            for process in self._running.values():
                _kill(process.pid)
            self._change.wait_for(lambda: not self._running, PATIENCE_S)


def _kill(process):
    """Kill a process and its children."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process)
        for child in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
