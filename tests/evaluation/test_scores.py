"""Scores of clips, their mean, and its interval."""

import math
import warnings

import numpy as np
import pytest
import torch
from lmac_td.evaluation.scores import left_out

from lmac_td.evaluation import bootstrap
from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.table import ClipScores


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


def test_clip_scores_refuse_uneven_columns():
    with pytest.raises(ValueError, match="equally long"):
        ClipScores().extend({"clip_id": ["a"], "AI": [0.0, 1.0]})


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


def test_undefined_clips_are_told_but_for_zero_maps():
    def row(sps, iou):
        scores = ClipScores()
        names = [f"clip{i}" for i in range(len(sps))]
        scores.extend({"clip_id": names, "SPS": sps, "IoU (time)": iou})
        return scores

    nan = math.nan
    metrics = ["SPS", "IoU (time)"]
    assert left_out(metrics, [row([0.5, 0.5], [1.0, 1.0])]) == ""
    assert left_out(metrics, [row([0.5, nan], [1.0, nan])]) == ""
    some = row([0.5, 0.5, 0.5], [1.0, nan, nan])
    line = "Undefined for the others: IoU (time) over 1 of 3 clips.\n"
    assert left_out(metrics, [some]) == line
    more = row([0.5, 0.5, 0.5], [1.0, 1.0, nan])
    assert "over 1 to 2 of 3 clips" in left_out(metrics, [some, more])
