"""Bootstrap intervals of large tables: one pass over the lines, in bounded memory.

Each clip is drawn Poisson(1) times in each resample, independently of the others, so
nothing but R sums per column is kept while lines stream by (Hanley and MacGibbon,
"Creating non-parametric bootstrap samples using Poisson frequencies", 2006; Chamandy et
al., "Estimating uncertainty for massive data streams", Google 2012). With weights w_c
of the clips c and the values x of their lines, a resample's mean is

    sum_c w_c sum_{x of c} x  /  sum_c w_c n_c.

All columns share the draws of a clip, and so do all rows.

A median's interval lies between two values in order of size, at the ranks
n / 2 ± z sqrt(n d) / 2: the normal approximation of the binomial interval (Conover,
"Practical Nonparametric Statistics", section 3.2). If clips have several lines, d is
the design effect: by what factor the variance of the share of lines below the median
exceeds that of independent lines (Woodruff, "Confidence intervals for medians and other
position measures", 1952). Otherwise d = 1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

BLOCK = 1024
"""Clips whose weights are drawn at once: 8 MB for 2000 resamples."""
_LINES = 8192  # that are read at once

Interval = tuple[float, float, float]


def poisson_summaries(
    columns: Mapping[str, ArrayLike],
    names: Sequence[str],
    clips: Sequence[str] | None = None,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[tuple[str, str], Interval]:
    """Return means and medians over lines, with intervals over clips.

    Arguments
    ---------
    columns : mapping of str to array (N,)
        Read one by one, and then part by part if it has ``chunks`` as a
        :class:`~lmac_td.evaluation.row_store.StoredRow` has. NaN is left out.
    names : sequence of str
        The columns that are summarised.
    clips : sequence of str, optional
        (N,) the clip of each line; by default each line is a clip.
    confidence : float
        Share of the resamples inside the interval, in (0, 1).
    n_resamples : int
    seed : int
        The same seed draws the same clips for every column and row.

    Returns
    -------
    dict of (str, str) to (value, low, high)
        By column and statistic, ``mean`` or ``median``; as
        :func:`~lmac_td.evaluation.bootstrap.summarise` returns them.

    Example
    -------
    >>> x = np.random.default_rng(0).normal(size=20_000)
    >>> found = poisson_summaries({"x": x}, ["x"])
    >>> [round(100 * number, 1) for number in found["x", "mean"]]
    [0.5, -0.9, 1.9]
    """
    clip_of = _numbers(clips)
    found, centres = {}, {}
    for name in names:
        values = np.asarray(columns[name], dtype=np.float64)
        mean, median = _without_draws(values, clip_of, confidence)
        found[name, "mean"], found[name, "median"] = mean, median
        if mean[1] is None:
            centres[name] = mean[0]
    if not centres:
        return found
    sums = _resampled_sums(columns, centres, clip_of, n_resamples, seed)
    tail = 50 * (1 - confidence)
    for (name, centre), totals, counts in zip(centres.items(), *sums, strict=True):
        with np.errstate(invalid="ignore"):  # a resample without a line
            means = totals / counts + centre
        low, high = np.nanpercentile(means, [tail, 100 - tail])
        found[name, "mean"] = centre, float(low), float(high)
    return found


def _numbers(clips):
    """Return the number of each line's clip (N,); None if each line is a clip."""
    if clips is None:
        return None
    numbers, names = pd.factorize(pd.Series(clips))
    return None if len(names) == len(numbers) else numbers


def _without_draws(values, clip_of, confidence):
    """Return mean and median of a column; the mean's ends are None if it needs draws.

    Those of columns that are constant, infinite or of fewer than two clips do not.
    """
    defined = ~np.isnan(values)
    values = values[defined]
    clip_of = None if clip_of is None else clip_of[defined]
    nan = math.nan
    if not values.size:
        return ((nan, nan, nan),) * 2
    if (values == values[0]).all():
        value, several = float(values[0]), _has_two(values, clip_of)
        ends = (value if several and math.isfinite(value) else nan,) * 2
        return ((value, *ends),) * 2
    with np.errstate(invalid="ignore"):  # −inf + inf
        mean, median = float(values.mean()), float(np.median(values))
    if not np.isfinite(values).all() or not _has_two(values, clip_of):
        return (mean, nan, nan), (median, nan, nan)
    ends = _median_interval(values, median, clip_of, confidence)
    return (mean, None, None), (median, *ends)


def _has_two(values, clip_of):
    if clip_of is None:
        return len(values) > 1
    return bool((clip_of != clip_of[0]).any())


def _median_interval(values, median, clip_of, confidence):
    n = len(values)
    half = stats.norm.ppf((1 + confidence) / 2) * math.sqrt(n) / 2
    if clip_of is not None:
        half *= math.sqrt(_design_effect(values < median, clip_of))
    ranks = [math.floor(n / 2 - half) - 1, math.ceil(n / 2 + half)]
    ranks = np.clip(ranks, 0, n - 1)
    low, high = np.partition(values, ranks)[ranks]
    return float(low), float(high)


def _design_effect(below, clip_of):
    """Return by what factor clips of several lines raise the variance of a share."""
    share = below.mean()
    if not 0 < share < 1:
        return 1.0
    of_clips = np.bincount(clip_of, weights=below - share)
    return (of_clips**2).sum() / (len(below) * share * (1 - share))


def _resampled_sums(columns, centres, clip_of, n_resamples, seed):
    """Return sums of the centred columns, and counts of their lines, (K, R) each."""
    shape = len(centres), n_resamples
    sums, counts, lines = np.zeros(shape), np.zeros(shape), np.zeros(n_resamples)
    for clip_numbers, part in _parts(columns, list(centres), clip_of):
        values = np.stack([part[name] for name in centres], axis=1)  # (lines, K)
        defined = ~np.isnan(values)
        values = np.where(defined, values - list(centres.values()), 0)
        incomplete = np.flatnonzero(~defined.all(axis=0))
        # What is summed: values, lines, and the defined ones of incomplete columns.
        ones = np.ones((len(values), 1))
        summed = np.hstack([values, ones, defined[:, incomplete]]).astype(np.float32)
        blocks = clip_numbers // BLOCK
        for block in range(blocks[0], blocks[-1] + 1):
            own = slice(*np.searchsorted(blocks, (block, block + 1)))
            weights = _weights(seed, int(block), n_resamples)
            places = clip_numbers[own] - block * BLOCK
            if clip_of is None:  # in order, each once: a view instead of a copy
                places = slice(places[0], places[-1] + 1)
            of_block = (weights[:, places] @ summed[own]).T.astype(np.float64)
            sums += of_block[: len(values[0])]
            lines += of_block[len(values[0])]
            missing = of_block[len(values[0])] - of_block[len(values[0]) + 1 :]
            counts[incomplete] -= missing
    return sums, counts + lines


@functools.lru_cache(maxsize=2)
def _weights(seed, block, n_resamples):
    """Return how often each clip of a block is drawn, (R, BLOCK): Poisson(1)."""
    generator = np.random.default_rng([seed, block])
    drawn = generator.integers(0, 2**16, (n_resamples, BLOCK), dtype=np.uint16)
    return _poisson_table()[drawn]


@functools.cache
def _poisson_table():
    """Return Poisson(1) counts by 16 random bits, with probabilities to 2**-16."""
    middles = (np.arange(2**16) + 0.5) / 2**16
    return stats.poisson.ppf(middles, 1).astype(np.float32)


def _parts(columns, names, clip_of) -> Iterator[tuple[np.ndarray, dict]]:
    """Yield the clip numbers, in ascending order, and columns of some lines each."""
    if clip_of is not None and (np.diff(clip_of) < 0).any():
        order = clip_of.argsort(kind="stable")  # lines of a clip lie apart
        columns = {name: np.asarray(columns[name])[order] for name in names}
        clip_of = clip_of[order]
    chunks = getattr(columns, "chunks", None)
    first = 0
    for part in chunks(names) if chunks else _slices(columns, names):
        end = first + len(part[names[0]])
        yield np.arange(first, end) if clip_of is None else clip_of[first:end], part
        first = end


def _slices(columns, names):
    arrays = {name: np.asarray(columns[name], dtype=np.float64) for name in names}
    for first in range(0, len(arrays[names[0]]), _LINES):
        yield {name: array[first : first + _LINES] for name, array in arrays.items()}
