"""Format tables of numbers as Markdown that is also readable in a terminal."""

import math
import re


def number(value, decimals, sign=""):
    """Return a number as text, a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:{sign}.{decimals}f}"


def interval(low, high, decimals, sign=""):
    """Return an interval as text, a dash where there is none."""
    if math.isnan(low):
        return "–"
    return f"[{number(low, decimals, sign)}, {number(high, decimals, sign)}]"


def with_interval(value, low, high, decimals):
    """Return a number with its interval as text, without one where there is none.

    Example
    -------
    >>> with_interval(0.5, 0.25, 0.75, 2), with_interval(0.5, math.nan, math.nan, 2)
    ('0.50 [0.25, 0.75]', '0.50')
    """
    if math.isnan(value) or math.isnan(low):
        return number(value, decimals)
    return f"{number(value, decimals)} {interval(low, high, decimals)}"


def as_cell(value):
    r"""Return a value as the text of a cell: one line, without markup.

    Example
    -------
    >>> as_cell("a|b\n<b>c")
    'a\\|b \\<b>c'
    """
    line = " ".join(str(value).splitlines()).replace("|", r"\|")
    return re.sub(r"<(?=[A-Za-z/!?])", r"\<", line)


def compact_table(head, rows):
    """Return a Markdown table without padding, for model cards and short tables.

    Example
    -------
    >>> print(compact_table(["model", "score"], [["a", 1.0]]))
    | model | score |
    | --- | --- |
    | a | 1.0 |
    """
    lines = [head, ["---"] * len(head), *rows]
    cells = ([as_cell(cell) for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def markdown_table(head, rows):
    """Return a Markdown table whose pipes are aligned in a terminal."""
    lines = [[as_cell(cell) for cell in line] for line in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, rule)
    return "".join(
        "| "
        + " | ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |\n"
        for line in lines
    )
