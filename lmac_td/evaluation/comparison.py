"""Compare two methods on the same clips: which is better, and is it significant?

Clips differ far more than methods do. So the interval is computed from the differences
clip by clip, not from two separate intervals.
"""

import math

import numpy as np
import pandas as pd

from lmac_td.errors import SettingError
from lmac_td.evaluation.bootstrap import value_of
from lmac_td.evaluation.columns import metrics_of
from lmac_td.evaluation.frame import ScoreFrame, entries_of, values_of
from lmac_td.evaluation.markdown import interval, markdown_table, number
from lmac_td.metrics.registry import find

# Two rows whose p_x of a clip differs by more were not scored on the same mixtures;
# other devices and batch sizes move it by less.
_SAME_MIXTURE = 1e-2


def comparison_to_markdown(table, first: str, second: str) -> str:
    """Compare two methods clip by clip, as Markdown.

    Arguments
    ---------
    table : FaithfulnessTable
        A table that holds both methods in at least one condition.
    first, second : str
        Methods.

    Returns
    -------
    str
        One section per condition: a line per metric, with the means over the clips that
        both have, the mean difference and its interval. If it excludes 0, the
        last column names the better one, or says that they differ if neither
        higher nor lower is better.

    Raises
    ------
    SettingError
        If no condition has both, or they were scored on different mixtures.
    """
    shared = [c for c in table.conditions if {first, second} <= table.methods(c).keys()]
    if not shared:
        methods = dict.fromkeys(method for _, method in table.rows)
        raise SettingError(
            f"{first!r} and {second!r} are together in no condition: compare two of "
            f"the rows {', '.join(methods) or 'none'}."
        )
    confidence = f"{100 * table.confidence:g} % interval"
    head = ["metric", first, second, "difference", confidence, "clips", "better"]
    sections = [
        f"### {condition}\n\n"
        + markdown_table(head, _lines(table, condition, first, second))
        for condition in shared
    ]
    return "\n".join(sections) + (
        f"\nDifferences are {first} − {second}, clip by clip; the intervals are of "
        "their means, by bootstrap over clips. Each metric is tested by itself: if two "
        "methods are equal in twenty metrics, about one excludes 0 by chance.\n"
    )


def _lines(table, condition, first, second):
    lines = []
    clips = table.row(condition, first)["clip_id"]
    changes = table.compare(condition, first, second)
    for name, values in paired_values(table, condition, first, second).items():
        metric, of_both = find(name), clips[~np.isnan(values[0])]
        means = [number(value_of(v, "mean"), metric.decimals) for v in values]
        difference, low, high = changes[name]
        lines.append(
            [
                metric.printed_header,
                *means,
                number(difference, metric.decimals, sign="+"),
                interval(low, high, metric.decimals, sign="+"),
                str(of_both.nunique()),
                _better(metric, low, high, first, second),
            ]
        )
    return lines


def _better(metric, low, high, first, second):
    if math.isnan(low) or low <= 0 <= high:
        return ""
    if metric.better is None:
        return "they differ"
    return first if (low > 0) == (metric.better == "higher") else second


def paired_values(
    table: ScoreFrame, condition: str, first: str, second: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return what two methods scored on the same clips.

    Arguments
    ---------
    table : ScoreFrame
    condition, first, second : str
        The two rows.

    Returns
    -------
    dict of str to (numpy.ndarray, numpy.ndarray)
        For every metric that both have, two (N,), in the order of ``first``'s clips;
        NaN in both where it is NaN in one.

    Raises
    ------
    SettingError
        If there is no such row, or the two were scored on different mixtures.
    """
    for method in (first, second):
        if (condition, method) not in table:
            there = ", ".join(f"{m!r} of {c!r}" for c, m in table.rows) or "none"
            raise SettingError(
                f"there is no row {method!r} of {condition!r}: the rows are {there}."
            )
    scores = table.row(condition, first)
    others = aligned(scores, table.row(condition, second))
    _require_same_mixtures(scores, others, table, condition, first, second)
    found = {}
    for metric in metrics_of(scores):
        if metric in others:
            values, of_other = values_of(scores, metric), values_of(others, metric)
            undefined = np.isnan(values) | np.isnan(of_other)
            found[metric] = tuple(
                np.where(undefined, math.nan, v) for v in (values, of_other)
            )
    return found


def _require_same_mixtures(scores, others, table, condition, first, second):
    remedy = (
        "compare runs with the same data, mixing_seed, snr_db, classifier and target"
    )
    if others is None and have_same_clips(scores, table.row(condition, second)):
        raise SettingError(
            f"{first} and {second} explain different classes of the same clips in "
            f"{condition}: they were scored on different mixtures, by different "
            f"classifiers or for different targets; {remedy}."
        )
    if others is None:
        raise SettingError(
            f"{first} and {second} were scored on different clips in {condition}: "
            "compare rows of the same test folds."
        )
    difference = np.abs(values_of(scores, "p_x") - values_of(others, "p_x"))
    if not (difference <= _SAME_MIXTURE).all():
        raise SettingError(
            f"{first} and {second} were scored on different mixtures, or by different "
            f"classifiers, in {condition}: p_x differs by {difference.max():.3g}; "
            f"{remedy}."
        )


def aligned(scores: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame | None:
    """Bring a row's lines into the order of another, by clip and explained class.

    Arguments
    ---------
    scores, others : pandas.DataFrame
        Rows of a :class:`ScoreFrame`.

    Returns
    -------
    pandas.DataFrame or None
        ``others`` in the order of ``scores``; None if they hold different clips, or
        explain different classes of them.
    """
    place = {entry: i for i, entry in enumerate(entries_of(others))}
    own = entries_of(scores)
    if place.keys() != set(own):
        return None
    return others.iloc[[place[entry] for entry in own]].reset_index(drop=True)


def have_same_clips(scores: pd.DataFrame, others: pd.DataFrame) -> bool:
    """Return whether two rows hold the same clips, whatever classes they explain."""
    return set(scores["clip_id"]) == set(others["clip_id"])


def differences(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return values − others, without a warning where both are −inf."""
    with np.errstate(invalid="ignore"):
        return values - others
