"""Render several runs in one table, with intervals and deviations over seeds."""

import difflib
import statistics
from collections.abc import Mapping, Sequence

from lmac_td.errors import SettingError
from lmac_td.evaluation.bootstrap import value_of
from lmac_td.evaluation.columns import Column, all_columns, columns_of, groups
from lmac_td.evaluation.frame import values_of
from lmac_td.evaluation.markdown import interval, markdown_table, number
from lmac_td.evaluation.rendering import undefined_note
from lmac_td.report.runs import Runs


def choose_columns(names: Sequence[str], option: str = "--columns") -> list[Column]:
    """Find columns of the table by name, such as ``AI`` or ``FF median``.

    Arguments
    ---------
    names : sequence of str
    option : str
        What named them, for messages.

    Raises
    ------
    SettingError
        If a name is unknown.
    """
    by_name = {column.name: column for column in all_columns()}
    for name in names:
        if name not in by_name:
            near = difflib.get_close_matches(name, by_name, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"use {', '.join(by_name)}"
            raise SettingError(f"{option}: the table has no column {name!r}: {hint}")
    return [by_name[name] for name in names]


def runs_to_markdown(
    runs: Runs, columns: Sequence[Column] = (), intervals: bool = True
) -> str:
    """Render one section per condition and one table per group, with intervals.

    Arguments
    ---------
    runs : Runs
        If a method has several seeds, each has a row, and a last row shows their
        mean and standard deviation.
    columns : sequence of Column
        One table per condition with these columns only, instead of groups.
    intervals : bool
        Whether each cell has its interval.

    Returns
    -------
    str
    """
    table, sections = runs.table, []
    for condition in table.conditions:
        rows = table.methods(condition)
        sections.append(f"### {condition}\n")
        tables = {name: columns_of(rows.values(), name) for name in groups()}
        if columns:
            in_rows = [c for c in columns if any(map(c.is_in, rows.values()))]
            tables = {"method": in_rows}
        for name, shown in tables.items():
            if shown:
                head = [name, *(column.header for column in shown)]
                lines = _lines(table, condition, shown, runs.seeds, intervals)
                note = undefined_note(shown, rows.values())
                sections.append(markdown_table(head, lines) + (note and f"\n{note}"))
    brackets = (
        f"In brackets: {100 * table.confidence:g} % intervals, bootstrap over clips. "
        if intervals
        else ""
    )
    sections.append(f"{brackets}±: standard deviation over seeds.\n")
    searches = searches_to_markdown(runs.asking, runs.controls)
    below = [remarks_to_markdown(runs.remarks), *([searches] if searches else [])]
    return "\n".join([*sections, *below])


def by_condition_to_markdown(runs: Runs, columns: Sequence[Column]) -> str:
    """Render one table per column, with one row per method and a column per condition.

    Arguments
    ---------
    runs : Runs
        If a method has several seeds, its row has their mean and standard deviation.
    columns : sequence of Column

    Returns
    -------
    str
        Without intervals.
    """
    table, tables = runs.table, []
    base_of = runs.base_of
    names = dict.fromkeys(base_of.get(row, row) for _, row in table.rows)
    for column in columns:
        lines = []
        for name in names:
            members = runs.seeds.get(name, [name])
            found = [
                [table.row(c, m) for m in members if (c, m) in table]
                for c in table.conditions
            ]
            lines.append([name, *(_over_seeds(scores, column) for scores in found)])
        tables.append(markdown_table([column.header, *table.conditions], lines))
    return "\n".join(tables)


def remarks_to_markdown(remarks: Mapping[str, str]) -> str:
    """Render remarks by method, each remark once.

    Example
    -------
    >>> print(remarks_to_markdown({"a": "no sound", "b": "no sound"}))
    a, b: no sound
    <BLANKLINE>
    """
    methods = {}
    for method, remark in remarks.items():
        methods.setdefault(remark, []).append(method)
    return "\n".join(f"{', '.join(of)}: {remark}\n" for remark, of in methods.items())


def searches_to_markdown(asking: Sequence[str], controls: Sequence[str]) -> str:
    """Say which methods ask the classifier to choose what is kept.

    Arguments
    ---------
    asking : sequence of str
        Methods that ask it.
    controls : sequence of str
        Controls in the same table.

    Returns
    -------
    str
        One sentence; empty if no method asks it.

    Example
    -------
    >>> print(searches_to_markdown(["a", "b"], ["loudness"]))
    a, b: they run the classifier again to choose what is kept, which alone raises AI; \
compare them with the controls: loudness.
    <BLANKLINE>
    """
    if not asking:
        return ""
    beside = f"the controls: {', '.join(controls)}" if controls else "controls"
    subject = "they run" if len(asking) > 1 else "it runs"
    return (
        f"{', '.join(asking)}: {subject} the classifier again to choose what is kept, "
        f"which alone raises AI; compare {'them' if len(asking) > 1 else 'it'} with "
        f"{beside}.\n"
    )


def _lines(table, condition, columns, seeds, intervals):
    lines, last = [], {members[-1]: m for m, members in seeds.items()}
    rows = table.methods(condition)
    for method, scores in rows.items():
        if any(column.is_in(scores) for column in columns):
            cells = (_cell(table, condition, method, c, intervals) for c in columns)
            lines.append([method, *cells])
        if method in last:
            members = [rows[name] for name in seeds[last[method]] if name in rows]
            name = f"{last[method]}, mean ± sd of {len(members)} seeds"
            lines.append([name, *(_over_seeds(members, c) for c in columns)])
    return lines


def _cell(table, condition, method, column, intervals):
    value, low, high = table.cell(condition, method, column)
    decimals = column.metric.decimals
    ends = "" if low == high or not intervals else f" {interval(low, high, decimals)}"
    return number(value, decimals) + ends.replace(" –", "")


def _over_seeds(members, column):
    if not members or not all(map(column.is_in, members)):
        return "–"
    name, decimals = column.metric.name, column.metric.decimals
    values = [value_of(values_of(s, name), column.statistic) for s in members]
    if len(values) < 2:
        return number(values[0], decimals)
    return (
        f"{number(statistics.mean(values), decimals)} ± "
        f"{number(statistics.stdev(values), decimals)}"
    )
