"""The tables of docs/first_comparison.md hold the numbers of results_esc10.csv."""

import csv
import re
import statistics

import pytest

from tests.pages import ROOT, table_after

PAGE = (ROOT / "docs" / "first_comparison.md").read_text(encoding="utf-8")
with open(
    ROOT / "recipes" / "ESC50" / "results_esc10.csv", newline="", encoding="utf-8"
) as file:
    ROWS = list(csv.DictReader(file))


def measured(condition, method, column, cell):
    """What the file says, with as many decimals as a cell of the page."""
    decimals = len(cell.split(" ± ")[0].rpartition(".")[2])
    rows = {row["method"]: row for row in ROWS if row["condition"] == condition}
    if method in rows:
        text = rows[method][column]
        return f"{float(text):.{decimals}f}" if text not in ("", "nan") else "–"
    seeds = [
        float(row[column])
        for name, row in rows.items()
        if re.fullmatch(rf"{re.escape(method)}, seed \d+", name)
    ]
    assert len(seeds) == 3
    mean, spread = statistics.mean(seeds), statistics.stdev(seeds)
    return f"{mean:.{decimals}f} ± {spread:.{decimals}f}"


def test_the_table_with_noise():
    (_, *headers), rows = table_after(PAGE, "## With ambient noise")
    assert len(rows) > 20
    for method, *cells in rows:
        for header, cell in zip(headers, cells, strict=True):
            column = re.sub(r"( \(%\))?( [↑↓])?$", "", header)
            assert cell == measured("in_domain", method, column, cell), (method, column)


@pytest.mark.parametrize(
    ("text", "column"), [("AG (%), higher is better", "AG"), ("Fid-In, hi", "Fid-In")]
)
def test_the_tables_of_all_conditions(text, column):
    (_, *conditions), rows = table_after(PAGE, text)
    for method, *cells in rows:
        for condition, cell in zip(conditions, cells, strict=True):
            assert cell == measured(condition, method, column, cell)
