"""Compute a statistic over clips and its bootstrap interval.

A mean is taken over clips, never over batch means. The bootstrap draws clips, each with
all of its tags. From :data:`LARGE` values on, the intervals are those of
:mod:`.poisson_bootstrap`, which takes one pass.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from lmac_td.evaluation.poisson_bootstrap import Interval, poisson_summaries

LARGE = 10_000
"""Values from which on the bootstrap is the streamed one."""
STATISTICS = {"mean": np.mean, "median": np.median}
# Bounds the memory of one step of the bootstrap to about 32 MB of float64.
_BOOTSTRAP_ELEMENTS = 4_000_000


def summarise(
    values: ArrayLike,
    statistic: str = "mean",
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
    clips: Sequence[str] | None = None,
) -> tuple[float, float, float]:
    """Return a statistic over clips and its percentile bootstrap interval.

    NaN (undefined for this clip) is left out. If a value is infinite, the statistic
    is computed with it, and there is no interval.

    Arguments
    ---------
    values : array_like
        (N,) one value per clip.
    statistic : str
        "mean" or "median".
    confidence : float
        Share of the resamples inside the interval, in (0, 1).
    n_resamples : int
        Number of times that the clips are drawn, with replacement.
    seed : int
        The same seed draws the same clips for every method.
    clips : sequence of str | None
        (N,) the clip of each value, if a clip may have several (one per tag): clips
        are drawn, each with all of its values.

    Returns
    -------
    value, low, high : float
        ``low`` and ``high`` are NaN where there is no interval (fewer than two
        clips, or an infinite one), ``value`` too where there is no clip.

    Raises
    ------
    ValueError
        If the values are not one-dimensional or the statistic is unknown.

    Example
    -------
    >>> value, low, high = summarise([0.0, 100.0, 100.0, float("nan")])
    >>> round(value, 2), low, high
    (66.67, 0.0, 100.0)
    >>> summarise([5.0, 5.0, 5.0])
    (5.0, 5.0, 5.0)
    """
    if statistic not in STATISTICS:
        names = ", ".join(STATISTICS)
        raise ValueError(f"statistic must be one of {names}, not {statistic!r}.")
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"values must have shape (N,), not {values.shape}.")
    if len(values) >= LARGE:
        how = (clips, confidence, n_resamples, seed)
        return poisson_summaries({"": values}, [""], *how)["", statistic]
    defined = ~np.isnan(values)
    values = values[defined]
    value = value_of(values, statistic)
    if values.size < 2 or not np.isfinite(values).all():
        return value, math.nan, math.nan
    if (values == values[0]).all():
        return value, value, value
    how = (statistic, confidence, n_resamples, seed)
    if clips is not None and len(set(clips)) < len(clips):
        _, clip_of = np.unique(np.asarray(clips)[defined], return_inverse=True)
        return value, *_kept(_clustered_interval, (values, clip_of), how)
    return value, *_kept(_interval, (values,), how)


def summarise_all(
    columns: Mapping[str, ArrayLike],
    names: Sequence[str],
    statistics: Sequence[str] = ("mean",),
    *how: float,
    clips: Sequence[str] | None = None,
) -> dict[tuple[str, str], Interval]:
    """Summarise several columns of the same lines; of large ones, all in one pass.

    Arguments
    ---------
    columns : mapping of str to array (N,)
    names : sequence of str
        The columns that are summarised.
    statistics : sequence of str
    *how
        ``confidence``, ``n_resamples`` and ``seed`` of :func:`summarise`.
    clips : sequence of str, optional
        (N,) as for :func:`summarise`.

    Returns
    -------
    dict of (str, str) to (value, low, high)
        By column and statistic.
    """
    if names and len(columns[names[0]]) >= LARGE:
        return poisson_summaries(columns, names, clips, *how)
    return {
        (name, statistic): summarise(columns[name], statistic, *how, clips)
        for name in names
        for statistic in statistics
    }


# A table is written to several files, and each of them needs the same intervals.
_KEPT: dict[tuple, tuple[float, float]] = {}
_MOST_KEPT = 65536


def _kept(interval: Callable, arrays: tuple, how: tuple) -> tuple[float, float]:
    """Return the interval of arrays; it is computed once, and only it is kept."""
    digests = [hashlib.sha256(np.ascontiguousarray(a)).digest() for a in arrays]
    key = (*digests, *how)
    if key not in _KEPT:
        if len(_KEPT) >= _MOST_KEPT:
            _KEPT.clear()
        _KEPT[key] = interval(*arrays, *how)
    return _KEPT[key]


def _interval(values, statistic, confidence, n_resamples, seed):
    interval = stats.bootstrap(
        (values,),
        STATISTICS[statistic],
        n_resamples=n_resamples,
        batch=max(1, _BOOTSTRAP_ELEMENTS // values.size),
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _clustered_interval(values, clip_of, statistic, confidence, n_resamples, seed):
    """Return the interval of values when a clip may have several: draw clips."""
    n_drawn = clip_of.max() + 1
    if n_drawn < 2:
        return math.nan, math.nan
    order = values.argsort(kind="stable")
    values, clip_of = values[order], clip_of[order]
    of_weights = {"mean": _weighted_means, "median": _weighted_medians}[statistic]
    generator = np.random.default_rng(seed)
    most = max(1, _BOOTSTRAP_ELEMENTS // len(values))
    found = []
    for first in range(0, n_resamples, most):
        size = min(most, n_resamples - first), n_drawn
        drawn = generator.integers(0, n_drawn, size)
        # How often each clip was drawn, and so each of its values.
        flat = (drawn + n_drawn * np.arange(size[0])[:, None]).ravel()
        counts = np.bincount(flat, minlength=size[0] * n_drawn).reshape(size)
        found.append(of_weights(values, counts[:, clip_of]))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(np.concatenate(found), [tail, 100 - tail])
    return float(low), float(high)


def _weighted_means(values, weights):
    """Return means of values (N,) with weights (R, N), one per resample."""
    return weights @ values / weights.sum(axis=1)


def _weighted_medians(values, weights):
    """Return weighted medians in the same way, of values in ascending order."""
    last = weights.cumsum(axis=1)  # place after the last copy of each value
    n = last[:, -1:]
    lower, upper = (
        values[(last > place).argmax(axis=1)] for place in ((n - 1) // 2, n // 2)
    )
    return (lower + upper) / 2


def value_of(values: np.ndarray, statistic: str) -> float:
    """Return the statistic of the values that are not NaN; NaN if there are none."""
    values = values[~np.isnan(values)]
    if values.size == 0:
        return math.nan
    if (values == values[0]).all():  # exactly, where a sum would round
        return float(values[0])
    with np.errstate(invalid="ignore"):  # −inf + inf
        return float(STATISTICS[statistic](values))
