"""Run the commands that are not up to date, each as a task of doit.

doit (https://pydoit.org) decides which commands are up to date, and runs the others in
order, one or several at a time. A command is up to date if it finished with the same
settings, its output exists, and none of the commands that it needs ran after it. doit
records this in ``doit.json``. Folders of earlier versions, which hold a ``state.json``,
are not read: their commands run again, and a finished training ends at once.
"""

import contextlib
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import doit.action
import doit.api
import doit.cmd_base
import doit.dependency
import doit.exceptions
import doit.reporter
import doit.task
import doit.tools
from doit.globals import Globals
from tqdm import tqdm

from lmac_td.benchmark.commands import Commands
from lmac_td.benchmark.minutes import Minutes
from lmac_td.benchmark.step import Step
from lmac_td.errors import DataError
from lmac_td.files import write_atomically
from lmac_td.locks import one_writer


class CommandFailedError(Exception):
    """A command of the benchmark failed; ``exit_code`` is what to exit with."""

    def __init__(self, message, exit_code=1):
        super().__init__(message)
        self.exit_code = exit_code


def run_all(
    steps: list,
    folder: Path,
    jobs: int = 1,
    on_finished: Callable[[Step, Minutes], None] | None = None,
) -> Minutes:
    """Run all steps that are not up to date, several at a time.

    Arguments
    ---------
    steps : list of Step
        The steps; each comes after those that it needs.
    folder : Path
        Folder of logs, minutes and doit's database; it is locked during the run.
    jobs : int
        How many commands at a time.
    on_finished : callable, optional
        Called with each step when it is finished, or is up to date, and the minutes.

    Returns
    -------
    Minutes
        The minutes of each command.

    Raises
    ------
    CommandFailedError
        If a command fails; the others are stopped.
    SettingError
        If another benchmark, or a command of a killed one, uses the folder.
    DataError
        If the folder's files are damaged.
    """
    with one_writer(folder, "benchmark", "--folder"):
        minutes = Minutes(folder / "minutes.json")
        minutes.require_nothing_runs()
        commands = Commands(folder, minutes, jobs)
        reporter = Reporter(steps, commands, minutes, on_finished)
        with contextlib.closing(reporter):
            loader = _Loader(_tasks(steps, commands), folder, reporter, jobs)
            plugin = f"{Database.__module__}:{Database.__name__}"
            try:
                doit.api.run_tasks(loader, {}, {"BACKEND": {"whole": plugin}})
            finally:
                commands.stop()
    if reporter.failure:
        raise CommandFailedError(reporter.failure.message, reporter.failure.exit_code)
    return minutes


def _tasks(steps, commands):
    """Return one doit task per step.

    Tasks are named by their output: a command that makes the same output with other
    settings replaces the first.
    """
    names = {id(step): urllib.parse.quote(str(step.makes)) for step in steps}
    return [
        doit.task.Task(
            name=names[id(step)],
            actions=[Command(step, commands)],
            targets=[step.path],
            # Each `result_dep` is also a dependency: the need runs before.
            uptodate=[
                doit.tools.config_changed(
                    {"command": step.command, "settings": step.settings}
                ),
                *(doit.tools.result_dep(names[id(need)]) for need in step.needs),
            ],
            meta={"step": step},
        )
        for step in steps
    ]


class Command(doit.action.BaseAction):
    """The action of a task: a step's command.

    Its result differs in every run, so that tasks that need it run again afterwards.
    """

    def __init__(self, step: Step, commands: Commands):
        self.step, self.commands = step, commands
        self.out = self.err = self.result = None
        self.values = {}

    def execute(self, out=None, err=None):
        """Run the command; return doit's failure, or None."""
        failure = self.commands.run(self.step)
        if failure:
            failed = doit.exceptions.TaskFailed(failure.message)
            failed.failure = failure
            return failed
        self.result = {"ended": time.time_ns()}
        return None


class Database(doit.dependency.JsonDB):
    """doit's database in a json file that is never partly written.

    Every command starts in its own thread and writes here, so there is a lock.
    """

    def __init__(self, name, codec, *, module_name=None):
        self.lock = threading.Lock()
        super().__init__(name, codec, module_name=module_name)

    def _load(self):
        try:
            entries = super()._load()
        except (OSError, ValueError, doit.dependency.DatabaseException):
            entries = None
        if not isinstance(entries, dict):
            raise DataError(
                f"{self.name} cannot be read: delete it to run everything again"
            )
        return entries

    def set(self, task_id, dependency, value):
        """Store a value of a task."""
        with self.lock:
            super().set(task_id, dependency, value)

    def remove(self, task_id):
        """Remove a task."""
        with self.lock:
            super().remove(task_id)

    def dump(self):
        """Write the file."""
        with self.lock, write_atomically(self.name, "w", encoding="utf-8") as file:
            file.write(self.codec.encode(self._db))


class _Loader(doit.cmd_base.TaskLoader2):
    """Gives doit our tasks and its configuration."""

    def __init__(self, tasks, folder, reporter, jobs):
        super().__init__()
        self.tasks = tasks
        self.doit_config = {
            "dep_file": str(folder / "doit.json"),
            "backend": "whole",
            "reporter": reporter,
            # Always use threads, so that the main thread can handle Ctrl-C.
            "num_process": jobs,
            "par_type": "thread",
        }

    def load_doit_config(self):
        """Return the options of doit."""
        return self.doit_config

    def load_tasks(self, cmd, pos_args):
        """Return all tasks."""
        return self.tasks


class Reporter(doit.reporter.ZeroReporter):
    """Prints one line per stage; a terminal also shows the running commands below.

    Arguments
    ---------
    steps : list of Step
    commands : Commands
        All are stopped when one fails.
    minutes : Minutes
    on_finished : callable, optional
        Called with each step when it is finished, or is up to date.
    """

    desc = "one line per stage"

    def __init__(
        self,
        steps: list,
        commands: Commands,
        minutes: Minutes,
        on_finished: Callable[[Step, Minutes], None] | None = None,
    ):
        super().__init__(sys.stdout, {})
        self.commands, self.minutes = commands, minutes
        self.on_finished = on_finished
        self.failure = None
        self.n_steps, self.n_done = len(steps), 0
        self.width = max((len(step.name) for step in steps), default=0)
        self.running = []
        self.bar = tqdm(
            total=self.n_steps,
            disable=None,
            leave=False,
            bar_format="{n}/{total} done{desc}",
        )

    def execute_task(self, task):
        """Mark what a command makes as unfinished; it starts in its own thread."""
        Globals.dep_manager.remove_success(task)
        Globals.dep_manager.backend.dump()
        self.running.append(task.meta["step"].name)
        self._show_running()

    def add_success(self, task):
        """Save the success of a command in doit's file at once."""
        Globals.dep_manager.backend.dump()
        self._end(task, "finished")

    def skip_uptodate(self, task):
        """Report a command that need not run."""
        self._end(task, "up to date")

    def add_failure(self, task, fail):
        """Stop all commands after the first failure; later failures follow from it."""
        failure = getattr(fail, "failure", None)
        if failure is None:  # a failure of doit itself
            raise RuntimeError(fail.get_msg())
        if not failure.interrupted and self.failure is None:
            self.failure = failure
        self._end(task, "interrupted" if failure.interrupted else "failed")
        Globals.dep_manager.backend.dump()
        self.commands.stop()

    def _end(self, task, state):
        step = task.meta["step"]
        self.n_done += 1
        if step.name in self.running:
            self.running.remove(step.name)
        minutes = self.minutes.of(step).get("minutes", 0.0)
        count = f"[{self.n_done:{len(str(self.n_steps))}}/{self.n_steps}]"
        line = (
            f"{count} {step.name:{self.width}}  {state:<11} {minutes:6.1f} min  "
            f"{_short(self.commands.log(step))}"
        )
        with self.bar.external_write_mode(file=sys.stdout):
            print(line, flush=True)
        self.bar.update(1)
        self._show_running()
        if self.on_finished is not None and state in ("finished", "up to date"):
            self.on_finished(step, self.minutes)

    def _show_running(self):
        names = ", ".join(self.running)
        self.bar.set_description_str(names and f"; running: {names}")

    def close(self):
        """Remove the display below the lines."""
        self.bar.close()


def _short(path):
    """Return a path relative to the current folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
