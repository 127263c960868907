"""The common table: scores of every method and condition, with intervals.

:class:`FaithfulnessTable` measures batches by every metric of
:mod:`lmac_td.metrics.registry` and keeps the scores clip by clip. :mod:`.rendering`
prints it, :mod:`.summary` writes it, :mod:`.invariants` asserts what every correct
table satisfies, :mod:`lmac_td.evaluation.comparison` compares two rows, :mod:`.merge`
joins tables.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lmac_td.evaluation.bootstrap import (
    LARGE,
    STATISTICS,
    summarise,
    summarise_all,
    value_of,
)
from lmac_td.evaluation.columns import Column, metrics_of
from lmac_td.evaluation.comparison import differences, paired_values
from lmac_td.evaluation.frame import ScoreFrame, values_of
from lmac_td.evaluation.merge import merge_rows
from lmac_td.metrics.registry import measure
from lmac_td.metrics.score_inputs import ScoreInputs

# Every clips.csv has these since the first version. Columns that came later are
# not here: results without them stay readable.
ALWAYS_WRITTEN = (
    "decided", "p_x", "p_in", "p_out", "AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP",
    "AD (published)", "completeness (dB)", "kept (dB)",
)  # fmt: skip


class FaithfulnessTable(ScoreFrame):
    """Scores of every method under every condition.

    Arguments
    ---------
    settings : dict | None
        How the numbers were made: SNR, folds, the fold that chose the checkpoint, mask
        domain, ... They are written with the table.
    confidence : float
        Confidence level of the intervals, in (0, 1).
    n_resamples : int
        Resamples of the bootstrap.
    seed : int
        Seed of the bootstrap.
    folder : str or Path, optional
        See :class:`~lmac_td.evaluation.frame.ScoreFrame`.

    Example
    -------
    >>> table = FaithfulnessTable(settings={"snr_db": 5})
    >>> p_x = torch.tensor([[0.75, 0.25], [0.75, 0.25]])
    >>> wavs = torch.rand(2, 16)
    >>> table.add(
    ...     condition="mixtures",
    ...     method="identity",
    ...     clip_ids=["a", "b"],
    ...     explained=torch.tensor([0, 0]),
    ...     p_x=p_x,
    ...     p_in=p_x,
    ...     p_out=1 - p_x,
    ...     wavs=wavs,
    ...     interpretation=wavs,
    ...     residual=torch.zeros_like(wavs),
    ...     attribution=torch.rand(2, 3, 4),
    ... )
    >>> table.means("mixtures", "identity")["FF"]
    0.5
    """

    def __init__(
        self,
        settings: dict | None = None,
        *,
        confidence: float = 0.95,
        n_resamples: int = 2000,
        seed: int = 0,
        folder: str | Path | None = None,
    ):
        super().__init__(folder)
        self.settings = dict(settings or {})
        self.confidence = confidence
        self.n_resamples = n_resamples
        self.seed = seed
        self._without_target = {}
        self._of_large = {}  # summaries of large rows

    @torch.no_grad()
    def add(
        self,
        *,
        condition: str,
        method: str,
        clip_ids: Sequence[str],
        labels: Tensor | None = None,
        n_samples: Tensor | None = None,
        **measured,
    ) -> None:
        """Measure one batch of B explanations.

        Arguments
        ---------
        condition, method : str
            The row; it is created if it is new.
        clip_ids : list of str
            (B,) names; a row holds each clip and class once.
        labels : Tensor | None
            (B,) true classes. They are stored with the scores and do not affect them.
        n_samples : Tensor | None
            (B,) samples of each clip before padding. Later samples do not
            count. None counts all samples.
        **measured
            The other fields of :class:`~lmac_td.metrics.score_inputs.ScoreInputs`.

        Raises
        ------
        ValueError
            If an argument does not fit the others; the message names it. Nothing is
            added then.
        """
        if n_samples is not None and min(n_samples.tolist()) == len(
            measured["wavs"][0]
        ):
            n_samples = None  # nothing is padded
        scored = ScoreInputs(**measured, n_samples=n_samples)
        _check_batch(clip_ids, labels, scored)
        columns = {
            "clip_id": clip_ids,
            "label": [None] * len(clip_ids) if labels is None else labels,
            "decided": scored.explained,
            **_on_host(measure(scored)),
        }
        self.append(condition, method, columns)

    def add_without_target(self, condition: str, clip_ids: Sequence[str]) -> None:
        """Record clips without a score, because no tag reaches its threshold."""
        if clip_ids:
            # Keys of a dict: in order, and found at once.
            noted = self._without_target.setdefault(condition, {})
            noted.update(dict.fromkeys(clip_ids))

    def clear_without_target(self) -> None:
        """Forget the clips without a score."""
        self._without_target.clear()

    @property
    def without_target(self) -> dict[str, list[str]]:
        """Ids of the clips in which no tag reaches its threshold, by condition."""
        return {name: list(clips) for name, clips in self._without_target.items()}

    def means(self, condition: str, method: str) -> dict[str, float]:
        """Return the mean of every printed metric of a row."""
        scores = self.row(condition, method)
        return {
            metric: value_of(values_of(scores, metric), "mean")
            for metric in metrics_of(scores)
        }

    def summary(self, values, statistic="mean", clips=None):
        """Return a statistic and its interval, by this table's bootstrap.

        See :func:`~lmac_td.evaluation.bootstrap.summarise`.
        """
        return summarise(
            values, statistic, self.confidence, self.n_resamples, self.seed, clips
        )

    def statistic(self, condition: str, method: str, metric: str, statistic="mean"):
        """Return a statistic of a metric that a row has, and its interval.

        All metrics of a large row are summarised together, and kept.

        Arguments
        ---------
        condition, method : str
        metric, statistic : str

        Returns
        -------
        value, low, high : float
        """
        scores = self.row(condition, method)
        if len(scores) < LARGE:
            return self.summary(values_of(scores, metric), statistic, scores["clip_id"])
        key = condition, method
        known = self._of_large.get(key)
        if known is None or known[0] is not scores:
            known = scores, self._summarise(scores, metrics_of(scores), STATISTICS)
            self._of_large[key] = known
        return known[1][metric, statistic]

    def _summarise(self, columns, names, statistics=("mean",), clips=None):
        """See :func:`~lmac_td.evaluation.bootstrap.summarise_all`."""
        how = self.confidence, self.n_resamples, self.seed
        clips = columns["clip_id"] if clips is None else clips
        return summarise_all(columns, list(names), tuple(statistics), *how, clips=clips)

    def cell(self, condition: str, method: str, column: Column):
        """Return the value of a column for a row and its interval.

        Arguments
        ---------
        condition, method : str
        column : Column

        Returns
        -------
        value, low, high : float
            NaN if the row has none.
        """
        scores = self.row(condition, method)
        if not column.is_in(scores):
            return (float("nan"),) * 3
        return self.statistic(condition, method, column.metric.name, column.statistic)

    def compare(self, condition: str, first: str, second: str):
        """Compare two methods clip by clip.

        Arguments
        ---------
        condition : str
            A condition in which both were scored.
        first, second : str
            Methods that were scored on the same clips.

        Returns
        -------
        dict of str to (float, float, float)
            For every metric that both have, the mean of ``first`` − ``second`` over
            clips and its interval: it excludes 0 where the methods differ.

        Raises
        ------
        SettingError
            If there is no such row, or the two were scored on different mixtures.
        """
        pairs = paired_values(self, condition, first, second)
        changes = {metric: differences(*values) for metric, values in pairs.items()}
        clips = self.row(condition, first)["clip_id"]
        found = self._summarise(changes, changes, clips=clips)
        return {metric: found[metric, "mean"] for metric in changes}

    def merge(self, other: "FaithfulnessTable", tolerance: float = 1e-4) -> None:
        """Copy the rows of another table, not its settings.

        See :func:`~lmac_td.evaluation.merge.merge_rows`.
        """
        merge_rows(self, other, tolerance)
        for condition, clip_ids in other.without_target.items():
            self.add_without_target(condition, clip_ids)

    @classmethod
    def read_clips(cls, path, settings=None, required=ALWAYS_WRITTEN, **bootstrap):
        """Make a table of what :meth:`clips_to_csv` wrote.

        Arguments
        ---------
        path : str | Path
            A clips.csv.
        settings : dict | None
            How its numbers were made; the file does not hold this.
        required : sequence of str
            Columns that every row must have; later ones may be missing.
        **bootstrap
            ``confidence``, ``n_resamples`` and ``seed`` of the table.

        Returns
        -------
        FaithfulnessTable
            A table with the same scores, to the last bit.

        Raises
        ------
        DataError
            If the file does not exist, or is not a clips.csv.
        """
        return super().read_clips(path, required, settings=settings, **bootstrap)


def _check_batch(clip_ids, labels, scored):
    """Raise a ValueError where arguments of :meth:`FaithfulnessTable.add` disagree."""
    n_given, n_classes = len(clip_ids), scored.p_x.shape[1]
    sizes = {
        name: getattr(scored, name)
        for name in ("p_x", "wavs", "attribution", "explained")
    }
    if labels is not None:
        sizes["labels"] = labels
    for name, tensor in sizes.items():
        if len(tensor) != n_given:
            raise ValueError(f"{name} has {len(tensor)} clips, clip_ids {n_given}.")
    if not ((scored.explained >= 0) & (scored.explained < n_classes)).all():
        raise ValueError(
            f"explained must hold classes below {n_classes}, not "
            f"{scored.explained.tolist()}."
        )


def _on_host(columns):
    """Return columns as lists; those on a GPU are copied in one transfer."""
    floating = {k: v for k, v in columns.items() if v.is_floating_point()}
    device = columns["p_x"].device
    stacked = torch.stack([c.to(device, torch.float64) for c in floating.values()])
    listed = dict(zip(floating, stacked.tolist(), strict=True))
    return {name: listed.get(name, column) for name, column in columns.items()}
