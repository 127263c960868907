"""The table: what it measures, its intervals, its files and what it refuses."""

import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lmac_td import metrics
from lmac_td.errors import DataError, SettingError
from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.comparison import comparison_to_markdown
from lmac_td.evaluation.invariants import check_invariants
from lmac_td.evaluation.table import COLUMNS, OPTIONAL_COLUMNS, FaithfulnessTable
from lmac_td.metrics.curves import SIZES

N_RESAMPLES = 200


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
    columns = table.rows["c", "m"].columns
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


PADDED_COLUMNS = (
    "completeness (dB)", "kept (dB)", "IoU (time)", "SI-SDR (dB)", "SI-SDRi (dB)",
    "eta (99.9)", "eta (99)", "eta (98)",
)  # fmt: skip


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
        table.rows["c", name].columns for name in ("plain", "padded", "noisy")
    )
    for name in plain:
        # Bit for bit.
        np.testing.assert_array_equal(plain[name][:5], padded[name][:5], err_msg=name)
        np.testing.assert_array_equal(noisy[name], padded[name], err_msg=name)
    short = [name for name in plain if plain[name][5:] != padded[name][5:]]
    assert set(short) <= set(PADDED_COLUMNS)
    assert "kept (dB)" in short
    table.add(condition="c", method="full", n_samples=torch.full((8,), 60), **given)
    for name, values in table.rows["c", "full"].columns.items():
        np.testing.assert_array_equal(values, plain[name], err_msg=name)


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
        "explained": p_x.argmax(dim=1),
        "p_x": p_x,
        "p_in": p_in,
        "p_out": p_out,
        "wavs": wavs,
        "interpretation": kept * wavs,
        "residual": wavs - kept * wavs,
        "attribution": torch.rand(n_clips, 4, 6, generator=generator) ** 3,
    }


def sources(n_clips=8, seed=5):
    """What :meth:`FaithfulnessTable.add` wants for the columns of the ground truth."""
    generator = torch.Generator().manual_seed(seed)
    target_mag, other_mag = torch.rand(2, n_clips, 4, 6, generator=generator) ** 4
    return {
        "magnitude": target_mag + other_mag,
        "target": torch.rand(n_clips, 60, generator=generator) - 0.5,
        "target_mag": target_mag,
        "other_mag": other_mag,
    }


def answers(n_clips=8, seed=6):
    """Probabilities at each size."""
    generator = torch.Generator().manual_seed(seed)
    p_kept, p_removed = torch.rand(2, n_clips, len(SIZES), generator=generator)
    return {"p_kept": p_kept, "p_removed": p_removed}


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
        "p_x": b["p_x"].gather(1, b["explained"][:, None])[:, 0],
        "p_in": b["p_in"].gather(1, b["explained"][:, None])[:, 0],
        "p_out": b["p_out"].gather(1, b["explained"][:, None])[:, 0],
    }
    for name, values in want.items():
        assert scores.columns[name] == values.tolist(), name
    assert scores.columns["clip_id"] == b["clip_ids"]
    assert scores.columns["label"] == b["labels"].tolist()
    assert scores.columns["decided"] == b["explained"].tolist()
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
    b, truth, at_size = batch(), sources(), answers()
    mask = torch.rand(8, 4, 6)
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="plain", method="m", **b)
    table.add(condition="rich", method="m", mask=mask, **truth, **at_size, **b)
    table.add(condition="rich", method="n", **b)
    check_invariants(table)
    scores = table.rows["rich", "m"].columns
    assert scores["SPS (mask)"] == metrics.sparseness(mask).tolist()
    assert scores["COMP (mask)"] == metrics.complexity(mask).tolist()
    assert scores["MM"] == metrics.mask_mean(mask).tolist()
    plain, rich = table.to_markdown().split("### rich")
    for name in ("mask", "eta", "insertion", "Ground truth", "Equal size"):
        assert name not in plain
        assert name in rich
    assert table.compare("rich", "m", "n").keys() == table.means("rich", "n").keys()
    everything = {column.metric for column in (*COLUMNS, *OPTIONAL_COLUMNS)}
    assert table.means("rich", "m").keys() == everything


def test_the_ground_truth_is_measured_through_the_public_functions():
    b, truth = batch(), sources()
    truth["target_mag"][2, 1] = 0  # a frame without the target
    table = FaithfulnessTable()
    table.add(condition="c", method="m", **truth, **b)
    scores = table.rows["c", "m"].columns
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
    scores = table.rows["c", "m"].columns
    for i, size in enumerate((5, 10, 20, 40, 60)):
        assert scores[f"p kept {size} %"] == at_size["p_kept"][:, i].tolist()
        assert scores[f"p removed {size} %"] == at_size["p_removed"][:, i].tolist()
    assert scores["insertion"] == metrics.area_under(at_size["p_kept"]).tolist()
    assert scores["deletion"] == metrics.area_under(at_size["p_removed"]).tolist()
    text = table.to_markdown()
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
    for name in truth:
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
    for name, column in whole.rows["c", "m"].columns.items():
        if name not in ("clip_id",):
            got = parts.rows["c", "m"].values(name)
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
        columns = table.rows["c", f"m{c}"].columns
        p_x, p_in, p_out = (float(b[name][0, c]) for name in ("p_x", "p_in", "p_out"))
        assert columns["decided"] == [c]
        assert columns["p_x"] == [p_x]
        assert columns["AI"] == [100 * (p_in > p_x)]
        assert columns["AD"] == pytest.approx([100 * max(0, p_x - p_in) / p_x])
        assert columns["AG"] == pytest.approx([100 * max(0, p_in - p_x) / (1 - p_x)])
        assert columns["FF"] == pytest.approx([p_x - p_out])
        assert columns["Fid-In"] == [float(b["p_in"][0].argmax() == c)]


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
    with pytest.raises(SettingError, match="different clips"):
        table.compare("c", "better", "elsewhere")
    table.add(condition="c", method="otherwise mixed", **batch(seed=4))
    with pytest.raises(SettingError, match="different mixtures"):
        table.compare("c", "better", "otherwise mixed")
    quieter = b | {"p_x": b["p_x"].clone()}
    quieter["p_x"][3] *= 0.9  # the same classes of other mixtures
    table.add(condition="c", method="other level", **quieter)
    with pytest.raises(SettingError, match=r"different mixtures.*p_x differs by"):
        table.compare("c", "better", "other level")
    with pytest.raises(SettingError, match=r"no row 'none' of 'c'.*'worse' of 'c'"):
        table.compare("c", "better", "none")


def rated(better_ff=0.0):
    """Two methods that agree but in FF, MM and an undefined map."""
    b = batch(20)
    b["p_out"] = b["p_x"] * 0.6
    mask = torch.full((20, 4, 6), 0.5)
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="c", method="one", mask=mask, **b)
    b |= {"p_out": b["p_x"] * (0.6 + better_ff)}
    b["attribution"] = b["attribution"].clone()
    b["attribution"][3] = 0
    table.add(condition="c", method="two", mask=0.5 * mask, **b)
    table.add(condition="other", method="one", mask=mask, **b)
    return table


def lines_of(text):
    cells = [line.strip("|").split("|") for line in text.splitlines() if "|" in line]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in cells}


@pytest.mark.parametrize(("better_ff", "winner"), [(0.2, "one"), (-0.2, "two")])
def test_a_comparison_says_what_is_more_than_chance(better_ff, winner):
    table = rated(better_ff)
    text = comparison_to_markdown(table, "one", "two")
    assert text.startswith("### c\n")
    assert "### other" not in text
    lines = lines_of(text)
    head = ["one", "two", "difference", "95 % interval", "clips", "better"]
    assert lines["metric"] == head
    value, low, high = table.compare("c", "one", "two")["FF"]
    one, two = (table.means("c", method)["FF"] for method in ("one", "two"))
    assert value == pytest.approx(one - two)
    want = [f"{one:.3f}", f"{two:.3f}", f"{value:+.3f}", f"[{low:+.3f}, {high:+.3f}]"]
    assert lines["FF ↑"] == [*want, "20", winner]
    assert lines["AI (%) ↑"][2:] == ["+0.00", "[+0.00, +0.00]", "20", ""]
    assert lines["MM"][-1] == "they differ"
    assert lines["SPS ↑"][4] == "19"  # the means are over the clips that both have
    assert lines["SPS ↑"][0] == lines["SPS ↑"][1]
    assert text.count("by bootstrap over clips") == 1


def test_lower_is_better_where_the_arrow_says_so():
    b = batch(20)
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="c", method="one", **b)
    table.add(condition="c", method="two", **(b | {"p_in": 0.5 * b["p_in"]}))
    lines = lines_of(comparison_to_markdown(table, "one", "two"))
    assert lines["AD (%) ↓"][2].startswith("-")
    assert lines["AD (%) ↓"][-1] == "one"


def test_a_comparison_with_an_unknown_row_names_the_rows():
    with pytest.raises(
        SettingError, match=r"'three'.*compare two of the rows one, two"
    ):
        comparison_to_markdown(rated(), "one", "three")
    with pytest.raises(SettingError, match="rows none"):
        comparison_to_markdown(FaithfulnessTable(), "one", "two")


def with_groups():
    """A row with every column, one with some, one with undefined and infinite ones."""
    table = filled()
    table.add(condition="more", method="m,\n1", **batch(), **sources(), **answers())
    b = batch(3, prefix="ünï,") | {"labels": None}
    table.add(condition="more", method="n", mask=b["attribution"], **b)
    table.rows["more", "n"].columns["kept (dB)"][1] = -math.inf
    return table


def test_clips_are_read_as_they_were_written(tmp_path):
    table = with_groups()
    table.clips_to_csv(tmp_path / "clips.csv")
    again = FaithfulnessTable.read_clips(
        tmp_path / "clips.csv", {"snr_db": 5}, n_resamples=N_RESAMPLES
    )
    assert again.settings == {"snr_db": 5}
    assert list(again.rows) == list(table.rows)
    for row, scores in table.rows.items():
        assert list(again.rows[row].columns) == list(scores.columns)
        for name, column in scores.columns.items():
            got = again.rows[row].columns[name]
            assert [type(value) for value in got] == [type(value) for value in column]
            np.testing.assert_array_equal(got, column)
    assert again.to_markdown() == table.to_markdown()
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
    with pytest.raises(DataError, match=r"clips\.csv is no clips\.csv of eval_faith"):
        FaithfulnessTable.read_clips(path)
    with pytest.raises(DataError, match=r"missing\.csv is no clips\.csv"):
        FaithfulnessTable.read_clips(tmp_path / "missing.csv")


def test_tables_of_two_runs_are_put_together():
    one, two = FaithfulnessTable(n_resamples=N_RESAMPLES), FaithfulnessTable()
    b = batch()
    b["attribution"][2] = 0  # undefined in both is no difference
    order = torch.arange(7, -1, -1)
    turned = {
        name: [value[i] for i in order] if isinstance(value, list) else value[order]
        for name, value in b.items()
    }
    moved = turned | {"p_out": turned["p_out"] + 1e-6}  # another device
    one.add(condition="c", method="lmac", **b)
    one.add(condition="c", method="identity", **b)
    two.add(condition="c", method="identity", **moved)
    two.add(condition="c", method="lmac_td", **turned)
    two.add(condition="d", method="lmac_td", **turned)
    own = dict(one.rows)
    one.merge(two)
    assert list(one.rows) == [*own, ("c", "lmac_td"), ("d", "lmac_td")]
    assert one.rows["c", "identity"] is own["c", "identity"]
    assert one.compare("c", "lmac", "lmac_td")["AD"][0] == 0
    # A copy: what is added to one is not in the other.
    one.add(condition="d", method="lmac_td", **batch(2, prefix="new"))
    assert len(two.rows["d", "lmac_td"]) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p_in": 0.5}, "p_in of clip 'clip0'"),
        ({"interpretation": 0.99}, "of clip 'clip0'"),
        ({"clip_ids": list("abcdefgh")}, "different clips"),
        ({"mask": torch.rand(8, 4, 6)}, r"only one has the columns \['COMP \(mask\)'"),
    ],
)
def test_a_row_that_differs_is_not_put_into_one_table(change, message):
    one, two, b = FaithfulnessTable(), FaithfulnessTable(), batch()
    one.add(condition="c", method="identity", **b)
    for name, value in change.items():
        b[name] = value * b[name] if isinstance(value, float) else value
    two.add(condition="c", method="new", **batch())
    two.add(condition="c", method="identity", **b)
    with pytest.raises(SettingError, match=f"row 'identity' of 'c'.*{message}"):
        one.merge(two)
    assert list(one.rows) == [("c", "identity")]
    if "p_in" in change:
        one.merge(two, tolerance=100)
        assert len(one.rows) == 2


def test_the_summary_holds_every_mean_and_interval(tmp_path):
    table = with_groups()
    path = tmp_path / "new" / "table.csv"
    table.to_csv(path)
    with open(path, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    rows = [(line["condition"], line["method"]) for line in lines]
    assert rows == list(table.rows)
    columns = [*COLUMNS, *OPTIONAL_COLUMNS]
    assert len(lines[0]) == 4 + 3 * len(columns)
    for line, scores in zip(lines, table.rows.values(), strict=True):
        assert int(line["clips"]) == len(scores)
        for column in columns:
            if column.metric not in scores:
                assert line[column.name] == ""
                continue
            values = scores.values(column.metric)
            want = summarise(values, column.statistic, n_resamples=N_RESAMPLES)
            names = (column.name, f"{column.name} low", f"{column.name} high")
            got = [float(line[name] or "nan") for name in names]
            np.testing.assert_array_equal(got, want)
    assert lines[1]["zero maps"] == "8"
    assert lines[1]["SPS"] == ""
    assert "FF median" in lines[0]


def test_markdown_reads_in_a_terminal():
    text = filled().to_markdown()
    sections = text.split("### ")
    assert [s.splitlines()[0] for s in sections[1:]] == ["in-domain", "mixtures, 5 dB"]
    assert all(s.count("**Faithfulness**") == 1 for s in sections[1:])
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
    assert named["kept (dB)"] == "-100.0"
    assert (named["SPS ↑"], named["COMP ↓"]) == ("–", "–")
    assert (named["clips"], named["zero maps"]) == ("8", "8")
    spans = dict(zip(intervals[0], intervals[3], strict=True))
    assert spans["kept (dB)"] == "[-100.0, -100.0]"
    assert spans["SPS ↑"] == "–"
    assert spans["completeness (dB) ↑"] == "[120.0, 120.0]"
    low, high = spans["AD (%) ↓"].strip("[]").split(", ")
    assert float(low) <= float(named["AD (%) ↓"]) <= float(high)
    assert "95 % intervals" in text


def test_a_group_has_a_table_of_its_own():
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="c", method="m", **batch(), **sources(), **answers())
    table.add(condition="c", method="spectrum only", **batch(), **sources())
    text = table.to_markdown()
    groups = dict(part.split("**\n") for part in text.split("\n**")[1:])
    assert list(groups) == ["Faithfulness", "Ground truth", "Equal size"]
    for name, group in groups.items():
        means, intervals = (b for b in group.strip().split("\n\n") if b[0] == "|")
        head = [cell.strip() for cell in means.splitlines()[0].strip("|").split("|")]
        assert len(head) <= 15
        assert ("clips" in head) == (name == "Faithfulness")
        wanted = [
            column.header
            for column in (*COLUMNS, *OPTIONAL_COLUMNS)
            if column.group == name.lower() and "mask" not in column.header
            if column.metric != "MM"
        ]
        assert [cell for cell in head[1:] if cell in wanted] == wanted
        assert ("spectrum only" in means) == (name != "Equal size")
        assert len(intervals.splitlines()) == len(means.splitlines())
    assert "eta (99.9) ↑" in groups["Ground truth"]
    assert "p removed 60 % ↓" in groups["Equal size"]


def test_one_silent_clip_does_not_take_the_mean_with_it():
    b = batch()
    b["interpretation"] = b["interpretation"].clone()
    b["interpretation"][2] = 0
    want = metrics.kept_energy_db(b["wavs"], b["interpretation"])
    assert want[2] == -math.inf  # the metric itself keeps its definition
    table = FaithfulnessTable()
    table.add(condition="c", method="m", **b)
    want[2] = -100
    assert table.rows["c", "m"].columns["kept (dB)"] == want.tolist()
    assert math.isfinite(table.means("c", "m")["kept (dB)"])


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
    assert content["rows"][1]["metrics"]["kept (dB)"]["mean"] == -100
    sparseness = content["rows"][1]["metrics"]["SPS"]  # of no map
    assert sparseness["mean"] is None
    assert sparseness["mean_interval"] == [None, None]


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
    assert rows[8]["kept (dB)"] == "-100.0"
    assert rows[8]["SPS"] == "nan"


@pytest.mark.parametrize("write", ["to_json", "to_csv", "clips_to_csv"])
def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch, write):
    table, path = filled(), tmp_path / "result"
    path.write_text("old")

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(json, "dump", fail)
    monkeypatch.setattr(csv.DictWriter, "writerow", fail)
    monkeypatch.setattr(csv, "writer", fail)
    with pytest.raises(OSError, match="disk full"):
        getattr(table, write)(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", ["to_json", "to_csv", "clips_to_csv"])
def test_a_file_takes_its_place_in_one_move(tmp_path, monkeypatch, write):
    path, moves = tmp_path / "result", []
    monkeypatch.setattr(os, "replace", lambda *move: moves.append(move))
    getattr(filled(), write)(path)
    ((source, destination),) = moves
    assert destination == path
    assert Path(source).parent == tmp_path  # the same disk
    assert list(tmp_path.iterdir()) == []


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
        assert np.isnan(scores.values(metric)).tolist() == [False, True, False, False]
    assert np.isnan(scores.values("IoU (time)")[1])
    assert table.means("mixtures", "m")["SI-SDR (dB)"] > 0
    check_invariants(table)


# ---------------------------------------------------------------- tags: several a clip

TAGS = [(0, 1), (0, 3), (1, 2), (2, 0), (2, 1), (2, 4), (3, 2), (5, 0)]  # clip, tag


def tagged(seed=0):
    """Explanations of every tag above a threshold: clips 4, 6 and 7 have none."""
    b = batch(seed=seed)
    rows = torch.tensor([clip for clip, _ in TAGS])
    generator = torch.Generator().manual_seed(seed)
    p_x, p_in, p_out = torch.rand(3, len(TAGS), 5, generator=generator)
    entries = {
        name: [value[row] for row in rows] if isinstance(value, list) else value[rows]
        for name, value in b.items()
    }
    of_tags = {
        "explained": torch.tensor([tag for _, tag in TAGS]),
        "p_x": 0.5 + 0.5 * p_x,
        "p_in": p_in,
        "p_out": p_out,
        "attribution": torch.rand(len(TAGS), 4, 6, generator=generator),
        "threshold": 0.5,
    }
    return entries | of_tags


def tags_of(seed=0, **settings):
    table = FaithfulnessTable(n_resamples=N_RESAMPLES, **settings)
    table.add(condition="c", method="m", **tagged(seed))
    table.add_without_target("c", ["clip4"])
    table.add_without_target("c", [])
    table.add_without_target("c", ["clip6", "clip7"])
    return table


def test_a_row_has_one_entry_a_clip_and_tag():
    table, b = tags_of(), tagged()
    columns = table.rows["c", "m"].columns
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
        assert table.rows["c", "m"].columns["Fid-In"] == expected
    table.add(condition="c", method="softmax", **(b | {"threshold": None}))
    expected = [float(b["p_in"][i].argmax() == tag) for i, (_, tag) in enumerate(TAGS)]
    assert table.rows["c", "softmax"].columns["Fid-In"] == expected


def test_a_tag_at_its_threshold_is_above_it():
    b = part(tagged() | {"threshold": [0.5]}, 0, 1) | {"threshold": 0.5}
    b["p_in"] = torch.full((1, 5), 0.5)
    table = FaithfulnessTable()
    table.add(condition="c", method="m", **b)
    assert table.rows["c", "m"].columns["Fid-In"] == [1.0]


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
        scores.values("AD"), n_resamples=N_RESAMPLES, clips=scores.columns["clip_id"]
    )
    assert want != summarise(scores.values("AD"), n_resamples=N_RESAMPLES)
    table.to_json(tmp_path / "t.json")
    (row,) = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert (
        row["metrics"]["AD"]["mean"],
        *row["metrics"]["AD"]["mean_interval"],
    ) == want
    table.to_csv(tmp_path / "t.csv")
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as file:
        (line,) = csv.DictReader(file)
    assert tuple(float(line[name]) for name in ("AD", "AD low", "AD high")) == want
    assert f"[{want[1]:.2f}, {want[2]:.2f}]" in table.to_markdown()

    table.add(condition="c", method="n", **(tagged() | {"p_in": tagged()["p_x"]}))
    drop = scores.values("AD")  # of n it is 0
    want = summarise(drop, n_resamples=N_RESAMPLES, clips=scores.columns["clip_id"])
    assert table.compare("c", "m", "n")["AD"] == want
    lines = lines_of(comparison_to_markdown(table, "m", "n"))
    assert lines["AD (%) ↓"][3] == f"[{want[1]:+.2f}, {want[2]:+.2f}]"
    assert lines["AD (%) ↓"][4] == "5"  # clips


def test_comparisons_pair_entries_by_clip_and_tag():
    b = tagged()
    order = torch.randperm(len(TAGS))
    shuffled = {
        name: [value[i] for i in order]
        if isinstance(value, list)
        else value[order]
        if isinstance(value, torch.Tensor)
        else value
        for name, value in b.items()
    }
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="c", method="m", **b)
    table.add(condition="c", method="n", **shuffled)
    for metric, difference in table.compare("c", "m", "n").items():
        assert difference == pytest.approx((0, 0, 0), abs=1e-9), metric
    other = b | {"explained": (b["explained"] + 1) % 5}
    table.add(condition="c", method="other tags", **other)
    with pytest.raises(SettingError, match="different classes of the same clips"):
        table.compare("c", "m", "other tags")
    alone = FaithfulnessTable()
    alone.add(condition="c", method="m", **other)
    with pytest.raises(SettingError, match="different classes of the same clips"):
        table.merge(alone)


def test_clips_and_tags_are_counted(tmp_path):
    table = tags_of()
    means, *_ = (b for b in table.to_markdown().split("\n\n") if b.startswith("|"))
    head, _, line = (
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in means.splitlines()
    )
    named = dict(zip(head, line, strict=True))
    assert (named["clips"], named["tags"], named["zero maps"]) == ("5", "8", "0")
    table.to_json(tmp_path / "t.json")
    (row,) = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert (row["n_clips"], row["n_explanations"]) == (5, 8)
    assert row["metrics"]["AD"]["n"] == 8
    table.to_csv(tmp_path / "t.csv")
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["clips"] == "5"
    assert "tags" not in filled().to_markdown()


def test_clips_without_a_tag_are_counted_and_named(tmp_path):
    table = tags_of()
    note = (
        "No tag reaches its threshold in 3 of 8 clips, which are not scored: "
        "clip4, clip6, clip7."
    )
    assert table.to_markdown().count(note) == 1
    table.to_json(tmp_path / "t.json")
    content = json.loads((tmp_path / "t.json").read_text())
    assert content["without_target"] == {"c": ["clip4", "clip6", "clip7"]}
    table.add_without_target("c", ["clip6"])  # once more
    assert table.without_target == {"c": ["clip4", "clip6", "clip7"]}
    assert "reaches its threshold" not in filled().to_markdown()


def test_a_condition_in_which_no_clip_has_a_tag_is_named():
    table = tags_of()
    table.add_without_target("all noise", ["a", "b"])
    last = table.to_markdown().split("### ")[-1]
    assert last.startswith("all noise\n")
    assert "No tag reaches its threshold in 2 of 2 clips" in last
    assert "a, b" in last


def test_merged_tables_keep_the_clips_without_a_tag():
    one, two = tags_of(), tags_of()
    two.add_without_target("d", ["clip9"])
    one.merge(two)
    assert one.without_target == {"c": ["clip4", "clip6", "clip7"], "d": ["clip9"]}
    two.rows["c", "m"].columns["AD"][4] += 1  # the second tag of clip2
    value = one.rows["c", "m"].columns["AD"][4]
    with pytest.raises(SettingError, match="AD of clip 'clip2' is") as error:
        one.merge(two)
    assert f"is {value:.6g} and {value + 1:.6g}" in str(error.value)


def test_tags_are_read_as_they_were_written(tmp_path):
    table = tags_of()
    table.clips_to_csv(tmp_path / "clips.csv")
    again = FaithfulnessTable.read_clips(
        tmp_path / "clips.csv", n_resamples=N_RESAMPLES
    )
    assert again.rows["c", "m"].columns == table.rows["c", "m"].columns
    assert again.means("c", "m") == table.means("c", "m")


def test_what_is_undefined_is_counted_over_explanations():
    b = tagged() | sources(len(TAGS))
    b["target_mag"] = b["target_mag"].clone()
    b["target_mag"][1] = 0  # of one tag nothing can be found
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="c", method="m", **b)
    text = table.to_markdown()
    assert "of 8 explanations" in text
    assert "of 8 clips" not in text
