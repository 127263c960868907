"""Two methods on the same clips: which is better, and is it more than chance?

Clips differ far more than methods do, so the interval is that of the difference clip
by clip, not the difference of two intervals.
"""

import math

import numpy as np

from lmac_td.errors import SettingError
from lmac_td.evaluation.bootstrap import value_of
from lmac_td.evaluation.columns import ALL_COLUMNS, metrics_of
from lmac_td.evaluation.markdown import interval, markdown_table, number
from lmac_td.evaluation.scores import have_same_clips, places_of

# Two rows whose p_x of a clip differs by more were not scored on the same mixtures;
# other devices and batch sizes move it by less.
_SAME_MIXTURE = 1e-2


def pairs(table, condition, first, second):
    """Return what two methods scored on the same clips.

    Arguments
    ---------
    table : FaithfulnessTable
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
        if (condition, method) not in table.rows:
            there = ", ".join(f"{m!r} of {c!r}" for c, m in table.rows) or "none"
            raise SettingError(
                f"there is no row {method!r} of {condition!r}: the rows are {there}."
            )
    scores, others = (table.rows[condition, method] for method in (first, second))
    order = places_of(scores, others)
    remedy = (
        "compare runs with the same data, mixing_seed, snr_db, classifier and target"
    )
    if order is None and have_same_clips(scores, others):
        raise SettingError(
            f"{first} and {second} explain different classes of the same clips in "
            f"{condition}: they were scored on different mixtures, by different "
            f"classifiers or for different targets; {remedy}."
        )
    if order is None:
        raise SettingError(
            f"{first} and {second} were scored on different clips in {condition}: "
            "compare rows of the same test folds."
        )
    difference = np.abs(scores.values("p_x") - others.values("p_x")[order])
    if not (difference <= _SAME_MIXTURE).all():
        raise SettingError(
            f"{first} and {second} were scored on different mixtures, or by different "
            f"classifiers, in {condition}: p_x differs by {difference.max():.3g}; "
            f"{remedy}."
        )
    found = {}
    for metric in metrics_of(scores):
        if metric in others:
            one, other = scores.values(metric), others.values(metric)[order]
            undefined = np.isnan(one) | np.isnan(other)
            found[metric] = tuple(
                np.where(undefined, math.nan, values) for values in (one, other)
            )
    return found


def comparison_to_markdown(table, first, second):
    """Set two methods against each other, clip by clip.

    Arguments
    ---------
    table : FaithfulnessTable
        With both, in one condition or more.
    first, second : str
        Methods.

    Returns
    -------
    str
        One section a condition: a line a metric, with the means over the clips that
        both have, the mean difference and its interval. Where that excludes 0, the
        last column names the better one, or says that they differ where neither
        higher nor lower is better.

    Raises
    ------
    SettingError
        If no condition has both, or they were scored on different mixtures.
    """
    conditions = [c for c, method in table.rows if method == first]
    shared = [c for c in conditions if (c, second) in table.rows]
    if not shared:
        there = ", ".join(dict.fromkeys(method for _, method in table.rows)) or "none"
        raise SettingError(
            f"{first!r} and {second!r} stand together in no condition: compare two of "
            f"the rows {there}."
        )
    headers = {c.metric: c for c in ALL_COLUMNS if c.statistic == "mean"}
    confidence = f"{100 * table.confidence:g} % interval"
    head = ["metric", first, second, "difference", confidence, "clips", "better"]
    sections = []
    for condition in shared:
        lines = []
        clips = np.asarray(table.rows[condition, first].columns["clip_id"])
        for metric, pair in pairs(table, condition, first, second).items():
            column = headers[metric]
            means = [
                number(value_of(values, "mean"), column.decimals) for values in pair
            ]
            difference, low, high = table.summary(minus(*pair), clips=clips)
            lines.append(
                [
                    column.header,
                    *means,
                    number(difference, column.decimals, sign="+"),
                    interval(low, high, column.decimals, sign="+"),
                    str(len(set(clips[~np.isnan(pair[0])]))),
                    _better(column, low, high, first, second),
                ]
            )
        sections.append(f"### {condition}\n\n" + markdown_table(head, lines))
    return "\n".join(sections) + (
        f"\nDifferences are {first} − {second}, clip by clip; the intervals are of "
        "their means, by bootstrap over clips. Each metric stands by itself: of twenty "
        "in which two methods are equal, about one excludes 0 by chance.\n"
    )


def minus(values, others):
    """Return values − others clip by clip, without a warning where both are −inf."""
    with np.errstate(invalid="ignore"):
        return values - others


def _better(column, low, high, first, second):
    if math.isnan(low) or low <= 0 <= high:
        return ""
    if column.header[-1] not in "↑↓":
        return "they differ"
    return first if (low > 0) == column.header.endswith("↑") else second
