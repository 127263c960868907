"""Check what holds for every correct table; several published tables break it.

A table that breaks an invariant is refused, and the error names the row.
"""

import numpy as np

from lmac_td.evaluation.frame import ScoreFrame, values_of
from lmac_td.metrics.conciseness import complexity_bound
from lmac_td.metrics.registry import NEVER, ZERO_MAP, registered

# Scores are float32, so inequalities between them hold up to this tolerance.
_ROUNDING = 1e-5


class InvariantError(AssertionError):
    """A row of the table holds numbers that no correct measurement can give."""


def check_invariants(table: ScoreFrame) -> None:
    """Assert what holds for every correct table.

    Mean AG ≤ mean AI and mean FF ≤ mean confidence, and for every clip: no gain
    without an increase, COMP at least what its SPS allows
    (:func:`~lmac_td.metrics.conciseness.complexity_bound`), and every metric within
    its range, NaN only where it may be undefined.

    Arguments
    ---------
    table : FaithfulnessTable
        The table to check.

    Raises
    ------
    InvariantError
        If an invariant is broken; the message names the row and the numbers.
    """
    for (condition, method), scores in table.rows.items():
        row = f"row {method!r} of {condition!r}"
        _check_means(row, scores)
        _check_gain(row, scores)
        for kind in ("", " (mask)"):
            if f"SPS{kind}" in scores:
                _check_conciseness(row, scores, kind)
        for metric in registered():
            if metric.name in scores:
                _check_range(row, scores, metric)


def _check_means(row, scores):
    for metric, limit in (("AG", "AI"), ("FF", "p_x")):
        value, most = values_of(scores, metric).mean(), values_of(scores, limit).mean()
        if not value <= most + _ROUNDING:
            raise InvariantError(
                f"{row}: mean {metric} {value:.6g} exceeds mean {limit} {most:.6g}."
            )


def _check_gain(row, scores):
    gains = values_of(scores, "AG")
    for i in np.flatnonzero((values_of(scores, "AI") == 0) & (gains != 0))[:1]:
        clip_id, gain = scores["clip_id"][i], gains[i]
        raise InvariantError(f"{row}, clip {clip_id!r}: AG is {gain:.6g}, AI is 0.")


def _check_conciseness(row, scores, kind):
    names = (f"SPS{kind}", f"COMP{kind}", f"bins{kind}")
    sps, comp, n_bins = (values_of(scores, name) for name in names)
    with np.errstate(divide="ignore", invalid="ignore"):  # maps of one bin
        bound = complexity_bound(sps, n_bins)
    broken = (n_bins > 1) & (comp < bound - _ROUNDING)
    for i in np.flatnonzero(broken)[:1]:
        raise InvariantError(
            f"{row}, clip {scores['clip_id'][i]!r}: COMP{kind} {comp[i]:.6g} is below "
            f"{bound[i]:.6g}, the least that a map of {n_bins[i]:.0f} bins with "
            f"SPS{kind} {sps[i]:.6g} can have."
        )


def _check_range(row, scores, metric):
    values = values_of(scores, metric.name)
    low, high = metric.range
    fits = (low - metric.tolerance <= values) & (values <= high + metric.tolerance)
    if metric.undefined == ZERO_MAP:
        fits |= np.isnan(values) & np.isnan(values_of(scores, "SPS"))
    elif metric.undefined != NEVER:
        fits |= np.isnan(values)
    for i in np.flatnonzero(~fits)[:1]:
        raise InvariantError(
            f"{row}, clip {scores['clip_id'][i]!r}: {metric.name} is {values[i]:.6g}, "
            f"outside [{low:g}, {high:g}]."
        )
