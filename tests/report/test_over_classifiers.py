"""Means over classifiers, against slow literal twins."""

import math
import re
import statistics

import numpy as np
import pandas as pd
import pytest

from lmac_td.errors import SettingError
from lmac_td.evaluation.columns import all_columns
from lmac_td.evaluation.table import ALWAYS_WRITTEN, FaithfulnessTable
from lmac_td.report.dial import dial_figure, dials_of
from lmac_td.report.over_classifiers import (
    OverClassifiers,
    resampled_counts,
    sums_by_clip,
)
from lmac_td.report.over_classifiers_pages import (
    differences_to_markdown,
    means_to_markdown,
    write_values,
)
from lmac_td.report.runs import Runs

CLIPS = [f"clip {i}" for i in range(12)]
AG = next(column for column in all_columns() if column.name == "AG")
FF_MEDIAN = next(column for column in all_columns() if column.name == "FF median")


def scores(row, mean, rng):
    """Random scores of clips, one value of every column a clip."""
    columns = {name: rng.normal(mean, 3, len(CLIPS)) for name in ALWAYS_WRITTEN}
    columns |= {"clip_id": CLIPS, "decided": [0] * len(CLIPS)}
    columns["kept (dB)"] = rng.uniform(-9, -1, len(CLIPS))
    for name in ("p_x", "p_in"):
        columns[name] = rng.uniform(0, 1, len(CLIPS))
    for size in (5, 10, 20, 40, 60):
        columns[f"p kept {size} %"] = rng.uniform(0, 1, len(CLIPS))
    return columns


def runs_of(rows, seed):
    """A table of rows: a name, or a name and a list of seeds."""
    rng, runs = np.random.default_rng(seed), Runs(FaithfulnessTable())
    for row, seeds in rows.items():
        names = [f"{row}, seed {s}" for s in seeds] if len(seeds) > 1 else [row]
        if len(seeds) > 1:
            runs.seeds[row] = names
        for name, seed_of_run in zip(names, seeds or [None], strict=True):
            runs.table.append("clean", name, scores(name, 10 * seed, rng))
            if seed_of_run is not None:
                runs.seed_of[name] = seed_of_run
    return runs


@pytest.fixture
def means():
    """Three classifiers; one has two seeds of a method and lacks another method."""
    return OverClassifiers(
        {
            "a": runs_of({"lmac": [1, 2], "evidence": [7], "identity": []}, 1),
            "b": runs_of({"lmac": [1], "evidence": [7], "identity": []}, 2),
            "c": runs_of({"lmac": [1], "identity": []}, 3),
        }
    )


def frames(means, row):
    """The values of AG by classifier and seed."""
    return [
        [frame["AG"].to_numpy() for frame in of_seeds.values()]
        for of_seeds in means.members("clean", row).values()
    ]


def test_rows_are_named_without_seeds_and_references_come_last(means):
    assert means.conditions == ["clean"]
    assert means.rows("clean") == ["lmac", "evidence", "identity"]
    members = means.members("clean", "lmac")
    assert {name: list(of) for name, of in members.items()} == {
        "a": [1, 2], "b": [1], "c": [1],
    }  # fmt: skip
    assert list(means.members("clean", "identity")["a"]) == [None]
    assert means.members("clean", "nothing") == {}


def test_seeds_are_averaged_before_classifiers(means):
    (a1, a2), (b,), (c,) = frames(means, "lmac")
    values = [(a1.mean() + a2.mean()) / 2, b.mean(), c.mean()]
    found = means.mean("clean", "lmac", AG)
    assert found.value == pytest.approx(sum(values) / 3)
    assert found.sd == pytest.approx(statistics.stdev(values))


def test_the_interval_draws_the_same_clips_for_all_classifiers(means):
    generator = np.random.default_rng(means.seed)
    (a1, a2), (b,), (c,) = frames(means, "lmac")
    drawn = [
        generator.integers(0, len(CLIPS), len(CLIPS)) for _ in range(means.n_resamples)
    ]
    # The clips are sorted by name, as text.
    order = np.argsort(CLIPS)
    resampled = []
    for clips in drawn:
        of = [values[order][clips].mean() for values in (a1, a2, b, c)]
        resampled.append(((of[0] + of[1]) / 2 + of[2] + of[3]) / 3)
    found = means.mean("clean", "lmac", AG)
    low, high = np.percentile(resampled, [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.low < found.value < found.high


def test_a_difference_is_paired_and_over_the_classifiers_of_both(means):
    (a1, a2), (b,), _ = frames(means, "lmac")
    (a,), (other,) = frames(means, "evidence")
    found = means.difference("clean", "lmac", "evidence", AG)
    pairs = (a1 + a2) / 2 - a, b - other
    assert found.value == pytest.approx(np.mean([pair.mean() for pair in pairs]))
    counts = resampled_counts(len(CLIPS), means.n_resamples, means.seed)
    sums = counts @ np.mean(pairs, axis=0)[np.argsort(CLIPS)] / len(CLIPS)
    assert (found.low, found.high) == pytest.approx(
        tuple(np.percentile(sums, [2.5, 97.5]))
    )
    same = means.difference("clean", "lmac", "lmac", AG)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    with pytest.raises(SettingError, match="the rows are lmac, evidence, identity"):
        means.difference("clean", "lmac", "l2i", AG)


def test_a_median_has_no_interval_over_classifiers(means):
    found = means.mean("clean", "lmac", FF_MEDIAN)
    assert math.isfinite(found.value)
    assert math.isnan(found.low)


def test_one_classifier_has_no_deviation():
    means = OverClassifiers({"a": runs_of({"lmac": [1]}, 1)})
    found = means.mean("clean", "lmac", AG)
    assert math.isnan(found.sd)
    assert found.low < found.value < found.high


def test_undefined_values_do_not_count_and_tags_of_a_clip_are_drawn_together():
    lines = pd.DataFrame(
        {"clip_id": ["b", "a", "b", "c"], "AG": [1.0, 2.0, 3.0, math.nan]}
    )
    sums, n = sums_by_clip(lines, "AG")
    assert sums.tolist() == [2, 4, 0]
    assert n.tolist() == [1, 2, 0]


def test_a_metric_without_values_is_a_dash(means):
    for runs in means.runs.values():
        for row in runs.table.methods("clean"):
            frame = runs.table.row("clean", row).copy()
            frame["AG"] = math.nan
            runs.table.put("clean", row, frame)
    assert math.isnan(means.mean("clean", "lmac", AG).value)
    page = means_to_markdown(means, [AG])
    assert re.search(r"\| lmac +\| +3 × 1 to 2 \| +– \|", page)


def test_the_page_counts_classifiers_and_seeds(means):
    page = means_to_markdown(means)
    assert "### clean, mean over classifiers" in page
    lines = [line for line in page.splitlines() if line.startswith("| lmac ")]
    assert all(line.split("|")[2].strip() == "3 × 1 to 2" for line in lines)
    evidence = next(x for x in page.splitlines() if x.startswith("| evidence "))
    assert evidence.split("|")[2].strip() == "2 × 1"
    found = means.mean("clean", "evidence", AG)
    cell = f"{found.value:.2f} ± {found.sd:.2f} [{found.low:.2f}, {found.high:.2f}]"
    assert cell in evidence
    assert "a, b, c: means over seeds" in page


def test_differences_are_a_table_with_signs(means):
    page = differences_to_markdown(means, "lmac", "evidence")
    found = means.difference("clean", "lmac", "evidence", AG)
    line = next(x for x in page.splitlines() if x.startswith("| AG "))
    cells = [cell.strip() for cell in line.strip("| ").split("|")]
    assert cells[1:3] == [
        f"{found.value:+.2f}",
        f"[{found.low:+.2f}, {found.high:+.2f}]",
    ]
    assert "median" not in page


def test_the_file_has_every_run_and_their_mean(means, tmp_path):
    write_values(means, tmp_path / "values.csv")
    lines = pd.read_csv(tmp_path / "values.csv")
    assert list(lines) == [
        "condition", "row", "column", "classifier", "seed", "value", "low", "high",
        "sd",
    ]  # fmt: skip
    lines = lines[(lines["row"] == "lmac") & (lines["column"] == "AG")]
    runs = list(zip(lines["classifier"], lines["seed"], strict=True))
    assert runs == [("a", "1"), ("a", "2"), ("b", "1"), ("c", "1"), ("all", "all")]
    found = means.mean("clean", "lmac", AG)
    last = lines.iloc[-1]
    assert (last["value"], last["sd"], last["low"], last["high"]) == pytest.approx(
        (found.value, found.sd, found.low, found.high), rel=1e-5
    )
    (a1, _), *_ = frames(means, "lmac")
    assert lines.iloc[0]["value"] == pytest.approx(a1.mean(), rel=1e-5)


def test_dials_are_rows_of_several_shares():
    rows = ["evidence 0.04", "evidence 0.5", "evidence smallest", "loudness 0.5", "a 1"]
    assert dials_of(rows) == {"evidence": {0.04: "evidence 0.04", 0.5: "evidence 0.5"}}
    assert dials_of(["lmac_td_alpha0.75", "lmac_td_alpha0.5"]) == {}


def test_the_dial_shows_every_method_once(tmp_path, monkeypatch):
    rows = {f"evidence {share}": [1] for share in (0.04, 0.25, 0.5, 0.7)}
    rows |= {"lmac": [1, 2], "gradcam": [1], "gradcam, as audio": [1], "identity": []}
    runs = {"a": runs_of(rows, 1), "b": runs_of(rows, 2)}
    shown, legends = {}, []

    def keep(figure, file, **_):
        (axis,) = figure.axes
        shown.update({line.get_label(): line.get_data() for line in axis.lines})
        legends.extend(text.get_text() for text in figure.legends[0].get_texts())
        file.write(b"png")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", keep)
    dial_figure(tmp_path / "dial.png", OverClassifiers(runs), "clean")
    assert list(shown) == [
        "evidence, dial", "evidence 0.5", "lmac", "gradcam", "identity", "the mixture",
    ]  # fmt: skip
    # The legend begins with the highest line.
    assert legends == sorted(shown, key=lambda name: -shown[name][1][-1])
    kept, p = shown["evidence, dial"]
    frames = [r.table.row("clean", "evidence 0.25") for r in runs.values()]
    shares = [(10 ** (frame["kept (dB)"] / 10)).mean() for frame in frames]
    assert kept[1] == pytest.approx(100 * np.mean(shares))
    assert p[1] == pytest.approx(np.mean([frame["p_in"].mean() for frame in frames]))
    sizes, curve = shown["lmac"]
    assert list(sizes) == [5, 10, 20, 40, 60]
    expected = [
        runs[name].table.row("clean", f"lmac, seed {seed}")["p kept 20 %"].mean()
        for name in runs
        for seed in (1, 2)
    ]
    assert curve[2] == pytest.approx(np.mean(expected))
