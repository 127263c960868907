"""Record the minutes of each command, over all attempts, in a file.

doit forgets a command that failed or was stopped, but its minutes are recorded here. An
entry belongs to the output of a command. A command that makes the same output with
other settings replaces it.
"""

import json
import threading
from pathlib import Path

import psutil

from lmac_td.benchmark.step import Step
from lmac_td.errors import DataError, SettingError, UnreadableFileError
from lmac_td.files import write_atomically
from lmac_td.reading import checked, read_json

_KINDS = {
    "command": str, "state": str, "minutes": (int, float), "process": int
}  # fmt: skip
CUT_SHORT = ("running", "interrupted", "failed")  # "running": this program was killed


class Minutes:
    """The state and the minutes of every command.

    Arguments
    ---------
    path : Path
        The file; it is written when a command starts.

    Raises
    ------
    DataError
        If the file is damaged.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        try:
            self.entries = checked(path, read_json(path), _entries)
        except FileNotFoundError:
            self.entries = {}
        except (OSError, UnreadableFileError) as error:
            raise DataError(
                f"{error}; delete it, minutes are then counted from 0"
            ) from error

    def of(self, step: Step) -> dict:
        """Return the entry of a step, or of another command that made the same."""
        return self.entries.get(str(step.makes), {})

    def is_finished(self, step: Step) -> bool:
        """Return whether the last command that made a step's output was successful.

        A command with other settings does not count.
        """
        known = self.of(step)
        same = known.get("command") == step.command
        return same and known.get("state") == "finished" and step.is_made()

    def start(self, step: Step, process: int) -> float:
        """Record that a step runs; return the minutes of its earlier attempts.

        An existing training resumes, and so does an interrupted command. A finished
        evaluation starts again, with 0 minutes.
        """
        known, made = self.of(step), step.is_made()
        cut_short = (
            known.get("command") == step.command and known.get("state") in CUT_SHORT
        )
        trains = step.kind != "evaluate"
        goes_on = cut_short or (trains and made)
        before = known.get("minutes", 0.0) if goes_on else 0.0
        self.note(
            step,
            command=step.command,
            state="running",
            minutes=before,
            process=process,
            process_started=_started(process),
            # It was trained, at least in part, without the benchmark.
            unmeasured=trains and made and known.get("unmeasured", True),
        )
        return before

    def note(self, step: Step, **what):
        """Change the entry of a step, and write the file."""
        with self._lock:
            self.entries.setdefault(str(step.makes), {}).update(what)
            self._write()

    def remember(self, step: Step, entry: dict):
        """Hold the entry of a step that ran elsewhere; the file is not written."""
        self.entries[str(step.makes)] = entry

    def _write(self):
        with write_atomically(self.path, "w", encoding="utf-8") as file:
            json.dump(self.entries, file, indent=1)

    def take(self, other: "Minutes"):
        """Take the entries of another file, and write this one."""
        with self._lock:
            self.entries |= other.entries
            self._write()

    def require_nothing_runs(self):
        """Refuse to run while a command of an earlier benchmark still runs.

        Raises
        ------
        SettingError
        """
        for known in self.entries.values():
            process = known.get("process")
            if known.get("state") != "running" or process is None:
                continue
            started = _started(process)
            if started is not None and started == known.get("process_started"):
                raise SettingError(
                    f"`{known['command']}` (process {process}) of a benchmark that was "
                    "killed still runs: wait for it or stop it, or "
                    "give another --folder"
                )


def _entries(content):
    """Return the content of a file of minutes; TypeError if it holds something else."""
    for entry in content.values():
        for name, kind in _KINDS.items():
            if name in entry and not isinstance(entry[name], kind):
                raise TypeError(name)
    return content


def _started(process):
    """Return when a process started (s since 1970); None if it does not run."""
    try:
        found = psutil.Process(process)
        if found.status() == psutil.STATUS_ZOMBIE:
            return None
        return found.create_time()
    except psutil.Error:
        return None
