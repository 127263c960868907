"""What no correct table can break; several published tables break it.

A table that breaks one is refused, and the row is named.
"""

import numpy as np

from lmac_td.evaluation.columns import ETAS, P_KEPT, P_REMOVED
from lmac_td.evaluation.scores import where
from lmac_td.metrics.conciseness import complexity_bound
from lmac_td.metrics.signal import SI_SDR_LIMIT_DB, SILENCE_DB

# Scores are float32, so exact inequalities between them hold to this much.
_ROUNDING = 1e-5
# A half-precision softmax may round this far outside [0, 1].
_PROBABILITY_ROUNDING = 1e-3
# Lowest and highest value of a clip, and whether it may be undefined (NaN): never,
# always, or where the map is zero everywhere.
_NEVER, _ALWAYS, _ZERO_MAP = range(3)
_PROBABILITIES = ("p_x", "p_in", "p_out", "insertion", "deletion", *P_KEPT, *P_REMOVED)
_RANGES = {
    **dict.fromkeys(
        _PROBABILITIES, (-_PROBABILITY_ROUNDING, 1 + _PROBABILITY_ROUNDING, _NEVER)
    ),
    **dict.fromkeys((*ETAS, "IoU (time)"), (0, 1, _ALWAYS)),
    "SI-SDR (dB)": (-SI_SDR_LIMIT_DB, SI_SDR_LIMIT_DB, _ZERO_MAP),
    "SI-SDRi (dB)": (-2 * SI_SDR_LIMIT_DB, 2 * SI_SDR_LIMIT_DB, _ZERO_MAP),
    "target kept (dB)": (SILENCE_DB, _ROUNDING, _ALWAYS),
    "interference kept (dB)": (SILENCE_DB, _ROUNDING, _ALWAYS),
}


class InvariantError(AssertionError):
    """A row of the table holds numbers that no correct measurement can give."""


def check_invariants(table):
    """Assert what holds for every correct table.

    Mean AG ≤ mean AI and mean FF ≤ mean confidence, and for every clip: no gain
    without an increase, COMP at least what its SPS allows
    (:func:`~lmac_td.metrics.conciseness.complexity_bound`), probabilities, areas and
    shares in [0, 1], no source kept by more than itself, SI-SDR finite but for maps
    that are zero everywhere.

    Arguments
    ---------
    table : FaithfulnessTable
        The table to check.

    Raises
    ------
    InvariantError
        Names the row and the numbers.
    """
    for (condition, method), scores in table.rows.items():
        row = f"row {method!r} of {condition!r}"
        for metric, limit in (("AG", "AI"), ("FF", "p_x")):
            value, most = scores.values(metric).mean(), scores.values(limit).mean()
            if not value <= most + _ROUNDING:
                raise InvariantError(
                    f"{row}: mean {metric} {value:.6g} exceeds mean {limit} {most:.6g}."
                )
        gained = (scores.values("AI") == 0) & (scores.values("AG") != 0)
        for clip_id, gain in where(gained, scores, "AG"):
            raise InvariantError(f"{row}, clip {clip_id!r}: AG is {gain:.6g}, AI is 0.")
        for kind in ("", " (mask)"):
            if f"SPS{kind}" in scores:
                _check_conciseness(row, scores, kind)
        for name in scores.columns:
            if name in _RANGES:
                _check_range(row, scores, name, *_RANGES[name])


def _check_conciseness(row, scores, kind):
    sps, comp = scores.values(f"SPS{kind}"), scores.values(f"COMP{kind}")
    for clip_id, s, c, n_bins in zip(
        scores.columns["clip_id"], sps, comp, scores.columns[f"bins{kind}"], strict=True
    ):
        if n_bins > 1 and c < complexity_bound(s, n_bins) - _ROUNDING:
            raise InvariantError(
                f"{row}, clip {clip_id!r}: COMP{kind} {c:.6g} is below "
                f"{complexity_bound(s, n_bins):.6g}, the least that a map of "
                f"{n_bins} bins with SPS{kind} {s:.6g} can have."
            )


def _check_range(row, scores, name, low, high, undefined):
    values = scores.values(name)
    fits = (low <= values) & (values <= high)
    if undefined == _ALWAYS:
        fits |= np.isnan(values)
    elif undefined == _ZERO_MAP:
        fits |= np.isnan(values) & np.isnan(scores.values("SPS"))
    for clip_id, value in where(~fits, scores, name):
        raise InvariantError(
            f"{row}, clip {clip_id!r}: {name} is {value:.6g}, "
            f"outside [{low:g}, {high:g}]."
        )
