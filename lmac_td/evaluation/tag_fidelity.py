"""Measure how well a multi-label output agrees with the classifier's tags.

Parekh et al. ("Listen to Interpret", section 4.1) measure in this way how well Theta
agrees with the classifier over all clips. The tags that the classifier decides (its
probabilities that reach the threshold) are the ground truth; Theta's probabilities are
the scores. With precision P_k and recall R_k where the k-th largest score is the
threshold::

    AUPRC = sum_k (R_k - R_{k-1}) P_k        F1 = max_k 2 P_k R_k / (P_k + R_k)

Micro AUPRC and F1 pool the pairs of all tags. Macro AUPRC is the mean over tags. It
leaves out a tag that the classifier decides in one clip only, as in section 4.4, and a
tag that it never decides. Every score is a threshold; equal scores are one threshold.
The curve is not interpolated (the published code joins eleven thresholds by straight
lines, which overestimates the area).
"""

import math

import numpy as np

MIN_CLIPS = 2
"""A tag that is decided in fewer clips has no AUPRC."""

# Bounds the memory of one step of the bootstrap to about 32 MB of float64.
_BOOTSTRAP_ELEMENTS = 4_000_000


def average_precision(
    relevant: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the area under the precision-recall curve, without interpolation.

    Arguments
    ---------
    relevant : array (N,), bool
    scores : array (N,)
    weights : array (R, N)
        How often each entry counts, in each of R resamples.

    Returns
    -------
    array (R,)
        In [0, 1]; NaN where nothing is relevant.

    Example
    -------
    >>> relevant, scores = np.array([True, False, True]), np.array([0.9, 0.8, 0.3])
    >>> average_precision(relevant, scores, np.ones((1, 3))).round(4).tolist()
    [0.8333]
    """
    hits, n_above = _counts_at_thresholds(relevant, scores, weights)
    precision = _ratio(hits, n_above, 0.0)
    area = (np.diff(hits, axis=1, prepend=0) * precision).sum(axis=1)
    return _ratio(area, hits[:, -1], math.nan)


def maximal_f1(
    relevant: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the largest F1 over all thresholds of the scores.

    Arguments and result are those of :func:`average_precision`.

    Example
    -------
    >>> relevant, scores = np.array([True, False, True]), np.array([0.9, 0.8, 0.3])
    >>> maximal_f1(relevant, scores, np.ones((1, 3))).tolist()
    [0.8]
    """
    hits, n_above = _counts_at_thresholds(relevant, scores, weights)
    n_relevant = hits[:, -1:]
    f1 = _ratio(2 * hits, n_above + n_relevant, 0.0).max(axis=1)
    return np.where(n_relevant[:, 0] > 0, f1, math.nan)


def _counts_at_thresholds(relevant, scores, weights):
    """Return how many relevant entries, and how many in all, reach each score."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of equal scores
    weights = weights[:, order]
    hits = (weights * relevant[order]).cumsum(axis=1)[:, last]
    return hits, weights.cumsum(axis=1)[:, last]


def _ratio(part, whole, otherwise):
    result = np.full(np.broadcast(part, whole).shape, otherwise)
    return np.divide(part, whole, out=result, where=whole > 0)


def tag_fidelity(
    decided: np.ndarray,
    scores: np.ndarray,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
    """Return AUPRC and F1 over all clips with percentile bootstrap intervals.

    Arguments
    ---------
    decided : array (N, C), bool
        The tags of N clips.
    scores : array (N, C)
        The scores that are compared with them.
    confidence : float
        Share of the resamples inside the interval, in (0, 1).
    n_resamples : int
        Number of resamples. Clips are drawn with replacement, each with its tags.
    seed : int

    Returns
    -------
    dict of str to (value, low, high)
        ``macro AUPRC``, ``micro AUPRC`` and ``maximal micro F1``, in [0, 1]. NaN where
        there is none: no tag is decided (for macro: in two clips or more), or, for an
        interval, fewer than two clips.

    Example
    -------
    >>> decided = np.array([[True, False], [False, True], [True, True]])
    >>> {k: v[0] for k, v in tag_fidelity(decided, decided.astype(float)).items()}
    {'macro AUPRC': 1.0, 'micro AUPRC': 1.0, 'maximal micro F1': 1.0}
    """
    n = len(decided)
    whole = _of_weights(decided, scores, np.ones((1, n)))
    if n < 2:
        return {name: (float(v[0]), math.nan, math.nan) for name, v in whole.items()}
    generator = np.random.default_rng(seed)
    most = max(1, _BOOTSTRAP_ELEMENTS // decided.size)
    drawn = []
    for first in range(0, n_resamples, most):
        rows = generator.integers(0, n, (min(most, n_resamples - first), n))
        drawn.append(_of_weights(decided, scores, _counts_of(rows)))
    tail = 50 * (1 - confidence)
    found = {}
    for name, value in whole.items():
        resampled = np.concatenate([values[name] for values in drawn])
        resampled = resampled[~np.isnan(resampled)]
        if math.isnan(value[0]) or not len(resampled):
            found[name] = float(value[0]), math.nan, math.nan
        else:
            low, high = np.percentile(resampled, [tail, 100 - tail])
            found[name] = float(value[0]), float(low), float(high)
    return found


def _counts_of(rows):
    """Count how often each of N clips is drawn, (R, N), in drawings (R, N)."""
    n_resamples, n = rows.shape
    flat = (rows + n * np.arange(n_resamples)[:, None]).ravel()
    return np.bincount(flat, minlength=rows.size).reshape(rows.shape)


def _of_weights(decided, scores, weights):
    """Return the three values (R,) for clips with weights (R, N)."""
    pairs = decided.ravel(), scores.ravel(), weights.repeat(decided.shape[1], axis=1)
    own = decided.sum(axis=0) >= MIN_CLIPS
    each = [
        average_precision(decided[:, c], scores[:, c], weights)
        for c in np.flatnonzero(own)
    ]
    return {
        "macro AUPRC": _mean_of_defined(each, len(weights)),
        "micro AUPRC": average_precision(*pairs),
        "maximal micro F1": maximal_f1(*pairs),
    }


def _mean_of_defined(columns, n):
    """Return the means (n,) over columns (n,) of what is not NaN."""
    values = np.stack(columns) if columns else np.full((1, n), math.nan)
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=0), defined.sum(axis=0), np.nan)
