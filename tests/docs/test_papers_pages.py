"""Tables of the pages of L-MAC and LMAC-TD hold what was printed and measured."""

import re

import pytest

from lmac_td.report.published import METRICS, read_published
from tests.pages import ROOT, table_after

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


def assert_is_measured(cell, values, condition, method, metric):
    """A cell is what is kept: the mean over classifiers, with its deviation.

    In other conditions than in domain, it is the value of the only classifier.
    """
    column = {"AD": "AD (published)"}.get(metric, metric)
    of_mask = values.get((condition, method, f"{column} (mask)"))
    row = of_mask or values[condition, method, column]
    found = cell.split(" ± ")
    expected = [float(row[name]) for name in ("value", "sd") if row[name]]
    decimals = len(found[0].rpartition(".")[2])
    rounding = 0.5 * 10**-decimals + 1e-6
    assert [float(x) for x in found] == pytest.approx(expected, rel=0, abs=rounding)


def printed(paper, table, condition, method, metric):
    (row,) = (
        row
        for row in read_published()
        if (row.paper, row.table, row.condition) == (paper, table, PRINTED[condition])
        and (row.dataset, row.domain, row.method) == ("ESC-50", "stft", method)
    )
    return row.cells[metric] or "–"


@pytest.mark.slow
@pytest.mark.parametrize("where", TABLES, ids=lambda where: " ".join(where[:2]))
def test_a_table(where, esc10):
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
            assert_is_measured(value, esc10.values, condition, ours, metric)
