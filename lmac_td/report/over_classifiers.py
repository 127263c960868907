"""Means over classifiers: of each classifier the mean over seeds, then over all.

One classifier says little about a method, so its score is the mean over several, with
their standard deviation. Its interval is a bootstrap over clips. Each resample draws
the same clips for all classifiers, seeds and rows, so that differences of rows are
paired.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lmac_td.errors import SettingError
from lmac_td.evaluation.bootstrap import value_of
from lmac_td.evaluation.columns import Column
from lmac_td.evaluation.frame import values_of
from lmac_td.report.runs import Runs


@dataclass(frozen=True)
class Mean:
    """A mean over classifiers.

    Attributes
    ----------
    value : float
        NaN if no classifier has the column.
    sd : float
        Standard deviation over classifiers; NaN for fewer than two.
    low, high : float
        The interval over clips; NaN where there is none, as for medians.
    """

    value: float
    sd: float = math.nan
    low: float = math.nan
    high: float = math.nan


class OverClassifiers:
    """The rows of several classifiers' tables, and their means.

    Arguments
    ---------
    runs : dict of str to Runs
        The evaluations of each classifier, by its name.
    """

    def __init__(self, runs: Mapping[str, Runs]) -> None:
        self.runs = dict(runs)
        first = next(iter(self.runs.values())).table
        self.confidence, self.seed = first.confidence, first.seed
        self.n_resamples = first.n_resamples
        self._members = {}

    @property
    def conditions(self) -> list[str]:
        """The conditions of all tables, in order."""
        found = [c for runs in self.runs.values() for c in runs.table.conditions]
        return list(dict.fromkeys(found))

    def rows(self, condition: str) -> list[str]:
        """Return the names of all rows, without seeds; reference rows come last."""
        found = {}
        for runs in self.runs.values():
            base_of = runs.base_of
            for row in runs.table.methods(condition):
                found[base_of.get(row, row)] = None
        return sorted(found, key=lambda row: not self.has_seed(condition, row))

    def members(
        self, condition: str, row: str
    ) -> dict[str, dict[int | None, pd.DataFrame]]:
        """Return the scores of a row, by classifier and seed (None: no seed)."""
        if (condition, row) not in self._members:
            found = {}
            for name, runs in self.runs.items():
                of_seeds = {
                    runs.seed_of.get(member): runs.table.row(condition, member)
                    for member in runs.seeds.get(row, [row])
                    if (condition, member) in runs.table
                }
                if of_seeds:
                    found[name] = of_seeds
            self._members[condition, row] = found
        return self._members[condition, row]

    def has_seed(self, condition: str, row: str) -> bool:
        """Return whether a row is a method of a run, not a reference row."""
        members = self.members(condition, row).values()
        return any(seed is not None for of_seeds in members for seed in of_seeds)

    def frames(self, condition: str, *rows: str) -> list[pd.DataFrame]:
        """Return the scores of rows for all classifiers and seeds."""
        members = [self.members(condition, row) for row in rows]
        return [s for row in members for seeds in row.values() for s in seeds.values()]

    def mean(self, condition: str, row: str, column: Column) -> Mean:
        """Return the mean of a column over classifiers.

        Arguments
        ---------
        condition, row : str
        column : Column
        """
        members = [
            [scores for scores in of_seeds.values() if column.is_in(scores)]
            for of_seeds in self.members(condition, row).values()
        ]
        members = [frames for frames in members if frames]
        values = [mean_of(frames, column) for frames in members]
        if not values:
            return Mean(math.nan)
        sd = deviation(values)
        if column.statistic != "mean" or not np.isfinite(values).all():
            return Mean(_mean(values), sd)
        resamples = self._resamples(members, column.metric.name)
        return Mean(_mean(values), sd, *self._interval(resamples))

    def difference(
        self, condition: str, first: str, second: str, column: Column
    ) -> Mean:
        """Return the mean of ``first`` − ``second`` over the classifiers of both.

        The interval is paired: both rows have the same clips in each resample.

        Arguments
        ---------
        condition, first, second : str
        column : Column
            Of the mean, not the median.

        Raises
        ------
        SettingError
            If no classifier has both rows.
        """
        both = [self.members(condition, row) for row in (first, second)]
        shared = [classifier for classifier in both[0] if classifier in both[1]]
        if not shared:
            raise SettingError(
                f"{first!r} and {second!r} are together in no table of {condition}: "
                f"the rows are {', '.join(self.rows(condition))}"
            )
        rows = [[list(of[c].values()) for c in shared] for of in both]
        frames = [frame for row in rows for of_seeds in row for frame in of_seeds]
        if not all(map(column.is_in, frames)):
            return Mean(math.nan)
        values = [
            mean_of(a, column) - mean_of(b, column) for a, b in zip(*rows, strict=True)
        ]
        sd = deviation(values)
        if not np.isfinite(values).all():
            return Mean(_mean(values), sd)
        a, b = (self._resamples(row, column.metric.name) for row in rows)
        return Mean(_mean(values), sd, *self._interval(a - b))

    def _resamples(self, members, metric):
        """Return the mean over classifiers in each resample, (R,)."""
        of_classifiers = []
        for frames in members:
            of_seeds = []
            for scores in frames:
                sums, n = sums_by_clip(scores, metric)
                counts = resampled_counts(len(n), self.n_resamples, self.seed)
                with np.errstate(invalid="ignore", divide="ignore"):
                    of_seeds.append((counts @ sums) / (counts @ n))
            of_classifiers.append(np.mean(of_seeds, axis=0))
        return np.mean(of_classifiers, axis=0)

    def _interval(self, resamples):
        if not np.isfinite(resamples).any():
            return math.nan, math.nan
        tail = 50 * (1 - self.confidence)
        low, high = np.nanpercentile(resamples, [tail, 100 - tail])
        return float(low), float(high)


def mean_of(frames: Iterable[pd.DataFrame], column: Column) -> float:
    """Return the mean of a column over the seeds of one classifier.

    Arguments
    ---------
    frames : iterable of pandas.DataFrame
        The scores of each seed.
    column : Column
    """
    name, statistic = column.metric.name, column.statistic
    return _mean([value_of(values_of(scores, name), statistic) for scores in frames])


def deviation(values: list[float]) -> float:
    """Return the standard deviation; NaN for fewer than two finite values."""
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan
    return statistics.stdev(values)


def sums_by_clip(scores: pd.DataFrame, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of a metric and the number of its values for each clip.

    Arguments
    ---------
    scores : pandas.DataFrame
        A row; a clip has several lines if it has several tags.
    metric : str

    Returns
    -------
    numpy.ndarray (N,), numpy.ndarray (N,)
        In alphabetical order of the clips' names. NaN counts as no value.
    """
    names, clip_of = np.unique(scores["clip_id"].to_numpy(str), return_inverse=True)
    values = values_of(scores, metric)
    defined = ~np.isnan(values)
    sums = np.bincount(clip_of, np.where(defined, values, 0), len(names))
    return sums, np.bincount(clip_of, defined, len(names))


@functools.lru_cache(maxsize=8)
def resampled_counts(n_clips: int, n_resamples: int, seed: int) -> np.ndarray:
    """Return how often each clip is drawn in each resample, (R, N).

    The same arguments give the same numbers, so that rows are paired.
    """
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, n_clips, (n_resamples, n_clips))
    flat = (drawn + n_clips * np.arange(n_resamples)[:, None]).ravel()
    counts = np.bincount(flat, minlength=n_resamples * n_clips)
    return counts.reshape(n_resamples, n_clips).astype(float)


def _mean(values):
    return float(np.mean(values))
