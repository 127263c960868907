"""Intervals of large tables: those of the other bootstrap, in one pass."""

import math

import numpy as np
import pandas as pd
import pytest

from lmac_td.evaluation import bootstrap, poisson_bootstrap
from lmac_td.evaluation.bootstrap import LARGE, summarise, summarise_all
from lmac_td.evaluation.poisson_bootstrap import BLOCK, poisson_summaries
from lmac_td.evaluation.table import FaithfulnessTable

DRAWS = np.random.default_rng(0)
N = 3000  # small enough for the other bootstrap
SAMPLES = {
    "normal": DRAWS.normal(size=N),
    "skewed": DRAWS.gamma(0.5, size=N),
    "percent": 100.0 * (DRAWS.random(N) < 0.3),
    "undefined": np.where(DRAWS.random(N) < 0.2, math.nan, DRAWS.random(N)),
}


def close_to(other, value):
    """Equal up to Monte-Carlo error: a tenth of the interval's length."""
    return pytest.approx(other, abs=0.1 * (other[2] - other[1]) + 1e-9 * abs(value))


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_intervals_are_those_of_the_other_bootstrap(name, statistic):
    exact = summarise(SAMPLES[name], statistic)
    found = poisson_summaries(SAMPLES, list(SAMPLES))[name, statistic]
    assert found[0] == exact[0]
    assert found == close_to(exact, exact[0])


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_clips_are_drawn_with_all_their_lines(statistic, apart):
    """Lines of a clip resemble each other, so intervals are wider than of lines."""
    draws = np.random.default_rng(1)
    n_lines = draws.integers(1, 6, N)
    clips = np.repeat([f"clip{i}" for i in range(N)], n_lines)
    values = (
        np.repeat(draws.normal(size=N), n_lines) + draws.normal(size=len(clips)) / 9
    )
    values[::7] = math.nan
    if apart:
        order = draws.permutation(len(clips))
        clips, values = clips[order], values[order]
    wide = summarise_small(values, statistic, clips)
    found = poisson_summaries({"x": values}, ["x"], clips)["x", statistic]
    assert found[0] == pytest.approx(wide[0], abs=1e-12)
    assert found == close_to(wide, wide[0])
    alone = poisson_summaries({"x": values}, ["x"])["x", statistic]
    assert found[2] - found[1] > 1.3 * (alone[2] - alone[1])


def summarise_small(values, statistic, clips):
    """By the other bootstrap, whatever the size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "LARGE", math.inf)
        return summarise(values, statistic, clips=clips)


def test_a_resample_equals_its_literal_twin():
    """Weighted means of all lines, with the weights of each block of clips."""
    n = 2 * BLOCK + 100
    values = np.random.default_rng(2).gamma(2, size=n)
    values[5::9] = math.nan
    weights = np.hstack([poisson_bootstrap._weights(7, b, 50) for b in range(3)])
    defined = ~np.isnan(values)
    means = [
        np.average(values[defined], weights=row[:n][defined].astype(float))
        for row in weights
    ]
    found = poisson_summaries({"x": values}, ["x"], n_resamples=50, seed=7)["x", "mean"]
    assert found[1:] == pytest.approx(np.percentile(means, [2.5, 97.5]), rel=1e-6)


def test_weights_are_poisson():
    weights, others = (poisson_bootstrap._weights(0, b, 2000) for b in (0, 1))
    assert abs(np.corrcoef(weights.ravel(), others.ravel())[0, 1]) < 0.005
    shares = np.bincount(weights.astype(int).ravel())[:5] / weights.size
    expected = [math.exp(-1) / math.factorial(k) for k in range(5)]
    assert shares == pytest.approx(expected, abs=2e-3)
    assert poisson_bootstrap._poisson_table().mean() == pytest.approx(1, abs=1e-4)


def test_degenerate_columns_are_summarised_as_small_ones():
    columns = {
        "constant": np.full(N, 0.1),
        "once": np.where(np.arange(N) == 3, 7.0, math.nan),
        "never": np.full(N, math.nan),
        "infinite": np.where(np.arange(N) == 3, -math.inf, SAMPLES["normal"]),
    }
    found = poisson_summaries(columns, list(columns))
    for (name, statistic), numbers in found.items():
        exact = summarise(columns[name], statistic)
        np.testing.assert_equal(numbers, exact)


def test_size_decides_which_bootstrap(monkeypatch):
    used = []
    monkeypatch.setattr(
        bootstrap,
        "poisson_summaries",
        lambda columns, names, *_: (
            used.append(len(columns[names[0]]))
            or {(name, s): (0.0,) * 3 for name in names for s in ("mean", "median")}
        ),
    )
    values = np.random.default_rng(0).normal(size=LARGE)
    assert summarise(values) == (0.0,) * 3
    assert (
        summarise_all({"a": values, "b": values}, ["a", "b"])["b", "mean"] == (0,) * 3
    )
    assert used == [LARGE, LARGE]
    summarise(values[:-1], n_resamples=10)
    assert used == [LARGE, LARGE]


def test_a_large_row_is_summarised_in_one_pass(tmp_path, monkeypatch):
    """From memory and from Parquet files alike; comparisons, too."""
    monkeypatch.setattr("lmac_td.evaluation.row_store.LINES_IN_MEMORY", 1000)
    draws = np.random.default_rng(4)
    columns = {"AI": 100.0 * (draws.random(LARGE) < 0.4), "AG": draws.random(LARGE)}
    columns |= {"p_x": draws.random(LARGE), "SPS": draws.random(LARGE)}
    columns["clip_id"] = [f"clip{i}" for i in range(LARGE)]
    tables = FaithfulnessTable(), FaithfulnessTable(folder=tmp_path)
    for table in tables:
        for method in ("a", "b"):
            for first in range(0, LARGE, 999):
                part = {k: v[first : first + 999] for k, v in columns.items()}
                if method == "b":
                    part["AG"] = part["AG"] / 2
                table.append("c", method, part)
    assert list(tmp_path.iterdir())
    for metric in ("AI", "AG", "SPS"):
        for statistic in ("mean", "median"):
            one, other = (t.statistic("c", "a", metric, statistic) for t in tables)
            assert one == pytest.approx(other, rel=1e-6)
    one, other = (table.compare("c", "a", "b") for table in tables)
    assert one["AG"] == pytest.approx(other["AG"], rel=1e-6)
    assert one["AG"][0] == pytest.approx(columns["AG"].mean() / 2)
    assert one["AI"] == (0.0,) * 3
    pd.testing.assert_frame_equal(
        tables[0].row("c", "a"), tables[1].row("c", "a").whole()
    )
