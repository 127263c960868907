"""Two rows clip by clip."""

import pytest
import torch

from lmac_td import metrics
from lmac_td.errors import SettingError
from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.comparison import comparison_to_markdown
from lmac_td.evaluation.table import FaithfulnessTable
from tests.score_batches import N_RESAMPLES, TAGS, batch, lines_of, tagged


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
