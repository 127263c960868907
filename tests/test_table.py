"""The table: what it measures, its intervals, its files and what it refuses."""

import csv
import json
import math
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from lmac_td import metrics
from lmac_td.metrics.table import (
    COLUMNS,
    ClipScores,
    FaithfulnessTable,
    InvariantError,
    check_invariants,
    summarise,
)

N_RESAMPLES = 200


def batch(n_clips=8, seed=0, prefix="clip"):
    """A batch of explanations as the evaluation hands it over."""
    generator = torch.Generator().manual_seed(seed)
    p_x, p_in, p_out = (3 * torch.randn(3, n_clips, 5, generator=generator)).softmax(
        dim=2
    )
    wavs = torch.rand(n_clips, 60, generator=generator) - 0.5
    kept = torch.rand(n_clips, 60, generator=generator)
    return {
        "clip_ids": [f"{prefix}{i}" for i in range(n_clips)],
        "labels": torch.arange(n_clips) % 5,
        "decided": p_x.argmax(dim=1),
        "p_x": p_x,
        "p_in": p_in,
        "p_out": p_out,
        "wavs": wavs,
        "interpretation": kept * wavs,
        "residual": wavs - kept * wavs,
        "attribution": torch.rand(n_clips, 4, 6, generator=generator) ** 3,
    }


def part(arguments, start, stop):
    return {name: value[start:stop] for name, value in arguments.items()}


def filled(**settings):
    """Two conditions, two methods; one zeros row."""
    table = FaithfulnessTable(settings, n_resamples=N_RESAMPLES)
    for condition in ("in-domain", "mixtures, 5 dB"):
        one, two = batch(seed=1), batch(seed=2)
        zeros = torch.zeros_like(two["wavs"])
        two |= {"interpretation": zeros, "residual": two["wavs"]}
        two |= {"attribution": torch.zeros_like(two["attribution"])}
        table.add(condition=condition, method="LMAC-TD", **one)
        table.add(condition=condition, method="zeros", **two)
    return table


def slow_bootstrap(values, statistic, n_resamples, seed, confidence):
    generator = np.random.default_rng(seed)
    values, draws = np.asarray(values), []
    for _ in range(n_resamples):
        chosen = generator.integers(0, len(values), len(values))
        draws.append(getattr(np, statistic)(values[chosen]))
    tail = 100 * (1 - confidence) / 2
    return np.percentile(draws, tail), np.percentile(draws, 100 - tail)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_interval_equals_a_bootstrap_in_a_loop(statistic):
    values = np.random.default_rng(3).gamma(2, size=60)
    value, low, high = summarise(values, statistic, n_resamples=2000)
    want = slow_bootstrap(values, statistic, 2000, seed=9, confidence=0.95)
    assert value == pytest.approx(getattr(np, statistic)(values))
    # Two independent runs of the same bootstrap.
    assert (low, high) == pytest.approx(want, abs=0.1)
    assert low < value < high
    assert summarise(values, statistic) == summarise(values, statistic)
    narrow = summarise(values, statistic, confidence=0.5)
    assert low < narrow[1] < narrow[2] < high


def test_summarise_degenerate_values_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert summarise([0.1] * 30) == (0.1,) * 3
        assert summarise([7.0, 7.0, math.nan]) == (7.0,) * 3
        alone = summarise([7.0])
        assert alone[0] == 7
        assert np.isnan(alone[1:]).all()
        assert np.isnan(summarise([])).all()
        assert np.isnan(summarise([math.nan] * 3)).all()
        for statistic, value in (("mean", -math.inf), ("median", 2)):
            infinite = summarise([-math.inf, 2, 3], statistic)
            assert infinite[0] == value
            assert np.isnan(infinite[1:]).all()
        assert math.isnan(summarise([-math.inf, math.inf])[0])


def test_summarise_leaves_nan_out_and_the_array_alone():
    values = np.array([1.0, math.nan, 3.0, 5.0])
    copy = values.copy()
    assert summarise(values) == summarise([1.0, 3.0, 5.0])
    assert summarise(torch.from_numpy(values)) == summarise(values)
    np.testing.assert_array_equal(values, copy)


def test_summarise_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="statistic must be one of mean, median"):
        summarise([1.0, 2.0], statistic="mode")
    with pytest.raises(ValueError, match=r"shape \(N,\)"):
        summarise([[1.0, 2.0]])


def test_the_table_measures_through_the_public_functions():
    b = batch()
    table = FaithfulnessTable()
    table.add(condition="c", method="m", **b)
    scores = table.rows["c", "m"]
    kept, wavs = b["interpretation"], b["wavs"]
    want = {
        "AI": metrics.average_increase(b["p_x"], b["p_in"]),
        "AD": metrics.average_drop(b["p_x"], b["p_in"]),
        "AG": metrics.average_gain(b["p_x"], b["p_in"]),
        "FF": metrics.faithfulness(b["p_x"], b["p_out"]),
        "Fid-In": metrics.input_fidelity(b["p_x"], b["p_in"]),
        "SPS": metrics.sparseness(b["attribution"]),
        "COMP": metrics.complexity(b["attribution"]),
        "AD (published)": metrics.average_drop_published(b["p_x"], b["p_in"]),
        "completeness (dB)": metrics.completeness_db(wavs, kept, b["residual"]),
        "kept (dB)": metrics.kept_energy_db(wavs, kept),
        "p_x": b["p_x"].gather(1, b["decided"][:, None])[:, 0],
        "p_in": b["p_in"].gather(1, b["decided"][:, None])[:, 0],
        "p_out": b["p_out"].gather(1, b["decided"][:, None])[:, 0],
    }
    for name, values in want.items():
        assert scores.columns[name] == values.tolist(), name
    assert scores.columns["clip_id"] == b["clip_ids"]
    assert scores.columns["label"] == b["labels"].tolist()
    assert scores.columns["decided"] == b["decided"].tolist()
    assert table.means("c", "m").keys() == {column.metric for column in COLUMNS}
    assert table.means("c", "m")["AD"] == pytest.approx(want["AD"].mean().item())


@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_mean_is_over_clips_whatever_the_batches(size):
    b = batch()
    whole, parts = FaithfulnessTable(), FaithfulnessTable()
    whole.add(condition="c", method="m", **b)
    for start in range(0, 8, size):
        parts.add(condition="c", method="m", **part(b, start, start + size))
    assert parts.rows["c", "m"].columns == whole.rows["c", "m"].columns
    assert parts.means("c", "m") == whole.means("c", "m")


def test_the_decided_class_counts_and_the_label_does_not():
    b = batch()
    table = FaithfulnessTable()
    table.add(condition="c", method="m", **b)
    table.add(condition="c", method="n", **(b | {"labels": (b["labels"] + 1) % 5}))
    table.add(condition="c", method="o", **(b | {"labels": None}))
    assert table.means("c", "m") == table.means("c", "n") == table.means("c", "o")


def test_optional_columns_stand_only_where_something_has_them():
    b = batch()
    mask, target, other = torch.rand(3, 8, 4, 6)
    table = FaithfulnessTable(n_resamples=N_RESAMPLES, percentile=80)
    table.add(condition="plain", method="m", **b)
    sources = {"target_mag": target, "other_mag": other}
    table.add(condition="rich", method="m", mask=mask, **sources, **b)
    table.add(condition="rich", method="n", **b)
    check_invariants(table)
    scores = table.rows["rich", "m"].columns
    assert scores["SPS (mask)"] == metrics.sparseness(mask).tolist()
    assert scores["COMP (mask)"] == metrics.complexity(mask).tolist()
    assert scores["MM"] == metrics.mask_mean(mask).tolist()
    eta = metrics.speech_relevance_score(b["attribution"], target, other, 80)
    assert scores["eta"] == eta.tolist()
    plain, rich = table.to_markdown().split("### rich")
    assert "mask" not in plain
    assert "eta" not in plain
    assert "eta ↑" in rich
    assert table.compare("rich", "m", "n").keys() == table.means("rich", "n").keys()
    with pytest.raises(ValueError, match="together"):
        table.add(condition="c", method="m", target_mag=target, **b)


def test_what_does_not_fit_is_named_and_nothing_is_added():
    b = batch()
    table = FaithfulnessTable()
    row = {"condition": "c", "method": "m"}
    for change, message in [
        ({"clip_ids": b["clip_ids"][:7]}, "clips, clip_ids 7"),
        ({"labels": b["labels"][:3]}, "labels has 3"),
        ({"decided": (b["decided"] + 1) % 5}, "not the argmax of p_x for clip 'clip0'"),
        ({"clip_ids": ["same"] * 8}, "'same' is scored twice"),
        ({"residual": b["residual"][:, :5]}, "residual and wavs"),
        ({"p_in": torch.log(b["p_in"])}, "apply the softmax"),
        ({"attribution": b["attribution"][:4]}, "attribution has 4"),
    ]:
        with pytest.raises(ValueError, match=message):
            table.add(**row, **(b | change))
    assert not table.rows
    table.add(**row, **b)
    with pytest.raises(ValueError, match="'clip0' is scored twice"):
        table.add(**row, **b)
    assert len(table.rows["c", "m"]) == 8
    with pytest.raises(ValueError, match="some batches have"):
        table.add(**row, mask=b["attribution"], **batch(seed=3, prefix="other"))


def test_decided_may_be_either_of_two_equal_probabilities():
    """Softmax rounds two logits to one probability; evaluation must not stop."""
    b = batch(1)
    b |= {"p_x": torch.tensor([[0.4, 0.4, 0.2, 0, 0]]), "decided": torch.tensor([1])}
    table = FaithfulnessTable()
    table.add(condition="c", method="m", **b)
    assert table.rows["c", "m"].columns["decided"] == [0]


def test_clip_scores_refuse_uneven_columns():
    with pytest.raises(ValueError, match="equally long"):
        ClipScores().extend({"clip_id": ["a"], "AI": [0.0, 1.0]})


def test_compare_is_paired_by_clip():
    b = batch()
    worse = b | {"p_in": 0.9 * b["p_in"]}
    order = torch.arange(7, -1, -1)
    shuffled = {
        name: [value[i] for i in order] if isinstance(value, list) else value[order]
        for name, value in worse.items()
    }
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="c", method="better", **b)
    table.add(condition="c", method="worse", **shuffled)
    differences = table.compare("c", "better", "worse")
    by_clip = metrics.average_drop(b["p_x"], b["p_in"]) - metrics.average_drop(
        b["p_x"], worse["p_in"]
    )
    want = summarise(by_clip.double(), n_resamples=N_RESAMPLES)
    assert differences["AD"] == pytest.approx(want, abs=1e-5)
    assert differences["SPS"] == (0, 0, 0)
    table.add(condition="c", method="elsewhere", **batch(prefix="other"))
    with pytest.raises(ValueError, match="different clips"):
        table.compare("c", "better", "elsewhere")


def test_markdown_reads_in_a_terminal():
    text = filled().to_markdown()
    sections = text.split("### ")
    assert [s.splitlines()[0] for s in sections[1:]] == ["in-domain", "mixtures, 5 dB"]
    blocks = [b.splitlines() for b in text.split("\n\n") if b.startswith("|")]
    assert len(blocks) == 4
    for lines in blocks:
        pipes = [[i for i, c in enumerate(line) if c == "|"] for line in lines]
        assert all(p == pipes[0] for p in pipes)
        assert set(lines[1]) <= set("|-: ")
    means, intervals = (
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block]
        for block in blocks[:2]
    )
    assert means[0] == [
        "method",
        "AI (%) ↑",
        "AD (%) ↓",
        "AG (%) ↑",
        "FF ↑",
        "FF median ↑",
        "Fid-In ↑",
        "SPS ↑",
        "COMP ↓",
        "AD (published) ↓",
        "completeness (dB) ↑",
        "kept (dB)",
        "clips",
        "zero maps",
    ]
    named = dict(zip(means[0], means[2 + 1], strict=True))
    assert named["method"] == "zeros"
    assert named["kept (dB)"] == "-inf"
    assert (named["SPS ↑"], named["COMP ↓"]) == ("–", "–")
    assert (named["clips"], named["zero maps"]) == ("8", "8")
    spans = dict(zip(intervals[0], intervals[3], strict=True))
    assert spans["kept (dB)"] == "–"
    assert spans["completeness (dB) ↑"] == "[120.0, 120.0]"
    low, high = spans["AD (%) ↓"].strip("[]").split(", ")
    assert float(low) <= float(named["AD (%) ↓"]) <= float(high)
    assert "95 % intervals" in text


def test_zero_maps_are_left_out_and_counted(tmp_path):
    b = batch()
    b["attribution"][2:4] = 0
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="c", method="m", **b)
    rest = [i for i in range(8) if i not in (2, 3)]
    want = metrics.sparseness(b["attribution"][rest]).double().mean().item()
    assert table.means("c", "m")["SPS"] == pytest.approx(want)
    table.to_json(tmp_path / "t.json")
    (row,) = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert row["zero_maps"] == 2
    assert (row["metrics"]["SPS"]["n"], row["metrics"]["SPS"]["left_out"]) == (6, 2)
    check_invariants(table)


def test_a_pipe_in_a_name_does_not_break_the_table():
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="c", method="a|b", **batch())
    assert r"| a\|b " in table.to_markdown()


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
    table.to_json(path)
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
            want = summarise(scores.values("AD"), statistic, n_resamples=N_RESAMPLES)
            got = drop[statistic], *drop[f"{statistic}_interval"]
            assert got == want
    kept = content["rows"][1]["metrics"]["kept (dB)"]
    assert kept["mean"] is None
    assert kept["mean_interval"] == [None, None]


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
    assert float(rows[-1]["MM"]) == table.rows["more", "m"].columns["MM"][1]
    for row in rows:
        scores = table.rows[row["condition"], row["method"]].columns
        i = scores["clip_id"].index(row["clip_id"])
        assert float(row["AD"]) == scores["AD"][i]
        assert int(row["decided"]) == scores["decided"][i]
    assert rows[8]["kept (dB)"] == "-inf"


@pytest.mark.parametrize("write", ["to_json", "clips_to_csv"])
def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch, write):
    table, path = filled(), tmp_path / "result"
    path.write_text("old")

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(json, "dump", fail)
    monkeypatch.setattr(csv.DictWriter, "writerow", fail)
    with pytest.raises(OSError, match="disk full"):
        getattr(table, write)(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", ["to_json", "clips_to_csv"])
def test_a_file_takes_its_place_in_one_move(tmp_path, monkeypatch, write):
    path, moves = tmp_path / "result", []
    monkeypatch.setattr(os, "replace", lambda *move: moves.append(move))
    getattr(filled(), write)(path)
    ((source, destination),) = moves
    assert destination == path
    assert Path(source).parent == tmp_path  # the same disk
    assert list(tmp_path.iterdir()) == []


def test_invariants_hold_for_what_was_measured():
    check_invariants(filled())
    check_invariants(FaithfulnessTable())


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("AG", 100.0, "mean AG 100 exceeds mean AI"),
        ("FF", 1.0, "mean FF 1 exceeds mean p_x"),
        ("COMP", 0.1, "clip 'clip0': COMP 0.1 is below"),
    ],
)
def test_a_row_that_cannot_be_right_is_named(column, value, message):
    table = filled()
    table.rows["in-domain", "LMAC-TD"].columns[column] = [value] * 8
    with pytest.raises(
        InvariantError, match=f"row 'LMAC-TD' of 'in-domain'.*{message}"
    ):
        check_invariants(table)
    assert issubclass(InvariantError, AssertionError)


def test_the_halved_table_of_the_paper_is_refused():
    """L-MAC's in-domain SPS .47 and COMP 4.71 on 5-s maps: half of a true pair."""
    table = filled()
    columns = table.rows["in-domain", "LMAC-TD"].columns
    columns["bins"] = [513 * 431] * 8
    columns["SPS"], columns["COMP"] = [0.94] * 8, [9.42] * 8
    check_invariants(table)
    columns["SPS"], columns["COMP"] = [0.47] * 8, [4.71] * 8
    with pytest.raises(InvariantError, match=r"COMP 4\.71 is below 6\.52"):
        check_invariants(table)
