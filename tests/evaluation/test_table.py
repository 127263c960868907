"""The table: what it measures of a batch, and what it refuses."""

import json
import math

import numpy as np
import pytest
import torch

from lmac_td import metrics
from lmac_td.evaluation.frame import values_of
from lmac_td.evaluation.invariants import check_invariants
from lmac_td.evaluation.rendering import table_to_markdown
from lmac_td.evaluation.summary import write_json
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.metrics.registry import registered
from tests.score_batches import (
    N_RESAMPLES,
    TAGS,
    answers,
    answers_by_amplitude,
    batch,
    columns_of,
    of_second_classifier,
    of_surrogate,
    part,
    sources,
    tagged,
    tags_of,
)

PADDED_COLUMNS = (
    "completeness (dB)", "kept (dB)", "IoU (time)", "AUC (time)", "SI-SDR (dB)",
    "SI-SDRi (dB)", "eta (99.9)", "eta (99)", "eta (98)",
)  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_columns_come_to_the_host_unchanged(dtype):
    """One by one: every metric's own numbers, to the last bit."""
    given = batch() | sources() | answers()
    given = {
        name: value.to(dtype)
        if isinstance(value, torch.Tensor) and value.is_floating_point()
        else value
        for name, value in given.items()
    }
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="c", method="m", **given)
    columns = columns_of(table, "c", "m")
    p = given["p_x"], given["p_in"]
    wavs, kept = given["wavs"], given["interpretation"]
    for name, expected in {
        "decided": given["explained"],
        "label": given["labels"],
        "AD": metrics.average_drop(*p),
        "AG": metrics.average_gain(*p),
        "SPS": metrics.sparseness(given["attribution"]),
        "completeness (dB)": metrics.completeness_db(wavs, kept, given["residual"]),
        "SI-SDR (dB)": metrics.si_sdr_db(kept, given["target"]),
        "insertion": metrics.area_under(given["p_kept"]),
    }.items():
        assert columns[name] == expected.tolist(), name
        assert type(columns[name][0]) is type(expected.tolist()[0])


def test_padding_does_not_count():
    """Whatever a method puts into the padding, the scores are those of the clip."""
    n_samples = torch.tensor([60] * 5 + [30, 45, 15])
    given = batch() | sources()
    after = torch.arange(60) >= n_samples.unsqueeze(1)
    for name in ("wavs", "target"):
        given[name] = given[name].masked_fill(after, 0)
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="c", method="plain", **given)
    table.add(condition="c", method="padded", n_samples=n_samples, **given)
    noisy = given | {
        name: given[name] + after * torch.rand(8, 60)
        for name in ("interpretation", "residual")
    }
    table.add(condition="c", method="noisy", n_samples=n_samples, **noisy)
    plain, padded, noisy = (
        columns_of(table, "c", name) for name in ("plain", "padded", "noisy")
    )
    for name in plain:
        # Bit for bit.
        np.testing.assert_array_equal(plain[name][:5], padded[name][:5], err_msg=name)
        np.testing.assert_array_equal(noisy[name], padded[name], err_msg=name)
    short = [name for name in plain if plain[name][5:] != padded[name][5:]]
    assert set(short) <= set(PADDED_COLUMNS)
    assert "kept (dB)" in short
    table.add(condition="c", method="full", n_samples=torch.full((8,), 60), **given)
    for name, values in columns_of(table, "c", "full").items():
        np.testing.assert_array_equal(values, plain[name], err_msg=name)


def test_the_table_measures_through_the_public_functions():
    b = batch()
    table = FaithfulnessTable()
    table.add(condition="c", method="m", **b)
    columns = columns_of(table, "c", "m")
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
        "p_x": b["p_x"].gather(1, b["explained"][:, None])[:, 0],
        "p_in": b["p_in"].gather(1, b["explained"][:, None])[:, 0],
        "p_out": b["p_out"].gather(1, b["explained"][:, None])[:, 0],
    }
    for name, values in want.items():
        assert columns[name] == values.tolist(), name
    assert columns["clip_id"] == b["clip_ids"]
    assert columns["label"] == b["labels"].tolist()
    assert columns["decided"] == b["explained"].tolist()
    always = {m.name for m in registered() if m.printed and not m.needs}
    assert table.means("c", "m").keys() == always
    assert table.means("c", "m")["AD"] == pytest.approx(want["AD"].mean().item())


@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_mean_is_over_clips_whatever_the_batches(size):
    b = batch()
    whole, parts = FaithfulnessTable(), FaithfulnessTable()
    whole.add(condition="c", method="m", **b)
    for start in range(0, 8, size):
        parts.add(condition="c", method="m", **part(b, start, start + size))
    assert columns_of(parts, "c", "m") == columns_of(whole, "c", "m")
    assert parts.means("c", "m") == whole.means("c", "m")


def test_the_decided_class_counts_and_the_label_does_not():
    b = batch()
    table = FaithfulnessTable()
    table.add(condition="c", method="m", **b)
    table.add(condition="c", method="n", **(b | {"labels": (b["labels"] + 1) % 5}))
    table.add(condition="c", method="o", **(b | {"labels": None}))
    assert table.means("c", "m") == table.means("c", "n") == table.means("c", "o")


def test_optional_columns_stand_only_where_something_has_them():
    b, truth, at_size = batch(), sources(), answers() | answers_by_amplitude()
    second = of_second_classifier()
    mask = torch.rand(8, 4, 6)
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="plain", method="m", **b)
    more = truth | at_size | second | of_surrogate()
    table.add(condition="rich", method="m", mask=mask, **more, **b)
    table.add(condition="rich", method="n", **b)
    check_invariants(table)
    scores = columns_of(table, "rich", "m")
    assert scores["SPS (mask)"] == metrics.sparseness(mask).tolist()
    assert scores["COMP (mask)"] == metrics.complexity(mask).tolist()
    assert scores["MM"] == metrics.mask_mean(mask).tolist()
    plain, rich = table_to_markdown(table).split("### rich")
    for name in (
        *("mask", "eta", "insertion", "Ground truth", "Equal size"),
        *("amplitude", "Second classifier", "second (change)"),
        *("Fidelity of the surrogate", "top-5 fidelity"),
    ):
        assert name not in plain
        assert name in rich
    assert table.compare("rich", "m", "n").keys() == table.means("rich", "n").keys()
    everything = {metric.name for metric in registered() if metric.printed}
    assert table.means("rich", "m").keys() == everything


def test_the_ground_truth_is_measured_through_the_public_functions():
    b, truth = batch(), sources()
    truth["target_mag"][2, 1] = 0  # a frame without the target
    table = FaithfulnessTable()
    table.add(condition="c", method="m", **truth, **b)
    scores = columns_of(table, "c", "m")
    target, magnitude = truth["target_mag"], truth["magnitude"]
    active = metrics.active_frames(target)
    assert not active.all()
    for percentile in (99.9, 99, 98):
        want = metrics.speech_relevance_score(
            b["attribution"], target, truth["other_mag"], percentile, active
        )
        assert scores[f"eta ({percentile})"] == want.tolist()
    si_sdr = metrics.si_sdr_db(b["interpretation"], truth["target"])
    mixture = metrics.si_sdr_db(b["wavs"], truth["target"])
    gain = metrics.kept_gain(b["attribution"].expm1(), magnitude)
    want = {
        "SI-SDR (dB)": si_sdr,
        "SI-SDRi (dB)": si_sdr - mixture,
        "target kept (dB)": metrics.kept_of_source_db(gain, target),
        "interference kept (dB)": metrics.kept_of_source_db(gain, truth["other_mag"]),
    }
    for name, values in want.items():
        assert scores[name] == values.tolist(), name
    want = metrics.temporal_iou(b["attribution"], active)
    np.testing.assert_array_equal(scores["IoU (time)"], want.numpy())


def test_a_perfect_separation_and_keeping_everything():
    b, truth = batch(), sources()
    other = b["wavs"] - truth["target"]
    table = FaithfulnessTable()
    separated = {
        "interpretation": truth["target"],
        "residual": other,
        "attribution": truth["target_mag"].log1p(),
    }
    everything = {
        "interpretation": b["wavs"],
        "residual": torch.zeros_like(other),
        "attribution": truth["magnitude"].log1p(),
    }
    for method, kept in (("oracle", separated), ("identity", everything)):
        table.add(condition="c", method=method, **truth, **(b | kept))
    check_invariants(table)
    oracle, identity = (table.means("c", m) for m in ("oracle", "identity"))
    assert oracle["SI-SDR (dB)"] == 120
    assert oracle["eta (99.9)"] > identity["eta (99.9)"]
    assert identity["SI-SDRi (dB)"] == 0
    assert identity["target kept (dB)"] == pytest.approx(0, abs=1e-5)
    assert identity["interference kept (dB)"] == pytest.approx(0, abs=1e-5)
    assert oracle["interference kept (dB)"] < oracle["target kept (dB)"]


def test_equal_size_is_a_column_a_size_and_two_areas():
    b, at_size = batch(), answers()
    table = FaithfulnessTable()
    table.add(condition="c", method="m", **at_size, **b)
    scores = columns_of(table, "c", "m")
    for i, size in enumerate((5, 10, 20, 40, 60)):
        assert scores[f"p kept {size} %"] == at_size["p_kept"][:, i].tolist()
        assert scores[f"p removed {size} %"] == at_size["p_removed"][:, i].tolist()
    assert scores["insertion"] == metrics.area_under(at_size["p_kept"]).tolist()
    assert scores["deletion"] == metrics.area_under(at_size["p_removed"]).tolist()
    text = table_to_markdown(table)
    assert "insertion ↑" in text
    assert "deletion ↓" in text
    assert "eta" not in text


def test_a_group_is_given_whole():
    b, truth, at_size = batch(), sources(), answers()
    table = FaithfulnessTable()
    for given in (truth, at_size):
        for name in given:
            rest = {other: value for other, value in given.items() if other != name}
            with pytest.raises(ValueError, match=f"{name}.*must be given together"):
                table.add(condition="c", method="m", **rest, **b)
    for name in ("magnitude", "target", "target_mag", "other_mag"):
        wrong = truth | {name: truth[name][:, :3]}
        with pytest.raises(ValueError, match=f"{name} and .* must have the same shape"):
            table.add(condition="c", method="m", **wrong, **b)
    for name in at_size:
        wrong = at_size | {name: at_size[name][:, :3]}
        with pytest.raises(ValueError, match=rf"{name} must have shape \(8, 5\)"):
            table.add(condition="c", method="m", **wrong, **b)
    assert not table.rows


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_groups_do_not_depend_on_the_batches(size):
    everything = batch() | sources() | answers()
    whole, parts = FaithfulnessTable(), FaithfulnessTable()
    whole.add(condition="c", method="m", **everything)
    for start in range(0, 8, size):
        given = part(everything, start, start + size)
        parts.add(condition="c", method="m", **given)
    for name, column in columns_of(whole, "c", "m").items():
        if name not in ("clip_id",):
            got = values_of(parts.row("c", "m"), name)
            np.testing.assert_allclose(got, column, atol=1e-6, err_msg=name)


def test_what_does_not_fit_is_named_and_nothing_is_added():
    b = batch()
    table = FaithfulnessTable()
    row = {"condition": "c", "method": "m"}
    for change, message in [
        ({"clip_ids": b["clip_ids"][:7]}, "clips, clip_ids 7"),
        ({"labels": b["labels"][:3]}, "labels has 3"),
        ({"explained": b["explained"] + 3}, "explained must hold classes below 5"),
        ({"explained": b["explained"] - 5}, "explained must hold classes below 5"),
        ({"explained": b["explained"][:7]}, "explained has 7"),
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


def test_the_class_that_is_explained_counts():
    """Of two equal probabilities the one that is given; of others the one asked for."""
    b = batch(1)
    b |= {"p_x": torch.tensor([[0.4, 0.4, 0.2, 0, 0]])}
    table = FaithfulnessTable()
    for c in (0, 1, 2):
        b |= {"explained": torch.tensor([c])}
        table.add(condition="c", method=f"m{c}", **b)
        columns = columns_of(table, "c", f"m{c}")
        p_x, p_in, p_out = (float(b[name][0, c]) for name in ("p_x", "p_in", "p_out"))
        assert columns["decided"] == [c]
        assert columns["p_x"] == [p_x]
        assert columns["AI"] == [100 * (p_in > p_x)]
        assert columns["AD"] == pytest.approx([100 * max(0, p_x - p_in) / p_x])
        assert columns["AG"] == pytest.approx([100 * max(0, p_in - p_x) / (1 - p_x)])
        assert columns["FF"] == pytest.approx([p_x - p_out])
        assert columns["Fid-In"] == [float(b["p_in"][0].argmax() == c)]


def test_one_silent_clip_does_not_take_the_mean_with_it():
    b = batch()
    b["interpretation"] = b["interpretation"].clone()
    b["interpretation"][2] = 0
    want = metrics.kept_energy_db(b["wavs"], b["interpretation"])
    assert want[2] == -math.inf  # the metric itself keeps its definition
    table = FaithfulnessTable()
    table.add(condition="c", method="m", **b)
    want[2] = -100
    assert columns_of(table, "c", "m")["kept (dB)"] == want.tolist()
    assert math.isfinite(table.means("c", "m")["kept (dB)"])


def test_zero_maps_are_left_out_and_counted(tmp_path):
    b = batch()
    b["attribution"][2:4] = 0
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="c", method="m", **b)
    rest = [i for i in range(8) if i not in (2, 3)]
    want = metrics.sparseness(b["attribution"][rest]).double().mean().item()
    assert table.means("c", "m")["SPS"] == pytest.approx(want)
    write_json(table, tmp_path / "t.json")
    (row,) = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert row["zero_maps"] == 2
    assert (row["metrics"]["SPS"]["n"], row["metrics"]["SPS"]["left_out"]) == (6, 2)
    check_invariants(table)


def test_silence_has_neither_si_sdr_nor_onset():
    """One map that is zero everywhere does not take the mean of the others with it."""
    table = FaithfulnessTable(n_resamples=10)
    torch.manual_seed(0)
    target, other = torch.randn(2, 4, 64)
    wavs, kept = target + other, (target + 0.5 * other)
    magnitudes = torch.rand(2, 4, 6, 5)
    attribution = torch.rand(4, 6, 5)
    for silent in (kept, attribution):
        silent[1] = 0
    p = torch.full((4, 3), 1 / 3)
    table.add(
        condition="mixtures",
        method="m",
        clip_ids=list("abcd"),
        explained=torch.zeros(4, dtype=torch.long),
        p_x=p,
        p_in=p,
        p_out=p,
        wavs=wavs,
        interpretation=kept,
        residual=wavs - kept,
        attribution=attribution,
        magnitude=magnitudes.sum(0),
        target=target,
        target_mag=magnitudes[0],
        other_mag=magnitudes[1],
    )
    scores = table.rows["mixtures", "m"]
    for metric in ("SPS", "SI-SDR (dB)", "SI-SDRi (dB)", "eta (98)"):
        assert np.isnan(values_of(scores, metric)).tolist() == [
            False,
            True,
            False,
            False,
        ]
    assert np.isnan(values_of(scores, "IoU (time)")[1])
    assert table.means("mixtures", "m")["SI-SDR (dB)"] > 0
    check_invariants(table)


def test_a_row_has_one_entry_a_clip_and_tag():
    table, b = tags_of(), tagged()
    columns = columns_of(table, "c", "m")
    assert columns["clip_id"] == [f"clip{clip}" for clip, _ in TAGS]
    assert columns["decided"] == [tag for _, tag in TAGS]
    for i, (_, tag) in enumerate(TAGS):
        p_x, p_in, p_out = (float(b[name][i, tag]) for name in ("p_x", "p_in", "p_out"))
        assert columns["AI"][i] == 100 * (p_in > p_x)
        assert columns["AD"][i] == pytest.approx(100 * max(0, p_x - p_in) / p_x)
        assert columns["AG"][i] == pytest.approx(100 * max(0, p_in - p_x) / (1 - p_x))
        assert columns["FF"][i] == pytest.approx(p_x - p_out)
    check_invariants(table)
    with pytest.raises(ValueError, match="'clip0' is scored twice"):
        table.add(condition="c", method="m", **tagged())


def test_a_tag_stays_where_it_is_still_above_its_threshold():
    """Fid-In of sigmoids; that of a softmax asks for the largest."""
    for threshold in (0.3, 0.5, 0.7):
        b = tagged() | {"threshold": threshold}
        b["p_in"] = torch.linspace(0, 1, len(TAGS) * 5).view(5, len(TAGS)).T
        table = FaithfulnessTable()
        table.add(condition="c", method="m", **b)
        expected = [
            float(b["p_in"][i, tag] >= threshold) for i, (_, tag) in enumerate(TAGS)
        ]
        assert 0 < sum(expected) < len(expected)
        assert columns_of(table, "c", "m")["Fid-In"] == expected
    table.add(condition="c", method="softmax", **(b | {"threshold": None}))
    expected = [float(b["p_in"][i].argmax() == tag) for i, (_, tag) in enumerate(TAGS)]
    assert columns_of(table, "c", "softmax")["Fid-In"] == expected


def test_a_tag_at_its_threshold_is_above_it():
    b = part(tagged() | {"threshold": [0.5]}, 0, 1) | {"threshold": 0.5}
    b["p_in"] = torch.full((1, 5), 0.5)
    table = FaithfulnessTable()
    table.add(condition="c", method="m", **b)
    assert columns_of(table, "c", "m")["Fid-In"] == [1.0]
