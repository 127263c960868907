"""A statistic over clips and its interval."""

import csv
import json
import math
import warnings

import numpy as np
import pytest
import torch

from lmac_td.evaluation import bootstrap
from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.comparison import comparison_to_markdown
from lmac_td.evaluation.frame import values_of
from lmac_td.evaluation.rendering import table_to_markdown
from lmac_td.evaluation.summary import write_csv, write_json
from tests.score_batches import (
    N_RESAMPLES,
    TAGS,
    lines_of,
    tagged,
    tags_of,
)


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


def test_an_interval_is_not_drawn_twice(monkeypatch):
    """Three files hold it, and a full table has thousands."""
    values = np.random.default_rng(8).random(30)
    want = summarise(values)
    monkeypatch.setattr(bootstrap.stats, "bootstrap", None)
    assert summarise(values.copy()) == want
    for other in ({"seed": 1}, {"statistic": "median"}, {"confidence": 0.9}):
        with pytest.raises(TypeError):
            summarise(values, **other)
    with pytest.raises(TypeError):
        summarise(values + 1)


def literal_bootstrap(values, clips, statistic, n_resamples, seed, confidence):
    """Clips are drawn with replacement; each brings all of its values."""
    clips_drawn = sorted(
        {clip for clip, v in zip(clips, values, strict=True) if v == v}
    )
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(n_resamples):
        drawn = []
        for place in generator.integers(0, len(clips_drawn), len(clips_drawn)):
            drawn += [
                value
                for value, clip in zip(values, clips, strict=True)
                if clip == clips_drawn[place] and value == value
            ]
        drawn.sort()
        middle = len(drawn) // 2
        if statistic == "mean":
            found.append(sum(drawn) / len(drawn))
        elif len(drawn) % 2:
            found.append(drawn[middle])
        else:
            found.append((drawn[middle - 1] + drawn[middle]) / 2)
    tail = 50 * (1 - confidence)
    return tuple(np.percentile(found, [tail, 100 - tail]))


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_the_bootstrap_draws_clips_and_not_tags(statistic):
    generator = np.random.default_rng(3)
    values = generator.normal(size=len(TAGS))
    values[2] = math.nan  # the only tag of its clip
    values[4] = math.nan  # one of three
    clips = [f"clip{clip}" for clip, _ in TAGS]
    value, low, high = summarise(
        values, statistic, confidence=0.9, n_resamples=300, seed=5, clips=clips
    )
    assert value == pytest.approx(getattr(np, f"nan{statistic}")(values))
    want = literal_bootstrap(values, clips, statistic, 300, 5, 0.9)
    assert (low, high) == pytest.approx(want)
    assert low < value < high
    # As if tags were independent, the interval is another.
    assert (low, high) != pytest.approx(
        summarise(values, statistic, 0.9, 300, 5)[1:], abs=1e-3
    )


def test_tags_of_one_clip_alone_have_no_interval():
    value, low, high = summarise([1.0, 2.0, 3.0], clips=["a", "a", "a"])
    assert value == 2
    assert math.isnan(low)
    assert math.isnan(high)
    assert summarise([2.0, 2.0], clips=["a", "a"]) == (2, 2, 2)


def test_clips_that_have_one_entry_are_drawn_as_ever():
    values = np.random.default_rng(0).normal(size=20)
    clips = [f"clip{i}" for i in range(20)]
    for statistic in ("mean", "median"):
        assert summarise(values, statistic, clips=clips) == summarise(values, statistic)


def test_every_tag_of_a_clip_counts_alike_in_a_long_bootstrap():
    """Two kinds of clips: the interval of the mean is that of their shares."""
    clips = [f"clip{i}" for i in range(300) for _ in range(1 + i % 2)]
    values = [float(int(clip[4:]) % 2) for clip in clips]
    value, low, high = summarise(values, clips=clips)
    assert value == pytest.approx(2 / 3)
    # The share s of 300 drawn clips that have two tags: 2 s / (1 + s).
    shares = [0.5 - 1.96 / (2 * 300**0.5), 0.5 + 1.96 / (2 * 300**0.5)]
    want = [2 * share / (1 + share) for share in shares]
    assert [low, high] == pytest.approx(want, abs=0.01)


def test_tables_of_tags_draw_clips_everywhere(tmp_path):
    """Markdown, both files and comparisons."""
    table = tags_of()
    scores = table.rows["c", "m"]
    want = summarise(
        values_of(scores, "AD"),
        n_resamples=N_RESAMPLES,
        clips=scores["clip_id"],
    )
    assert want != summarise(values_of(scores, "AD"), n_resamples=N_RESAMPLES)
    write_json(table, tmp_path / "t.json")
    (row,) = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert (
        row["metrics"]["AD"]["mean"],
        *row["metrics"]["AD"]["mean_interval"],
    ) == want
    write_csv(table, tmp_path / "t.csv")
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as file:
        (line,) = csv.DictReader(file)
    assert tuple(float(line[name]) for name in ("AD", "AD low", "AD high")) == want
    assert f"[{want[1]:.2f}, {want[2]:.2f}]" in table_to_markdown(table)

    table.add(condition="c", method="n", **(tagged() | {"p_in": tagged()["p_x"]}))
    drop = values_of(scores, "AD")  # of n it is 0
    want = summarise(drop, n_resamples=N_RESAMPLES, clips=scores["clip_id"])
    assert table.compare("c", "m", "n")["AD"] == want
    lines = lines_of(comparison_to_markdown(table, "m", "n"))
    assert lines["AD (%) ↓"][3] == f"[{want[1]:+.2f}, {want[2]:+.2f}]"
    assert lines["AD (%) ↓"][4] == "5"  # clips
