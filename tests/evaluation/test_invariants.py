"""Tables that cannot be right are refused, and their row is named."""

import math

import pytest
import torch

from lmac_td.evaluation.invariants import InvariantError, check_invariants
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.metrics.curves import SIZES
from tests.score_batches import columns_of, set_columns


def filled():
    """Two conditions, two methods, every group of columns; one zeros row."""
    generator = torch.Generator().manual_seed(1)
    p_x, p_in, p_out = (3 * torch.randn(3, 8, 5, generator=generator)).softmax(dim=2)
    target, other = torch.rand(2, 8, 60, generator=generator) - 0.5
    target_mag, other_mag = torch.rand(2, 8, 4, 6, generator=generator)
    magnitude = target_mag + other_mag
    p_kept, p_removed = torch.rand(2, 8, len(SIZES), generator=generator)
    wavs = target + other
    table = FaithfulnessTable(n_resamples=200)
    for condition in ("in-domain", "mixtures, 5 dB"):
        for method, gain in (("LMAC-TD", 0.7), ("zeros", 0.0)):
            kept = gain * (target + 0.5 * other)
            table.add(
                condition=condition,
                method=method,
                clip_ids=[f"clip{i}" for i in range(8)],
                explained=p_x.argmax(dim=1),
                p_x=p_x,
                p_in=p_in,
                p_out=p_out,
                wavs=wavs,
                interpretation=kept,
                residual=wavs - kept,
                attribution=torch.log1p(gain * target_mag),
                mask=gain * target_mag,
                magnitude=magnitude,
                target=target,
                target_mag=target_mag,
                sample_rate=200,
                hop_samples=19,
                other_mag=other_mag,
                p_kept=p_kept,
                p_removed=p_removed,
            )
    return table


def test_invariants_hold_for_what_was_measured():
    check_invariants(filled())
    check_invariants(FaithfulnessTable())


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("AG", 100.0, "mean AG 100 exceeds mean AI"),
        ("FF", 1.0, "mean FF 1 exceeds mean p_x"),
        ("AG", math.nan, "mean AG nan exceeds mean AI"),
        ("COMP", 0.1, "clip 'clip0': COMP 0.1 is below"),
        ("COMP (mask)", 0.1, r"clip 'clip0': COMP \(mask\) 0.1 is below"),
        ("p_in", 1.01, r"clip 'clip0': p_in is 1.01, outside"),
        ("p_out", math.nan, r"clip 'clip0': p_out is nan, outside"),
        ("p kept 5 %", -0.1, r"p kept 5 % is -0.1, outside"),
        ("p removed 60 %", 1.1, r"p removed 60 % is 1.1, outside"),
        ("insertion", 1.5, r"insertion is 1.5, outside"),
        ("deletion", math.inf, r"deletion is inf, outside"),
        ("AI", -1.0, r"mean AG .* exceeds mean AI -1"),
        ("AD", 120.0, r"AD is 120, outside \[0, 100\]"),
        ("Fid-In", math.nan, r"Fid-In is nan, outside"),
        ("COMP", math.nan, r"COMP is nan, outside"),
        ("AUC (time)", 1.5, r"AUC \(time\) is 1.5, outside \[0, 1\]"),
        ("eta (99.9)", 1.1, r"eta \(99.9\) is 1.1, outside \[0, 1\]"),
        ("eta (98)", -0.5, r"eta \(98\) is -0.5, outside"),
        ("IoU (time)", 2.0, r"IoU \(time\) is 2, outside"),
        ("SI-SDR (dB)", math.inf, r"SI-SDR \(dB\) is inf, outside"),
        ("SI-SDR (dB)", math.nan, r"SI-SDR \(dB\) is nan, outside"),
        ("SI-SDRi (dB)", -math.inf, r"SI-SDRi \(dB\) is -inf, outside"),
        ("target kept (dB)", 0.1, r"target kept \(dB\) is 0.1, outside"),
        ("interference kept (dB)", -math.inf, r"interference kept \(dB\) is -inf"),
    ],
)
def test_a_row_that_cannot_be_right_is_named(column, value, message):
    table = filled()
    set_columns(table, "in-domain", "LMAC-TD", **{column: value})
    with pytest.raises(
        InvariantError, match=f"row 'LMAC-TD' of 'in-domain'.*{message}"
    ):
        check_invariants(table)
    assert issubclass(InvariantError, AssertionError)


def test_a_gain_without_an_increase_is_refused():
    """In the papers' mel table Guided GradCAM has AG 6.67 and AI .125."""
    table = filled()
    rises = [100.0] * 7 + [0.0]
    set_columns(table, "mixtures, 5 dB", "zeros", AI=rises, AG=10.0)
    with pytest.raises(InvariantError, match="clip 'clip7': AG is 10, AI is 0"):
        check_invariants(table)


@pytest.mark.parametrize(
    "column", ["eta (99)", "IoU (time)", "AUC (time)", "target kept (dB)"]
)
def test_what_may_be_undefined_may_be_nan(column):
    table = filled()
    values = columns_of(table, "in-domain", "LMAC-TD")[column]
    values[3] = math.nan
    set_columns(table, "in-domain", "LMAC-TD", **{column: values})
    check_invariants(table)


def test_the_halved_table_of_the_paper_is_refused():
    """L-MAC's in-domain SPS .47 and COMP 4.71 on 5-s maps: half of a true pair."""
    table = filled()
    row, bins = ("in-domain", "LMAC-TD"), 513 * 431
    set_columns(table, *row, bins=bins, SPS=0.94, COMP=9.42)
    check_invariants(table)
    set_columns(table, *row, bins=bins, SPS=0.47, COMP=4.71)
    with pytest.raises(InvariantError, match=r"COMP 4\.71 is below 6\.52"):
        check_invariants(table)
