"""Keep the scores of finished runs, and do not repeat these runs.

A folder of kept runs can be part of a repository: it holds the scores of every clip and
all settings, but no weights and no sounds. Each run has a folder of its name::

    lmac_td-cnn14_seed1-seed1234/
        clips.csv.gz  the scores of every clip
        table.json    the settings of the evaluation
        run.json      the settings that decide the scores, the commands, their minutes
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from lmac_td.benchmark.minutes import Minutes
from lmac_td.benchmark.step import Step
from lmac_td.errors import DataError, UnreadableFileError
from lmac_td.files import write_atomically
from lmac_td.reading import checked, read_json
from lmac_td.report.runs import PACKED_CLIPS, TABLE, read_run

RUN = "run.json"
_WRITTEN = ("command", "minutes")


class KeptRuns:
    """The runs that are kept in a folder.

    Arguments
    ---------
    folder : Path
        Created with the first run.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def missing(self, steps: Sequence[Step]) -> list[Step]:
        """Return the steps of runs that are not kept, and what these need.

        Arguments
        ---------
        steps : sequence of Step
            All steps, in order.

        Raises
        ------
        DataError
            If a kept run cannot be read.
        """
        needed = set()
        for step in steps:
            if step.kind == "evaluate" and self.find(step) is None:
                needed |= {id(part) for part in step.chain}
        return [step for step in steps if id(step) in needed]

    def find(self, step: Step) -> tuple[Step, dict] | None:
        """Return the kept version of a step and its entry of minutes; None if not kept.

        A run counts if the settings that decide its scores are the same. A setting that
        only one of the two versions has does not count. Data may lie in another place;
        :func:`lmac_td.report.runs.read_runs` compares their content.

        Raises
        ------
        DataError
            If the kept run cannot be read.
        """
        path = self._folder(step) / RUN
        try:
            content = checked(path, read_json(path), _content)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnreadableFileError) as error:
            raise DataError(f"{error}; delete {path} to run it again") from error
        settings, entries = content
        shared = settings.keys() & step.deciding.keys()
        same = all(settings[name] == step.deciding[name] for name in shared)
        if not same or step.kind not in entries:
            return None
        name = TABLE if step.kind == "evaluate" else RUN
        entry = {"state": "finished", **entries[step.kind]}
        return dataclasses.replace(step, makes=path.with_name(name), needs=[]), entry

    def keep(self, step: Step, minutes: Minutes) -> None:
        """Copy the scores of a finished evaluation; nothing for other steps.

        Arguments
        ---------
        step : Step
        minutes : Minutes
            Of all steps.

        Raises
        ------
        DataError
            If the evaluation cannot be read.
        """
        if step.kind != "evaluate":
            return
        folder = self._folder(step)
        commands = {
            part.kind: {name: minutes.of(part).get(name) for name in _WRITTEN}
            for part in step.chain
            if part.run == step.run
        }
        content = {"settings": step.deciding, **commands}
        if _read(folder / RUN) == content:
            return
        run = read_run(step.path)
        run.table.clips_to_csv(folder / PACKED_CLIPS)
        _write(folder / TABLE, {"settings": run.settings})
        _write(folder / RUN, content)

    def _folder(self, step):
        return self.folder / step.name.removesuffix(f"-{step.kind}")


def available(
    steps: Sequence[Step], minutes: Minutes, kept: KeptRuns | None = None
) -> Iterator[Step]:
    """Yield the steps that are finished here, or else their kept versions.

    The minutes of kept runs are added to ``minutes``.

    Arguments
    ---------
    steps : sequence of Step
    minutes : Minutes
    kept : KeptRuns, optional
    """
    for step in steps:
        if minutes.is_finished(step):
            yield step
        elif found := kept and kept.find(step):
            minutes.remember(*found)
            yield found[0]


def _content(content):
    """Return the settings and the entries of a run.json; an error if one is missing."""
    entries = {}
    for kind in content.keys() - {"settings"}:
        entry = {name: content[kind][name] for name in _WRITTEN}
        entries[kind] = entry | {"minutes": float(entry["minutes"])}
    return dict(content["settings"]), entries


def _read(path):
    try:
        return read_json(path)
    except (OSError, UnreadableFileError):
        return None


def _write(path, content):
    with write_atomically(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")
