"""Render means over classifiers: Markdown, and a csv of all values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lmac_td.evaluation.columns import Column, columns_of, groups
from lmac_td.evaluation.markdown import interval, markdown_table, number
from lmac_td.evaluation.summary import write_frame
from lmac_td.report.over_classifiers import Mean, OverClassifiers

# In the csv: the value is a mean over all classifiers, or over all seeds.
ALL = "all"
DIGITS = 6


def means_to_markdown(
    means: OverClassifiers, columns: Sequence[Column] = (), intervals: bool = True
) -> str:
    """Render one section per condition and one table per group.

    Arguments
    ---------
    means : OverClassifiers
    columns : sequence of Column
        One table per condition with these columns only, instead of groups.
    intervals : bool
        Whether each cell has its interval.

    Returns
    -------
    str
    """
    sections = []
    for condition in means.conditions:
        rows = means.rows(condition)
        frames = means.frames(condition, *rows)
        tables = {name: columns_of(frames, name) for name in groups()}
        if columns:
            tables = {"method": [c for c in columns if any(map(c.is_in, frames))]}
        sections.append(f"### {condition}, mean over classifiers\n")
        for name, shown in tables.items():
            if shown:
                lines = [
                    [
                        row,
                        _numbers(means.members(condition, row)),
                        *_cells(means, condition, row, shown, intervals),
                    ]
                    for row in rows
                ]
                head = [name, "classifiers × seeds", *(c.header for c in shown)]
                sections.append(markdown_table(head, lines))
    brackets = (
        f" In brackets: {100 * means.confidence:g} % intervals, bootstrap over clips, "
        "the same clips for all classifiers."
        if intervals
        else ""
    )
    sections.append(
        f"{', '.join(means.runs)}: means over seeds of each classifier, then over "
        f"classifiers. ±: standard deviation over classifiers.{brackets}\n"
    )
    return "\n".join(sections)


def differences_to_markdown(means: OverClassifiers, first: str, second: str) -> str:
    """Render the differences of two rows, with paired intervals, by condition.

    Arguments
    ---------
    means : OverClassifiers
    first, second : str
        Names of rows, without seeds.

    Raises
    ------
    SettingError
        If no classifier has both rows.
    """
    sections = []
    for condition in means.conditions:
        columns = _columns(means, condition, first, second)
        found = {
            column: means.difference(condition, first, second, column)
            for column in columns
            if column.statistic == "mean"
        }
        lines = [
            [
                column.header,
                number(mean.value, column.metric.decimals, sign="+"),
                interval(mean.low, mean.high, column.metric.decimals, sign="+"),
                number(mean.sd, column.metric.decimals),
            ]
            for column, mean in found.items()
            if not math.isnan(mean.value)
        ]
        confidence = f"{100 * means.confidence:g} % interval"
        head = ["metric", "difference", confidence, "sd over classifiers"]
        title = f"### {condition}: {first} − {second}, mean over classifiers\n"
        sections.append(f"{title}\n{markdown_table(head, lines)}")
    return "\n".join(sections)


def write_values(means: OverClassifiers, path: str | Path) -> None:
    """Write one line per condition, row, column, classifier and seed.

    ``classifier`` or ``seed`` is ``all`` for means. ``low`` and ``high`` are the ends
    of the interval over clips, ``sd`` is the standard deviation over what a mean is of.

    Arguments
    ---------
    means : OverClassifiers
    path : str or Path
        Where to write; folders are created.
    """
    lines = [
        {"condition": condition, "row": row, "column": column.name, **line}
        for condition in means.conditions
        for row in means.rows(condition)
        for column in _columns(means, condition, row)
        for line in _values(means, condition, row, column)
    ]
    write_frame(pd.DataFrame(lines), path, DIGITS)


def _columns(means, condition, *rows):
    frames = means.frames(condition, *rows)
    return [column for name in groups() for column in columns_of(frames, name)]


def _values(means, condition, row, column):
    """Yield the values of one column of a row: each run's, then the mean."""
    for classifier, runs in means.runs.items():
        for member in runs.seeds.get(row, [row]):
            if (condition, member) in runs.table:
                seed = runs.seed_of.get(member)
                value, low, high = runs.table.cell(condition, member, column)
                cell = Mean(value, math.nan, low, high)
                yield _line(classifier, "" if seed is None else seed, cell)
    yield _line(ALL, ALL, means.mean(condition, row, column))


def _line(classifier, seed, mean):
    return {
        "classifier": classifier,
        "seed": seed,
        "value": mean.value,
        "low": mean.low,
        "high": mean.high,
        "sd": mean.sd,
    }


def _numbers(members):
    """Return the numbers of classifiers and seeds, such as "3 × 1" or "3 × 1 to 3"."""
    seeds = sorted({len(of_seeds) for of_seeds in members.values()})
    of_seeds = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f"{len(members)} × {of_seeds}"


def _cells(means, condition, row, columns, intervals):
    for column in columns:
        mean, decimals = means.mean(condition, row, column), column.metric.decimals
        cell = number(mean.value, decimals)
        if not math.isnan(mean.sd):
            cell += f" ± {number(mean.sd, decimals)}"
        if intervals and number(mean.low, decimals) != number(mean.high, decimals):
            cell += f" {interval(mean.low, mean.high, decimals)}"
        yield cell
