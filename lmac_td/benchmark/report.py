"""The tables, the minutes and the figures of a benchmark."""

from collections.abc import Mapping
from pathlib import Path

from lmac_td.benchmark.minutes import Minutes
from lmac_td.evaluation.comparison import comparison_to_markdown
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.evaluation.summary import write_csv
from lmac_td.files import write_atomically
from lmac_td.report.dial import dial_figure
from lmac_td.report.over_classifiers import OverClassifiers
from lmac_td.report.over_classifiers_pages import (
    differences_to_markdown,
    means_to_markdown,
    write_values,
)
from lmac_td.report.overview import curves_figure, gain_figure
from lmac_td.report.runs import Runs, read_runs
from lmac_td.report.side_by_side import by_condition_to_markdown, runs_to_markdown


def write_report(
    steps: list,
    minutes: Minutes,
    folder: str | Path,
    columns: list = (),
    intervals: bool = True,
):
    """Write tables and figures; print the tables.

    Without classifiers it writes ``table.md``, ``table.csv`` and figures. With them,
    ``table.md`` has the means over classifiers and a table for each of them,
    ``values.csv`` all values, and each classifier has a ``table_<classifier>.csv`` and
    figures.

    Arguments
    ---------
    steps : list of Step
        Finished steps.
    minutes : Minutes
        The minutes of every step.
    folder : Path
        The files are written here.
    columns : list of Column
        What to print: one table per condition with these columns only; if empty, all
        columns and the minutes.
    intervals : bool
        Whether the columns are printed with intervals.

    Returns
    -------
    dict of (str or None) to Runs
        The evaluations of each classifier, by its name; None without classifiers.
        Empty if nothing was evaluated.
    """
    runs = read_evaluations(steps)
    whole = f"{tables_to_markdown(runs)}\n{minutes_to_markdown(steps, minutes)}"
    with write_atomically(folder / "table.md", "w", encoding="utf-8") as file:
        file.write(whole.lstrip("\n"))
    shown = tables_to_markdown(runs, columns, intervals) if columns and runs else whole
    print(f"\n{shown}")
    for name, of_classifier in runs.items():
        suffix = "" if name is None else f"_{name}"
        table = of_classifier.table
        write_csv(table, folder / f"table{suffix}.csv")
        for condition in table.conditions:
            end = f"{suffix}_{condition}.png"
            curves_figure(folder / f"curves{end}", table, condition)
            gain_figure(folder / f"gain{end}", table, condition)
    if runs:
        means = OverClassifiers(runs)
        for condition in means.conditions:
            dial_figure(folder / f"dial_{condition}.png", means, condition)
        if None not in runs:
            write_values(means, folder / "values.csv")
    return runs


def read_evaluations(steps: list) -> dict[str | None, Runs]:
    """Read the evaluations of each classifier into one table.

    Arguments
    ---------
    steps : list of Step
        Finished steps.
    """
    paths = {}
    for step in steps:
        if step.kind == "evaluate":
            paths.setdefault(step.classifier, []).append(step.path)
    return {classifier: read_runs(tables) for classifier, tables in paths.items()}


def tables_to_markdown(
    runs: Mapping, columns: list = (), intervals: bool = True
) -> str:
    """Render the tables: the means over classifiers, then those of each classifier.

    Arguments
    ---------
    runs : dict of (str or None) to Runs
    columns, intervals
        See :func:`write_report`.
    """
    if None in runs:
        return runs_to_markdown(runs[None], columns, intervals)
    sections = []
    if len(runs) > 1:
        pages = means_to_markdown(OverClassifiers(runs), columns, intervals)
        sections.append(f"## All classifiers\n\n{pages}")
    for classifier, of_classifier in runs.items():
        page = runs_to_markdown(of_classifier, columns, intervals)
        sections.append(f"## Classifier {classifier}\n\n{page}")
    return "\n".join(sections)


def conditions_to_markdown(runs: Mapping, columns: list) -> str:
    """Render each column with the conditions side by side, for each classifier.

    Arguments
    ---------
    runs : dict of (str or None) to Runs
    columns : list of Column
    """
    sections = []
    for name, of_classifier in runs.items():
        title = "" if name is None else f" ({name})"
        tables = by_condition_to_markdown(of_classifier, columns)
        sections.append(f"## Every condition{title}\n\n{tables}")
    return "\n".join(sections)


def comparisons_to_markdown(runs: Mapping, first: str, second: str) -> str:
    """Compare two rows clip by clip, for each classifier and over all of them.

    Arguments
    ---------
    runs : dict of (str or None) to Runs
    first, second : str
        Names of rows. With classifiers, names without seeds: the mean over seeds and
        classifiers is compared.

    Raises
    ------
    SettingError
        If there are no such rows.
    """
    if None in runs:
        return comparison_to_markdown(runs[None].table, first, second)
    return differences_to_markdown(OverClassifiers(runs), first, second)


def minutes_to_markdown(steps: list, minutes: Minutes) -> str:
    """Render the minutes of all runs as a table."""
    rows = {}
    for step in steps:
        known = minutes.of(step)
        cells = rows.setdefault(step.run, ["–", "–"])
        more = "> " if known.get("unmeasured") else ""
        cells[step.kind == "evaluate"] = f"{more}{known.get('minutes', 0.0):.1f}"
    table = markdown_table(
        ["run", "training (min)", "evaluation (min)"],
        [[run, *cells] for run, cells in rows.items()],
    )
    return f"### Minutes\n\n{table}"
