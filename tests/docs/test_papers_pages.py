"""Tables of the pages of L-MAC and LMAC-TD hold what was printed and measured."""

import csv
import re
import statistics

import pytest

from lmac_td.report.published import METRICS, read_published
from tests.pages import ROOT, table_after

with open(
    ROOT / "recipes" / "ESC50" / "results_esc10.csv", newline="", encoding="utf-8"
) as file:
    MEASURED = list(csv.DictReader(file))
PRINTED = {
    "in_domain": "in-domain (WHAM!)",
    "mixtures": "out-of-domain (mixtures)",
    "white_noise": "out-of-domain (white noise)",
    "speech": "out-of-domain (LJSpeech)",
}
# Page, heading, the table in the paper, condition.
TABLES = [
    ("lmac", "### Table 1", "L-MAC", "1", "in_domain"),
    ("lmac", "### Table 2", "L-MAC", "2", "mixtures"),
    ("lmac", "### Table 4: white", "L-MAC", "4", "white_noise"),
    ("lmac", "### Table 4: speech", "L-MAC", "4", "speech"),
    ("lmac_td", "### Table I:", "LMAC-TD", "I", "in_domain"),
    ("lmac_td", "### Table II:", "LMAC-TD", "II", "mixtures"),
    ("lmac_td", "### Table III: white", "LMAC-TD", "III", "white_noise"),
    ("lmac_td", "### Table III: speech", "LMAC-TD", "III", "speech"),
]


def rows_after(page, heading):
    """Header and rows of the first table after a heading of a page."""
    text = (ROOT / "docs" / "papers" / f"{page}.md").read_text(encoding="utf-8")
    return table_after(text, heading)


def measured(condition, method, metric, cell):
    """What the file says, with as many decimals as a cell of the page."""
    decimals = len(cell.split(" ± ")[0].rpartition(".")[2])
    rows = [
        row
        for row in MEASURED
        if row["condition"] == condition
        and re.fullmatch(rf"{re.escape(method)}(, seed \d+)?", row["method"])
    ]
    columns = [
        {"AD": "AD (published)"}.get(metric, metric)
        if metric not in ("SPS", "COMP") or row[f"{metric} (mask)"] in ("", "nan")
        else f"{metric} (mask)"
        for row in rows
    ]
    values = [float(row[c]) for row, c in zip(rows, columns, strict=True)]
    if len(values) == 1:
        return f"{values[0]:.{decimals}f}"
    assert len(values) == 3
    mean, spread = statistics.mean(values), statistics.stdev(values)
    return f"{mean:.{decimals}f} ± {spread:.{decimals}f}"


def printed(paper, table, condition, method, metric):
    (row,) = (
        row
        for row in read_published()
        if (row.paper, row.table, row.condition) == (paper, table, PRINTED[condition])
        and (row.dataset, row.domain, row.method) == ("ESC-50", "stft", method)
    )
    return row.cells[metric] or "–"


@pytest.mark.parametrize("where", TABLES, ids=lambda where: " ".join(where[:2]))
def test_a_table(where):
    page, heading, paper, table, condition = where
    (_, _, *headers), rows = rows_after(page, heading)
    metrics = [re.sub(r" [↑↓]$", "", header) for header in headers]
    assert metrics == list(METRICS[:-1])
    assert len(rows) >= 10
    for (theirs, source, *cells), (ours, here, *values) in zip(
        rows[::2], rows[1::2], strict=True
    ):
        assert (source, here) == ("printed", "here")
        for metric, cell, value in zip(metrics, cells, values, strict=True):
            assert cell == printed(paper, table, condition, theirs, metric)
            assert value == measured(condition, ours, metric, value), (ours, metric)
