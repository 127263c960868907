"""The table, the minutes and the figures of a benchmark."""

from pathlib import Path

from lmac_td.benchmark.minutes import Minutes
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.evaluation.summary import write_csv
from lmac_td.files import write_atomically
from lmac_td.report.overview import curves_figure, gain_figure
from lmac_td.report.runs import read_runs
from lmac_td.report.side_by_side import runs_to_markdown


def write_report(steps: list, minutes: Minutes, folder: str | Path, columns: list = ()):
    """Write ``table.md``, ``table.csv`` and the figures; print the table.

    Arguments
    ---------
    steps : list of Step
        All steps, finished.
    minutes : Minutes
        The minutes of every step.
    folder : Path
        The files are written here.
    columns : list of Column
        What to print: one table per condition with these columns only; if empty, all
        columns and the minutes.

    Returns
    -------
    Runs or None
        All evaluations in one table; None if nothing was evaluated.
    """
    tables = [step.path for step in steps if step.kind == "evaluate"]
    runs = read_runs(tables) if tables else None
    sections = [runs_to_markdown(runs)] if runs is not None else []
    sections.append(minutes_to_markdown(steps, minutes))
    whole = "\n".join(sections)
    with write_atomically(folder / "table.md", "w", encoding="utf-8") as file:
        file.write(whole)
    compact = columns and runs is not None
    print(f"\n{runs_to_markdown(runs, columns) if compact else whole}")
    if runs is not None:
        write_csv(runs.table, folder / "table.csv")
        for condition in dict.fromkeys(condition for condition, _ in runs.table.rows):
            curves_figure(folder / f"curves_{condition}.png", runs.table, condition)
            gain_figure(folder / f"gain_{condition}.png", runs.table, condition)
    return runs


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
