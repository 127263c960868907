"""Write the rows of each evaluation to a file of their own when it is finished.

So the numbers of a benchmark that runs for hours can be kept as they come.
"""

from __future__ import annotations

from pathlib import Path

from lmac_td.benchmark.plan import Step
from lmac_td.evaluation.summary import summary_lines, write_frame
from lmac_td.report.runs import read_run


def write_rows(step: Step, folder: Path) -> None:
    """Write the rows of a finished evaluation to ``<run>.csv``.

    Nothing is written for other steps, or if the file is newer than the evaluation.

    Its columns are those of the table's csv, with the name of the classifier and the
    seed of the run.

    Arguments
    ---------
    step : Step
        A finished step.
    folder : Path
        Created if it is missing.

    Raises
    ------
    DataError
        If the evaluation cannot be read.
    """
    if step.kind != "evaluate":
        return
    path = folder / f"{step.name.removesuffix('-evaluate')}.csv"
    if path.exists() and path.stat().st_mtime >= step.path.stat().st_mtime:
        return
    run = read_run(step.path)
    lines = summary_lines(run.table)
    lines.insert(2, "classifier", step.classifier or run.settings.get("classifier", ""))
    lines.insert(3, "seed", run.settings["seed"])
    write_frame(lines, path)
