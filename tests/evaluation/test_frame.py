"""Scores in one frame: batches are appended, files are read as they were written."""

import csv
import gzip

import pandas as pd
import pytest
import torch

from lmac_td.errors import DataError
from lmac_td.evaluation import frame as frame_module
from lmac_td.evaluation.frame import ScoreFrame
from lmac_td.evaluation.frame import entries_of as entries
from lmac_td.evaluation.invariants import check_invariants
from lmac_td.evaluation.rendering import table_to_markdown
from lmac_td.evaluation.table import FaithfulnessTable
from tests.score_batches import (
    N_RESAMPLES,
    batch,
    columns_of,
    filled,
    sources,
    tags_of,
    with_groups,
)


def test_clips_are_read_as_they_were_written(tmp_path):
    table = with_groups()
    table.clips_to_csv(tmp_path / "clips.csv")
    again = FaithfulnessTable.read_clips(
        tmp_path / "clips.csv", {"snr_db": 5}, n_resamples=N_RESAMPLES
    )
    assert again.settings == {"snr_db": 5}
    assert list(again.rows) == list(table.rows)
    for row, scores in table.rows.items():
        pd.testing.assert_frame_equal(again.rows[row], scores, check_exact=True)
    assert table_to_markdown(again) == table_to_markdown(table)
    again.clips_to_csv(tmp_path / "again.csv")
    old, new = (tmp_path / name for name in ("clips.csv", "again.csv"))
    assert old.read_bytes() == new.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text.splitlines()[0] + "\n",
        lambda text: "a,b\n1,2\n",
        lambda text: text.replace("clip3,", "clip2,"),
        lambda text: text.replace("AD,", "AE,", 1),
        lambda text: text[:-30],
        lambda text: text.replace("100.0", "much"),
        lambda text: text + "in-domain,LMAC-TD" + 99 * "," + "\n",
        lambda text: "\0" + text,
    ],
)
def test_what_is_no_clips_csv_is_named(tmp_path, damage):
    path = tmp_path / "clips.csv"
    filled().clips_to_csv(path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=r"clips\.csv is not a clips\.csv of eval_"):
        FaithfulnessTable.read_clips(path)
    with pytest.raises(DataError, match=r"missing\.csv is not a clips\.csv"):
        FaithfulnessTable.read_clips(tmp_path / "missing.csv")


def test_a_packed_file_holds_the_same(tmp_path):
    table = with_groups()
    paths = [tmp_path / name for name in ("clips.csv", "clips.csv.gz", "again.csv.gz")]
    for path in paths:
        table.clips_to_csv(path)
    plain, packed, again = (path.read_bytes() for path in paths)
    assert packed == again
    assert gzip.decompress(packed) == plain
    read = FaithfulnessTable.read_clips(tmp_path / "clips.csv.gz")
    for row, scores in table.rows.items():
        pd.testing.assert_frame_equal(read.rows[row], scores, check_exact=True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:-20],
        lambda packed: packed[:40] + bytes(20) + packed[60:],
        lambda packed: b"clip_id,AI" + packed,
        lambda packed: b"",
    ],
)
def test_a_damaged_packed_file_is_named(tmp_path, damage):
    path = tmp_path / "clips.csv.gz"
    filled().clips_to_csv(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"clips\.csv\.gz is not a clips\.csv of eval_"):
        FaithfulnessTable.read_clips(path)


def test_csv_holds_every_clip(tmp_path):
    table = filled()
    extra = batch(2, prefix="ünï,")
    table.add(condition="more", method="m", mask=extra["attribution"], **extra)
    path = tmp_path / "new" / "clips.csv"
    table.clips_to_csv(path)
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 8 + 2
    assert rows[-1]["clip_id"] == "ünï,1"
    assert rows[0]["MM"] == ""
    assert float(rows[-1]["MM"]) == columns_of(table, "more", "m")["MM"][1]
    for row in rows:
        scores = columns_of(table, row["condition"], row["method"])
        i = scores["clip_id"].index(row["clip_id"])
        assert float(row["AD"]) == scores["AD"][i]
        assert int(row["decided"]) == scores["decided"][i]
    assert rows[8]["kept (dB)"] == "-100.0"
    assert rows[8]["SPS"] == "nan"


def test_tags_are_read_as_they_were_written(tmp_path):
    table = tags_of()
    table.clips_to_csv(tmp_path / "clips.csv")
    again = FaithfulnessTable.read_clips(
        tmp_path / "clips.csv", n_resamples=N_RESAMPLES
    )
    assert columns_of(again, "c", "m") == columns_of(table, "c", "m")
    assert again.means("c", "m") == table.means("c", "m")


def test_results_without_a_newer_column_are_read_and_shown(tmp_path):
    """As an earlier version wrote them: AUC (time) was not there yet."""
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="c", method="m", **batch(), **sources())
    old = FaithfulnessTable(n_resamples=N_RESAMPLES)
    old.put("c", "m", table.row("c", "m").drop(columns="AUC (time)"))
    old.clips_to_csv(tmp_path / "clips.csv")
    assert "AUC" not in (tmp_path / "clips.csv").read_text()
    again = FaithfulnessTable.read_clips(tmp_path / "clips.csv")
    assert "AUC (time)" not in again.means("c", "m")
    check_invariants(again)
    again.put("c", "new", table.row("c", "m"))
    assert "AUC (time) ↑" in table_to_markdown(again)
    assert "AUC (time)" not in again.compare("c", "m", "new")


def test_a_column_that_is_no_longer_registered_is_kept(tmp_path):
    table = filled()
    table.put("in-domain", "zeros", table.row("in-domain", "zeros").assign(mine=0.25))
    table.clips_to_csv(tmp_path / "clips.csv")
    again = FaithfulnessTable.read_clips(tmp_path / "clips.csv")
    assert (again.row("in-domain", "zeros")["mine"] == 0.25).all()
    assert "mine" not in table_to_markdown(again)


def test_batches_must_fit_each_other():
    scores = ScoreFrame()
    with pytest.raises(ValueError, match="equally long"):
        scores.append("c", "m", {"clip_id": ["a"], "AI": [0.0, 1.0]})
    with pytest.raises(ValueError, match="'a' is scored twice"):
        scores.append("c", "m", {"clip_id": ["a", "a"], "AI": [0.0, 1.0]})
    assert not scores.rows
    scores.append("c", "m", {"clip_id": ["a"], "AI": [0.0]})
    with pytest.raises(ValueError, match=r"some batches have \['AD'\] and some do not"):
        scores.append("c", "m", {"clip_id": ["b"], "AI": [0.0], "AD": [0.0]})
    with pytest.raises(ValueError, match="'a' is scored twice"):
        scores.append("c", "m", {"clip_id": ["a"], "AI": [0.0]})
    assert len(scores) == 1


def test_one_frame_holds_all_rows():
    table = filled()
    table.add(condition="more", method="m", **batch(2), **sources(2))
    frame = table.frame
    assert list(frame)[:5] == ["condition", "method", "clip_id", "label", "decided"]
    assert len(frame) == len(table) == 4 * 8 + 2
    means = frame.groupby(["condition", "method"])["AD"].mean()
    for (condition, method), mean in means.items():
        assert mean == pytest.approx(table.means(condition, method)["AD"])
    assert frame["IoU (time)"].isna().sum() >= 4 * 8
    assert ScoreFrame().frame.empty


def test_a_row_that_was_asked_for_grows_on():
    scores = ScoreFrame()
    for clip in "abc":
        scores.append("c", "m", {"clip_id": [clip], "AI": torch.tensor([1.0])})
        assert scores.row("c", "m")["clip_id"].tolist()[-1] == clip
    assert len(scores.row("c", "m")) == 3


def test_appending_does_not_look_at_what_was_appended_before(monkeypatch):
    """The time of a batch does not grow with the clips before it."""
    looked_at = []
    monkeypatch.setattr(
        frame_module,
        "entries_of",
        lambda columns: looked_at.append(len(columns["clip_id"])) or entries(columns),
    )
    scores = ScoreFrame()
    for batch_number in range(50):
        ids = [f"{batch_number}-{i}" for i in range(4)]
        scores.append("c", "m", {"clip_id": ids, "AI": [0.0] * 4})
    assert looked_at == [4] * 50
