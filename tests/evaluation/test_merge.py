"""Rows of several tables in one."""

import pytest
import torch

from lmac_td.errors import SettingError
from lmac_td.evaluation.table import FaithfulnessTable
from tests.score_batches import N_RESAMPLES, batch, columns_of, set_columns, tags_of


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


def test_merged_tables_keep_the_clips_without_a_tag():
    one, two = tags_of(), tags_of()
    two.add_without_target("d", ["clip9"])
    one.merge(two)
    assert one.without_target == {"c": ["clip4", "clip6", "clip7"], "d": ["clip9"]}
    drops = columns_of(one, "c", "m")["AD"]
    value, drops[4] = drops[4], drops[4] + 1  # the second tag of clip2
    set_columns(two, "c", "m", AD=drops)
    with pytest.raises(SettingError, match="AD of clip 'clip2' is") as error:
        one.merge(two)
    assert f"is {value:.6g} and {value + 1:.6g}" in str(error.value)
