"""The table that people quote: every method, every condition, with its intervals.

Scores are kept clip by clip, so that a mean is over clips and never a mean of batch
means, every mean has a bootstrap interval, and two methods are compared on the same
clips. :func:`check_invariants` asserts what no correct table can break; several
published tables break it.
"""

import csv
import json
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from lmac_td.files import write_atomically
from lmac_td.metrics.conciseness import (
    complexity,
    complexity_bound,
    mask_mean,
    sparseness,
)
from lmac_td.metrics.faithfulness import (
    average_drop,
    average_drop_published,
    average_gain,
    average_increase,
    decided_class,
    faithfulness,
    input_fidelity,
    of_class,
)
from lmac_td.metrics.localisation import speech_relevance_score
from lmac_td.metrics.signal import completeness_db, kept_energy_db

_STATISTICS = {"mean": np.mean, "median": np.median}
# Bounds the memory of one step of the bootstrap to about 32 MB of float64.
_BOOTSTRAP_ELEMENTS = 4_000_000
# Scores are float32, so exact inequalities between them hold to this much.
_ROUNDING = 1e-5


class InvariantError(AssertionError):
    """A row of the table holds numbers that no correct measurement can give."""


@dataclass(frozen=True)
class Column:
    """One column of the printed table: a metric and a statistic over its clips."""

    metric: str
    header: str
    decimals: int
    statistic: str = "mean"


COLUMNS = (
    Column("AI", "AI (%) ↑", 2),
    Column("AD", "AD (%) ↓", 2),
    Column("AG", "AG (%) ↑", 2),
    Column("FF", "FF ↑", 3),
    Column("FF", "FF median ↑", 3, statistic="median"),
    Column("Fid-In", "Fid-In ↑", 3),
    Column("SPS", "SPS ↑", 3),
    Column("COMP", "COMP ↓", 2),
    Column("AD (published)", "AD (published) ↓", 2),
    Column("completeness (dB)", "completeness (dB) ↑", 1),
    Column("kept (dB)", "kept (dB)", 1),
)
# These stand in the table only if a method has a mask or the sources are known.
OPTIONAL_COLUMNS = (
    Column("SPS (mask)", "SPS (mask) ↑", 3),
    Column("COMP (mask)", "COMP (mask) ↓", 2),
    Column("MM", "MM", 3),
    Column("eta", "eta ↑", 3),
)


def summarise(values, statistic="mean", confidence=0.95, n_resamples=2000, seed=0):
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
    if statistic not in _STATISTICS:
        names = ", ".join(_STATISTICS)
        raise ValueError(f"statistic must be one of {names}, not {statistic!r}.")
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"values must have shape (N,), not {values.shape}.")
    values = values[~np.isnan(values)]
    value = _value(values, statistic)
    if values.size < 2 or not np.isfinite(values).all():
        return value, math.nan, math.nan
    if (values == values[0]).all():
        return value, value, value
    interval = stats.bootstrap(
        (values,),
        _STATISTICS[statistic],
        n_resamples=n_resamples,
        batch=max(1, _BOOTSTRAP_ELEMENTS // values.size),
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return value, float(interval.low), float(interval.high)


def _value(values, statistic):
    """Return the statistic of the values that are not NaN; NaN if there are none."""
    values = values[~np.isnan(values)]
    if values.size == 0:
        return math.nan
    if (values == values[0]).all():  # exactly, where a sum would round
        return float(values[0])
    with np.errstate(invalid="ignore"):  # −inf + inf
        return float(_STATISTICS[statistic](values))


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
            If lengths or names differ, or a clip is there already: scored twice, it
            would count twice.
        """
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns must be equally long, not {lengths}.")
        if self.columns and columns.keys() != self.columns.keys():
            differing = sorted(columns.keys() ^ self.columns.keys())
            raise ValueError(f"some batches have {differing} and some do not.")
        seen = set(self.columns.get("clip_id", ()))
        for clip_id in columns["clip_id"]:
            if clip_id in seen:
                raise ValueError(f"clip {clip_id!r} is scored twice.")
            seen.add(clip_id)
        for name, column in columns.items():
            self.columns.setdefault(name, []).extend(column)

    def values(self, name):
        """Return a numeric column as a float64 array (N,)."""
        return np.asarray(self.columns[name], dtype=np.float64)

    def __contains__(self, name):
        return name in self.columns

    def __len__(self):
        return len(self.columns.get("clip_id", ()))


class FaithfulnessTable:
    """Scores of every method under every condition.

    Arguments
    ---------
    settings : dict | None
        How the numbers were made, written beside them by :meth:`to_json`: SNR, folds,
        the fold that chose the checkpoint, mask domain, ...
    confidence : float
        Of the intervals, in (0, 1).
    n_resamples : int
        Of the bootstrap.
    seed : int
        Of the bootstrap.
    percentile : float
        The threshold T of eta, by default the paper's, see
        :func:`~lmac_td.metrics.localisation.speech_relevance_score`.

    Attributes
    ----------
    rows : dict of (str, str) to ClipScores
        By condition and method, in the order in which they first came.

    Example
    -------
    >>> table = FaithfulnessTable(settings={"snr_db": 5})
    >>> p_x = torch.tensor([[0.75, 0.25], [0.75, 0.25]])
    >>> wavs = torch.rand(2, 16)
    >>> table.add(
    ...     condition="mixtures",
    ...     method="identity",
    ...     clip_ids=["a", "b"],
    ...     decided=torch.tensor([0, 0]),
    ...     p_x=p_x,
    ...     p_in=p_x,
    ...     p_out=1 - p_x,
    ...     wavs=wavs,
    ...     interpretation=wavs,
    ...     residual=torch.zeros_like(wavs),
    ...     attribution=torch.rand(2, 3, 4),
    ... )
    >>> check_invariants(table)
    >>> table.means("mixtures", "identity")["FF"]
    0.5
    """

    def __init__(
        self,
        settings=None,
        *,
        confidence=0.95,
        n_resamples=2000,
        seed=0,
        percentile=99.9,
    ):
        self.settings = dict(settings or {})
        self.confidence = confidence
        self.n_resamples = n_resamples
        self.seed = seed
        self.percentile = percentile
        self.rows = {}

    @torch.no_grad()
    def add(
        self,
        *,
        condition,
        method,
        clip_ids,
        decided,
        p_x,
        p_in,
        p_out,
        wavs,
        interpretation,
        residual,
        attribution,
        labels=None,
        mask=None,
        target_mag=None,
        other_mag=None,
        frames=None,
    ):
        """Measure one batch of explanations.

        Arguments
        ---------
        condition, method : str
            The row; a row that is not there yet is begun.
        clip_ids : list of str
            (B,) names, each once a row.
        decided : torch.Tensor
            (B,) classes that the classifier decided on the mixtures.
        p_x, p_in, p_out : torch.Tensor
            (B, C) probabilities of the mixture, of what is kept, of what is removed.
        wavs, interpretation, residual : torch.Tensor
            (B, T) the mixture, what is kept, what is removed.
        attribution : torch.Tensor
            (B, n, f) log1p|STFT(interpretation)|, on which SPS and COMP are taken.
        labels : torch.Tensor | None
            (B,) true classes, kept beside the scores and never used by them.
        mask : torch.Tensor | None
            (B, ...) mask on the STFT, for a method that has one.
        target_mag, other_mag : torch.Tensor | None
            (B, n, f) magnitudes of the mixture's two sources, for eta; both or none.
        frames : torch.Tensor | None
            (B, n) boolean, the frames that eta counts.

        Raises
        ------
        ValueError
            Names the argument that does not fit the others; nothing is then added.
        """
        if (target_mag is None) != (other_mag is None):
            raise ValueError("target_mag and other_mag must be given together.")
        c = decided_class(p_x)
        _check_batch(clip_ids, decided, labels, p_x, c, wavs, attribution)
        columns = {
            "clip_id": list(clip_ids),
            "label": [None] * len(clip_ids) if labels is None else labels.tolist(),
            "decided": c.tolist(),
            "p_x": of_class(p_x, c),
            "p_in": of_class(p_in, c),
            "p_out": of_class(p_out, c),
            "AI": average_increase(p_x, p_in),
            "AD": average_drop(p_x, p_in),
            "AG": average_gain(p_x, p_in),
            "FF": faithfulness(p_x, p_out),
            "Fid-In": input_fidelity(p_x, p_in),
            **_conciseness(attribution),
            "AD (published)": average_drop_published(p_x, p_in),
            "completeness (dB)": completeness_db(wavs, interpretation, residual),
            "kept (dB)": kept_energy_db(wavs, interpretation),
        }
        if mask is not None:
            columns |= _conciseness(mask, suffix=" (mask)")
            columns["MM"] = mask_mean(mask)
        if target_mag is not None:
            columns["eta"] = speech_relevance_score(
                attribution, target_mag, other_mag, self.percentile, frames
            )
        columns = {
            name: column.tolist() if isinstance(column, torch.Tensor) else column
            for name, column in columns.items()
        }
        scores = self.rows.get((condition, method), ClipScores())
        scores.extend(columns)
        self.rows[condition, method] = scores

    def means(self, condition, method):
        """Return the mean of every metric of a row, as a dict of floats."""
        scores = self.rows[condition, method]
        return {
            metric: _value(scores.values(metric), "mean") for metric in _metrics(scores)
        }

    def compare(self, condition, first, second):
        """Compare two methods clip by clip.

        Arguments
        ---------
        condition : str
            Where both were scored.
        first, second : str
            Methods that were scored on the same clips.

        Returns
        -------
        dict of str to (float, float, float)
            For every metric that both have, the mean of ``first`` − ``second`` over
            clips and its interval: it excludes 0 where the methods differ.

        Raises
        ------
        ValueError
            If the methods were scored on different clips.
        """
        scores, others = self.rows[condition, first], self.rows[condition, second]
        place = {clip: i for i, clip in enumerate(others.columns["clip_id"])}
        if place.keys() != set(scores.columns["clip_id"]):
            raise ValueError(f"{first} and {second} were scored on different clips.")
        order = [place[clip] for clip in scores.columns["clip_id"]]
        differences = {}
        for metric in _metrics(scores):
            if metric in others:
                with np.errstate(invalid="ignore"):  # −inf dB on both sides
                    difference = scores.values(metric) - others.values(metric)[order]
                differences[metric] = self._summary(difference)
        return differences

    def to_markdown(self):
        """Return one section a condition: the means, below them their intervals."""
        sections = []
        for condition in dict.fromkeys(condition for condition, _ in self.rows):
            rows = {m: s for (c, m), s in self.rows.items() if c == condition}
            columns = _shown(rows.values())
            head = ["method", *(column.header for column in columns)]
            means, intervals = [], []
            for method, scores in rows.items():
                means.append([method])
                intervals.append([method])
                for column in columns:
                    value, low, high = math.nan, math.nan, math.nan
                    if column.metric in scores:
                        value, low, high = self._summary(
                            scores.values(column.metric), column.statistic
                        )
                    low, high = (_number(end, column.decimals) for end in (low, high))
                    means[-1].append(_number(value, column.decimals))
                    intervals[-1].append("–" if low == "–" else f"[{low}, {high}]")
                means[-1] += [str(len(scores)), str(_zero_maps(scores))]
            sections.append(
                f"### {condition}\n\n"
                + markdown_table([*head, "clips", "zero maps"], means)
                + f"\n{100 * self.confidence:g} % intervals, bootstrap over clips:\n\n"
                + markdown_table(head, intervals)
            )
        return "\n".join(sections)

    def to_json(self, path):
        """Write settings, means, medians and intervals; non-finite numbers as null.

        Arguments
        ---------
        path : str | Path
            Where to write; folders are made.
        """
        rows = []
        for (condition, method), scores in self.rows.items():
            metrics = {}
            for metric in _metrics(scores):
                values = scores.values(metric)
                left_out = int(np.isnan(values).sum())
                metrics[metric] = {"n": len(values) - left_out, "left_out": left_out}
                for statistic in _STATISTICS:
                    value, low, high = self._summary(values, statistic)
                    metrics[metric][statistic] = value
                    metrics[metric][f"{statistic}_interval"] = [low, high]
            rows.append(
                {
                    "condition": condition,
                    "method": method,
                    "n_clips": len(scores),
                    "zero_maps": _zero_maps(scores),
                    "metrics": metrics,
                }
            )
        content = {
            "settings": self.settings,
            "bootstrap": {
                "confidence": self.confidence,
                "n_resamples": self.n_resamples,
                "seed": self.seed,
            },
            "eta_percentile": self.percentile,
            "rows": rows,
        }
        with write_atomically(path, "w", encoding="utf-8", newline="") as file:
            json.dump(
                _strict(content), file, indent=2, ensure_ascii=False, allow_nan=False
            )
            file.write("\n")

    def clips_to_csv(self, path):
        """Write every clip's scores, one line a clip, method and condition.

        Arguments
        ---------
        path : str | Path
            Where to write; folders are made.
        """
        names = ["condition", "method"]
        for scores in self.rows.values():
            names += [name for name in scores.columns if name not in names]
        with write_atomically(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
            writer.writeheader()
            for (condition, method), scores in self.rows.items():
                for row in zip(*scores.columns.values(), strict=True):
                    cells = dict(zip(scores.columns, row, strict=True))
                    writer.writerow({"condition": condition, "method": method} | cells)

    def _summary(self, values, statistic="mean"):
        return summarise(
            values, statistic, self.confidence, self.n_resamples, self.seed
        )


def check_invariants(table):
    """Assert what holds for every correct table.

    Mean AG ≤ mean AI, mean FF ≤ mean confidence, and for every map COMP at least
    what its SPS allows (:func:`~lmac_td.metrics.conciseness.complexity_bound`).

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
            if value > most + _ROUNDING:
                raise InvariantError(
                    f"{row}: mean {metric} {value:.6g} exceeds mean {limit} {most:.6g}."
                )
        for kind in ("", " (mask)"):
            if f"SPS{kind}" in scores:
                _check_conciseness(row, scores, kind)


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


def _check_batch(clip_ids, decided, labels, p_x, c, wavs, attribution):
    """Raise a ValueError where arguments of :meth:`FaithfulnessTable.add` disagree."""
    n_clips = len(clip_ids)
    sizes = {"p_x": p_x, "wavs": wavs, "attribution": attribution, "decided": decided}
    if labels is not None:
        sizes["labels"] = labels
    for name, tensor in sizes.items():
        if len(tensor) != n_clips:
            raise ValueError(f"{name} has {len(tensor)} clips, clip_ids {n_clips}.")
    # Softmax may round two logits to one probability, so equal is not a mismatch.
    wrong = of_class(p_x, decided.to(c.device)) < of_class(p_x, c)
    if wrong.any():
        clip_id = clip_ids[int(wrong.nonzero()[0])]
        raise ValueError(f"decided is not the argmax of p_x for clip {clip_id!r}.")


def _conciseness(attribution, suffix=""):
    n_bins = attribution[0].numel() if len(attribution) else 0
    return {
        f"bins{suffix}": [n_bins] * len(attribution),
        f"SPS{suffix}": sparseness(attribution),
        f"COMP{suffix}": complexity(attribution),
    }


def _zero_maps(scores):
    """Count the maps that are zero everywhere: SPS is NaN for them alone."""
    return int(np.isnan(scores.values("SPS")).sum())


def _metrics(scores):
    """Return the names of the metrics that a row has, each once."""
    columns = (*COLUMNS, *OPTIONAL_COLUMNS)
    return dict.fromkeys(c.metric for c in columns if c.metric in scores)


def _shown(rows):
    """Return the columns of a section: an optional one if any of its rows has it."""
    rows = list(rows)
    return [
        *COLUMNS,
        *(c for c in OPTIONAL_COLUMNS if any(c.metric in scores for scores in rows)),
    ]


def _number(value, decimals):
    return "–" if math.isnan(value) else f"{value:.{decimals}f}"


def markdown_table(head, rows):
    """Return a Markdown table whose pipes stand below each other in a terminal."""
    lines = [[str(cell).replace("|", "\\|") for cell in line] for line in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, rule)
    return "".join(
        "| "
        + " | ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |\n"
        for line in lines
    )


def _strict(content):
    """Make content that strict JSON can hold: non-finite null, other objects text."""
    if isinstance(content, dict):
        return {str(key): _strict(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_strict(value) for value in content]
    if isinstance(content, (np.generic, torch.Tensor)):
        return _strict(content.tolist())
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if content is None or isinstance(content, (bool, int, str)):
        return content
    return str(content)
