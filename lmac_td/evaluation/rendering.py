"""Render the common table as Markdown."""

import numpy as np
import pandas as pd

from lmac_td.evaluation.columns import Column, columns_of, groups
from lmac_td.evaluation.frame import n_clips, values_of
from lmac_td.evaluation.markdown import interval, markdown_table, number
from lmac_td.metrics.registry import FAITHFULNESS

MOST_NAMED = 1000
"""Clips that are named below a table; table.json names all."""


def table_to_markdown(table) -> str:
    """Render one section per condition: its groups, means above intervals.

    A group is printed if at least one method has it. It lists only the methods that
    have it.

    Arguments
    ---------
    table : FaithfulnessTable
    """
    sections = []
    for condition in dict.fromkeys([*table.conditions, *table.without_target]):
        rows = table.methods(condition)
        section = [f"### {condition}\n"]
        for group in groups():
            columns = columns_of(rows.values(), group)
            members = {
                method: scores
                for method, scores in rows.items()
                if any(column.is_in(scores) for column in columns)
            }
            if members:
                section.append(f"**{group.capitalize()}**\n")
                section.append(_group(table, condition, group, columns, members))
        without = table.without_target.get(condition, [])
        if without:
            section.append(_without_target_note(without, rows.values()))
        sections.append("\n".join(section))
    return "\n".join(sections)


def _group(table, condition, group, columns, rows):
    """Render the means of a group, a note, and the intervals."""
    head = ["method", *(column.header for column in columns)]
    counts = _counts(rows.values()) if group == FAITHFULNESS else {}
    means, intervals = [], []
    for method, scores in rows.items():
        cells = [table.cell(condition, method, column) for column in columns]
        decimals = [column.metric.decimals for column in columns]
        values = [number(cell[0], d) for cell, d in zip(cells, decimals, strict=True)]
        ends = [interval(*c[1:], d) for c, d in zip(cells, decimals, strict=True)]
        means.append([method, *values, *(str(n(scores)) for n in counts.values())])
        intervals.append([method, *ends])
    note = undefined_note(columns, rows.values())
    return (
        markdown_table([*head, *counts], means)
        + (f"\n{note}" if note else "")
        + f"\n{100 * table.confidence:g} % intervals, bootstrap over clips:\n\n"
        + markdown_table(head, intervals)
    )


def _counts(rows):
    """Return the counts of every row, by the header of their column."""
    counts = {"clips": n_clips, "tags": len, "zero maps": n_zero_maps}
    if all(n_clips(scores) == len(scores) for scores in rows):
        del counts["tags"]
    return counts


def n_zero_maps(scores: pd.DataFrame) -> int:
    """Count the maps that are zero everywhere: SPS is NaN for them alone."""
    return int(scores["SPS"].isna().sum())


def undefined_note(columns: list[Column], rows) -> str:
    """Say for how many clips a metric is defined, if it is undefined for some.

    Maps that are zero everywhere are not included. They are counted by
    :func:`n_zero_maps`.

    Arguments
    ---------
    columns : list of Column
    rows : iterable of pandas.DataFrame

    Returns
    -------
    str
        One line, or an empty string.
    """
    rows = list(rows)
    several = any(n_clips(scores) < len(scores) for scores in rows)
    unit = "explanations" if several else "clips"
    found = []
    for metric in dict.fromkeys(column.metric.name for column in columns):
        counts = {}
        for scores in (scores for scores in rows if metric in scores):
            defined = int((~np.isnan(values_of(scores, metric))).sum())
            if 0 < defined < len(scores) - n_zero_maps(scores):
                counts[defined] = len(scores)
        if counts:
            fewest, most = min(counts), max(counts)
            over = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            found.append(f"{metric} over {over} of {counts[most]} {unit}")
    return f"Undefined for the others: {', '.join(found)}.\n" if found else ""


def _without_target_note(without, rows):
    """Name the clips that are not in a table, because they have no tag."""
    n_scored = max(map(n_clips, rows), default=0)
    return (
        f"No tag reaches its threshold in {len(without)} of "
        f"{n_scored + len(without)} clips, which are not scored: "
        f"{', '.join(without[:MOST_NAMED])}{', ...' * (len(without) > MOST_NAMED)}.\n"
    )
