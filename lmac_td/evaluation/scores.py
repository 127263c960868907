"""What was measured clip by clip, and what can be said of it over clips.

A mean is over clips, never a mean of batch means, and comes with its bootstrap
interval.
"""

import functools
import math

import numpy as np
from scipy import stats

from lmac_td.evaluation.columns import COLUMNS

STATISTICS = {"mean": np.mean, "median": np.median}
# Bounds the memory of one step of the bootstrap to about 32 MB of float64.
_BOOTSTRAP_ELEMENTS = 4_000_000


def summarise(
    values, statistic="mean", confidence=0.95, n_resamples=2000, seed=0, clips=None
):
    """Return a statistic over clips and its percentile bootstrap interval.

    NaN (undefined for this clip) is left out. If a value is infinite, the statistic
    is what arithmetic makes of it and there is no interval.

    Arguments
    ---------
    values : array_like
        (N,) one value a clip.
    statistic : str
        "mean" or "median".
    confidence : float
        Share of the resamples inside the interval, in (0, 1).
    n_resamples : int
        Number of times the clips are drawn anew, with replacement.
    seed : int
        The same seed draws the same clips for every method.
    clips : sequence of str | None
        (N,) the clip of each value, where a clip may have several (one a tag): clips
        are drawn, each with all of its values.

    Returns
    -------
    value, low, high : float
        ``low`` and ``high`` are NaN where there is no interval (fewer than two
        clips, or an infinite one), ``value`` too where there is no clip.

    Raises
    ------
    ValueError
        If the values are not one-dimensional or the statistic has no such name.

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
        return value, *_clustered_interval(values.tobytes(), clip_of.tobytes(), *how)
    return value, *_interval(values.tobytes(), *how)


# The same numbers are asked for by each of the files that a table is written to.
@functools.lru_cache(maxsize=8192)
def _interval(data, statistic, confidence, n_resamples, seed):
    values = np.frombuffer(data)
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


@functools.lru_cache(maxsize=8192)
def _clustered_interval(data, places, statistic, confidence, n_resamples, seed):
    """Interval of values, several of which may be of one clip: clips are drawn."""
    values, clip_of = np.frombuffer(data), np.frombuffer(places, dtype=np.int64)
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
    """Means of values (N,) that are ``weights`` (R, N) times in each resample."""
    return weights @ values / weights.sum(axis=1)


def _weighted_medians(values, weights):
    """Medians, likewise, of values in ascending order."""
    last = weights.cumsum(axis=1)  # place after the last copy of each value
    n = last[:, -1:]
    lower, upper = (
        values[(last > place).argmax(axis=1)] for place in ((n - 1) // 2, n // 2)
    )
    return (lower + upper) / 2


def value_of(values, statistic):
    """Return the statistic of the values that are not NaN; NaN if there are none."""
    values = values[~np.isnan(values)]
    if values.size == 0:
        return math.nan
    if (values == values[0]).all():  # exactly, where a sum would round
        return float(values[0])
    with np.errstate(invalid="ignore"):  # −inf + inf
        return float(STATISTICS[statistic](values))


class ClipScores:
    """What was measured for one method under one condition, a row a clip.

    Attributes
    ----------
    columns : dict of str to list
        Equally long lists by name; "clip_id" is one of them.

    Example
    -------
    >>> scores = ClipScores()
    >>> scores.extend({"clip_id": ["a", "b"], "AI": [0.0, 100.0]})
    >>> scores.extend({"clip_id": ["c"], "AI": [100.0]})
    >>> len(scores), scores.values("AI")
    (3, array([  0., 100., 100.]))
    """

    def __init__(self):
        self.columns = {}

    def extend(self, columns):
        """Append the rows of one batch.

        Arguments
        ---------
        columns : dict of str to list
            Equally long lists, with the names of the batches before.

        Raises
        ------
        ValueError
            If lengths or names differ, or a clip is there already for the same class:
            scored twice, it would count twice.
        """
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns must be equally long, not {lengths}.")
        if self.columns and columns.keys() != self.columns.keys():
            differing = sorted(columns.keys() ^ self.columns.keys())
            raise ValueError(f"some batches have {differing} and some do not.")
        seen = set(entries_of(self.columns)) if self.columns else set()
        for entry in entries_of(columns):
            if entry in seen:
                raise ValueError(f"clip {entry[0]!r} is scored twice.")
            seen.add(entry)
        for name, column in columns.items():
            self.columns.setdefault(name, []).extend(column)

    def values(self, name):
        """Return a numeric column as a float64 array (N,)."""
        return np.asarray(self.columns[name], dtype=np.float64)

    def __contains__(self, name):
        return name in self.columns

    def __len__(self):
        return len(self.columns.get("clip_id", ()))


def entries_of(columns):
    """Return (clip, explained class) of every line; a clip has one for each tag."""
    clips = columns["clip_id"]
    return list(zip(clips, columns.get("decided", [None] * len(clips)), strict=True))


def read_row(lines):
    """Return one row of a clips.csv: columns that no line of it fills are left out."""
    columns = {}
    for name in lines[0]:
        cells = [line[name] for line in lines]
        if name == "clip_id":
            columns[name] = cells
        elif name == "label":
            columns[name] = [int(cell) if cell else None for cell in cells]
        elif any(cells):
            kind = int if name == "decided" or name.startswith("bins") else float
            columns[name] = [kind(cell) for cell in cells]
    missing = {"clip_id", "decided", *(c.metric for c in COLUMNS)} - columns.keys()
    if missing:
        raise ValueError(f"there is no {' or '.join(sorted(missing))}")
    scores = ClipScores()
    scores.extend(columns)
    return scores


def n_clips(scores):
    """Count the clips; a clip may have several lines, one for each tag."""
    return len(set(scores.columns["clip_id"]))


def zero_maps(scores):
    """Count the maps that are zero everywhere: SPS is NaN for them alone."""
    return int(np.isnan(scores.values("SPS")).sum())


def left_out(metrics, rows):
    """Say over how many clips a metric is, where it is undefined for some.

    Maps that are zero everywhere are not meant: they are counted by
    :func:`zero_maps`.

    Arguments
    ---------
    metrics : sequence of str
    rows : sequence of ClipScores

    Returns
    -------
    str
        One line, or nothing.
    """
    rows = list(rows)
    several = any(n_clips(scores) < len(scores) for scores in rows)
    unit = "explanations" if several else "clips"
    found = []
    for metric in dict.fromkeys(metrics):
        counts = {}
        for scores in (scores for scores in rows if metric in scores):
            defined = int((~np.isnan(scores.values(metric))).sum())
            if 0 < defined < len(scores) - zero_maps(scores):
                counts[defined] = len(scores)
        if counts:
            fewest, most = min(counts), max(counts)
            over = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            found.append(f"{metric} over {over} of {counts[most]} {unit}")
    return f"Undefined for the others: {', '.join(found)}.\n" if found else ""


def where(condition, scores, name):
    """Yield the clips for which a condition (N,) holds, and a column's value there."""
    values = scores.values(name)
    for i in np.flatnonzero(condition):
        yield scores.columns["clip_id"][i], values[i]


def places_of(scores, others):
    """Return where each line of one row stands in another, by clip and class.

    None if the rows hold different clips, or explain different classes of them.
    """
    place = {entry: i for i, entry in enumerate(entries_of(others.columns))}
    own = entries_of(scores.columns)
    if place.keys() != set(own):
        return None
    return [place[entry] for entry in own]


def have_same_clips(scores, others):
    """Whether two rows hold the same clips, whatever classes they explain."""
    return set(scores.columns["clip_id"]) == set(others.columns["clip_id"])


def difference_of(scores, others, tolerance):
    """Say in which column, and for which clip, two rows differ; None if nowhere."""
    if scores.columns.keys() != others.columns.keys():
        names = sorted(scores.columns.keys() ^ others.columns.keys())
        return f"only one has the columns {names}"
    order = places_of(scores, others)
    if order is None:
        if have_same_clips(scores, others):
            return "they explain different classes of the same clips"
        return "they hold different clips"
    for name in scores.columns:
        if name in ("clip_id", "label"):
            continue
        one, other = scores.values(name), others.values(name)[order]
        near = np.isclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
        for i in np.flatnonzero(~near):
            clip_id = scores.columns["clip_id"][i]
            return f"{name} of clip {clip_id!r} is {one[i]:.6g} and {other[i]:.6g}"
    return None
