"""The files of the table for programs."""

import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.columns import all_columns
from lmac_td.evaluation.frame import values_of
from lmac_td.evaluation.summary import write_csv, write_json
from lmac_td.evaluation.table import FaithfulnessTable
from tests.score_batches import (
    N_RESAMPLES,
    filled,
    with_groups,
)


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def test_json_is_strict_and_complete(tmp_path):
    settings = {
        "snr_db": math.inf,
        "folds": (4, 5),
        "chosen_on": {"fold": np.int64(4)},
        "mask_domain": "magnitude",
        "mean": torch.tensor(0.5),
        "manifest": Path("test.json"),
    }
    table = filled(**settings)
    path = tmp_path / "new" / "table.json"
    write_json(table, path)
    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert content["settings"] == {
        "snr_db": None,
        "folds": [4, 5],
        "chosen_on": {"fold": 4},
        "mask_domain": "magnitude",
        "mean": 0.5,
        "manifest": "test.json",
    }
    assert content["bootstrap"]["n_resamples"] == N_RESAMPLES
    names = [(row["condition"], row["method"]) for row in content["rows"]]
    assert names == list(table.rows)
    for row in content["rows"]:
        scores = table.rows[row["condition"], row["method"]]
        assert row["n_clips"] == 8
        drop = row["metrics"]["AD"]
        for statistic in ("mean", "median"):
            want = summarise(
                values_of(scores, "AD"), statistic, n_resamples=N_RESAMPLES
            )
            got = drop[statistic], *drop[f"{statistic}_interval"]
            assert got == want
    assert content["rows"][1]["metrics"]["kept (dB)"]["mean"] == -100
    sparseness = content["rows"][1]["metrics"]["SPS"]  # of no map
    assert sparseness["mean"] is None
    assert sparseness["mean_interval"] == [None, None]


def test_the_summary_holds_every_mean_and_interval(tmp_path):
    table = with_groups()
    path = tmp_path / "new" / "table.csv"
    write_csv(table, path)
    with open(path, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    rows = [(line["condition"], line["method"]) for line in lines]
    assert rows == list(table.rows)
    columns = all_columns()
    assert len(lines[0]) == 4 + 3 * len(columns)
    for line, scores in zip(lines, table.rows.values(), strict=True):
        assert int(line["clips"]) == len(scores)
        for column in columns:
            if not column.is_in(scores):
                assert line[column.name] == ""
                continue
            values = values_of(scores, column.metric.name)
            want = summarise(values, column.statistic, n_resamples=N_RESAMPLES)
            names = (column.name, f"{column.name} low", f"{column.name} high")
            got = [float(line[name] or "nan") for name in names]
            np.testing.assert_array_equal(got, want)
    assert lines[1]["zero maps"] == "8"
    assert lines[1]["SPS"] == ""
    assert "FF median" in lines[0]


WRITERS = [write_json, write_csv, FaithfulnessTable.clips_to_csv]


@pytest.mark.parametrize("write", WRITERS)
def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch, write):
    table, path = filled(), tmp_path / "result"
    path.write_text("old")

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(json, "dump", fail)
    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(OSError, match="disk full"):
        write(table, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_takes_its_place_in_one_move(tmp_path, monkeypatch, write):
    path, moves = tmp_path / "result", []
    monkeypatch.setattr(os, "replace", lambda *move: moves.append(move))
    write(filled(), path)
    ((source, destination),) = moves
    assert destination == path
    assert Path(source).parent == tmp_path  # the same disk
    assert list(tmp_path.iterdir()) == []
