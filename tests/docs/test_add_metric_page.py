"""docs/add_metric.md, run as it is written, on the tiny corpus."""

import csv
import sys

import pytest

from lmac_td.metrics import registry
from tests.commands import EVALUATE, run
from tests.pages import ROOT, write_clone

PAGE = ROOT / "docs" / "add_metric.md"


@pytest.fixture
def only_here(monkeypatch):
    """What the page registers is forgotten afterwards."""
    monkeypatch.setattr(registry, "_BLOCKS", list(registry._BLOCKS))
    monkeypatch.delitem(sys.modules, "my_metrics", raising=False)
    yield
    sys.modules.pop("my_metrics", None)


@pytest.mark.slow
def test_the_column_stands_in_the_table(trained, only_here, monkeypatch):
    tiny = trained / "lmac_td.yaml"
    write_clone(
        PAGE, trained, [("size: demo\n", ""), ("hparams/lmac_td.yaml", str(tiny))]
    )
    monkeypatch.syspath_prepend(trained)
    said = run(EVALUATE, trained / "my_metrics.yaml").stdout
    assert "| silent share |" in said
    folder = trained / "results" / "lmac_td_alpha0.75" / "evaluation"
    with open(folder / "clips.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    shares = {row["method"]: [] for row in rows}
    for row in rows:
        shares[row["method"]].append(float(row["silent share"]))
    assert set(shares["zeros"]) == {1.0}
    assert all(0 <= share <= 1 for share in shares["lmac_td_alpha0.75"])
