"""Run steps, and end with tables, figures and pages; return the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lmac_td.benchmark.minutes import Minutes
from lmac_td.benchmark.page import write_benchmark_pages
from lmac_td.benchmark.report import write_report
from lmac_td.benchmark.schedule import CommandFailedError
from lmac_td.benchmark.step import Step
from lmac_td.report.runs import Runs


def run_and_report(
    run: Callable[[], tuple[list[Step], Minutes]],
    folder: Path,
    columns: Sequence = (),
    intervals: bool = True,
    add: Callable[[dict[str | None, Runs]], None] | None = None,
    closing: str | None = None,
) -> int:
    """Run steps, write and print what they measured, and name the pages.

    Arguments
    ---------
    run : callable
        Runs the steps; returns those that are finished, and their minutes.
    folder : Path
        Receives tables, figures and pages.
    columns, intervals
        See :func:`lmac_td.benchmark.report.write_report`.
    add : callable, optional
        Is given what was evaluated, and adds to the report.
    closing : str, optional
        What to print before the pages.

    Returns
    -------
    int
        0, or the exit code of a command that failed.
    """
    try:
        steps, minutes = run()
    except CommandFailedError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    runs = write_report(steps, minutes, folder, columns, intervals)
    if add is not None:
        add(runs)
    pages = write_benchmark_pages(steps, folder)
    print(f"Table (.md, .csv) and figures: {folder}")
    if closing:
        print(f"\n{closing.strip()}")
    if pages:
        print("\nPage to listen and compare:", *pages, sep="\n    ")
    return 0
