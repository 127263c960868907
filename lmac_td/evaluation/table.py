"""The table that people quote: every method, every condition, with its intervals.

Scores are kept clip by clip (``scores``), under the names that ``columns`` gives them;
``invariants`` asserts what no correct table can break, ``comparison`` sets two rows
against each other.
"""

import csv
import json
import math

import numpy as np
import torch

from lmac_td.errors import DataError, SettingError
from lmac_td.evaluation.bootstrap import STATISTICS, summarise, value_of
from lmac_td.evaluation.columns import (
    ALL_COLUMNS,
    COLUMNS,
    ETAS,
    FAITHFULNESS,
    GROUPS,
    OPTIONAL_COLUMNS,
    P_KEPT,
    P_REMOVED,
    PERCENTILES,
    Column,
    metrics_of,
)
from lmac_td.evaluation.comparison import comparison_to_markdown, minus, pairs
from lmac_td.evaluation.invariants import InvariantError, check_invariants
from lmac_td.evaluation.markdown import interval, markdown_table, number
from lmac_td.evaluation.scores import (
    ClipScores,
    difference_of,
    left_out,
    n_clips,
    read_row,
    zero_maps,
)
from lmac_td.files import write_atomically
from lmac_td.metrics.conciseness import complexity, mask_mean, sparseness
from lmac_td.metrics.confidence import (
    average_drop,
    average_drop_published,
    average_gain,
    average_increase,
    faithfulness,
    input_fidelity,
    of_class,
)
from lmac_td.metrics.curves import SIZES, area_under
from lmac_td.metrics.localisation import (
    active_frames,
    speech_relevance_at,
    temporal_iou,
)
from lmac_td.metrics.signal import (
    SILENCE_DB,
    completeness_db,
    kept_energy_db,
    kept_gain,
    kept_of_source_db,
    si_sdr_db,
)

__all__ = [
    "COLUMNS",
    "OPTIONAL_COLUMNS",
    "ClipScores",
    "Column",
    "FaithfulnessTable",
    "InvariantError",
    "check_invariants",
    "comparison_to_markdown",
    "markdown_table",
    "summarise",
]


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

    Attributes
    ----------
    rows : dict of (str, str) to ClipScores
        By condition and method, in the order in which they first came.
    without_target : dict of str to list of str
        By condition, ids of the clips in which no tag reaches its threshold.

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
    ):
        self.settings = dict(settings or {})
        self.confidence = confidence
        self.n_resamples = n_resamples
        self.seed = seed
        self.rows = {}
        self.without_target = {}

    def add_without_target(self, condition, clip_ids):
        """Note clips in which no tag reaches its threshold, and which have no score.

        Arguments
        ---------
        condition : str
        clip_ids : list of str
        """
        if clip_ids:
            noted = self.without_target.setdefault(condition, [])
            noted += [clip_id for clip_id in clip_ids if clip_id not in noted]

    @torch.no_grad()
    def add(
        self,
        *,
        condition,
        method,
        clip_ids,
        explained,
        p_x,
        p_in,
        p_out,
        wavs,
        interpretation,
        residual,
        attribution,
        labels=None,
        mask=None,
        magnitude=None,
        target=None,
        target_mag=None,
        other_mag=None,
        p_kept=None,
        p_removed=None,
        threshold=None,
        n_samples=None,
    ):
        """Measure one batch of explanations.

        Arguments
        ---------
        condition, method : str
            The row; a row that is not there yet is begun.
        clip_ids : list of str
            (B,) names; a row has each clip and class once.
        explained : torch.Tensor
            (B,) classes that are explained: decided by the classifier, or asked for.
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
        magnitude : torch.Tensor | None
            (B, n, f) |STFT| of the mixtures. This and the next three are for the
            columns of the ground truth: all of them, or none (as of a clean clip).
        target : torch.Tensor | None
            (B, T) the target as it stands in the mixture.
        target_mag, other_mag : torch.Tensor | None
            (B, n, f) |STFT| of the target and of the interference.
        p_kept, p_removed : torch.Tensor | None
            (B, n_sizes) probability of the decided class when the interpretation is
            cut to each of :data:`~lmac_td.metrics.curves.SIZES`, and those bins are
            kept, or removed; both or none.
        threshold : float | None
            For tags: Fid-In asks whether the tag still reaches it. None for one class
            a clip.
        n_samples : torch.Tensor | None
            (B,) samples of each clip before padding: what lies after them does not
            count in completeness, kept energy, SI-SDR, eta and IoU. None counts
            all.

        Raises
        ------
        ValueError
            Names the argument that does not fit the others; nothing is then added.
        """
        truth = {
            "magnitude": magnitude,
            "target": target,
            "target_mag": target_mag,
            "other_mag": other_mag,
        }
        equal_size = {"p_kept": p_kept, "p_removed": p_removed}
        for group in (truth, equal_size):
            if len({tensor is None for tensor in group.values()}) > 1:
                raise ValueError(f"{' and '.join(group)} must be given together.")
        if n_samples is not None and min(n_samples.tolist()) == wavs.shape[1]:
            n_samples = None  # nothing is padded
        _check_batch(clip_ids, explained, labels, p_x, wavs, attribution)
        c = explained.to(p_x.device)
        columns = {
            "clip_id": list(clip_ids),
            "label": [None] * len(clip_ids) if labels is None else labels.tolist(),
            "decided": c.tolist(),
            "p_x": of_class(p_x, c),
            "p_in": of_class(p_in, c),
            "p_out": of_class(p_out, c),
            "AI": average_increase(p_x, p_in, c),
            "AD": average_drop(p_x, p_in, c),
            "AG": average_gain(p_x, p_in, c),
            "FF": faithfulness(p_x, p_out, c),
            "Fid-In": input_fidelity(p_x, p_in, c, threshold),
            **_conciseness(attribution),
            "AD (published)": average_drop_published(p_x, p_in, c),
            "completeness (dB)": completeness_db(
                wavs, interpretation, residual, n_samples
            ),
            # The metric itself says -inf; one such clip would be the mean of all.
            "kept (dB)": kept_energy_db(wavs, interpretation, n_samples).clamp(
                min=SILENCE_DB
            ),
        }
        if mask is not None:
            columns |= _conciseness(mask, suffix=" (mask)")
            columns["MM"] = mask_mean(mask)
        if target is not None:
            columns |= _ground_truth(
                wavs, interpretation, attribution, n_samples, **truth
            )
        if p_kept is not None:
            columns |= _equal_size(len(clip_ids), **equal_size)
        columns = _on_host(columns)
        scores = self.rows.get((condition, method), ClipScores())
        scores.extend(columns)
        self.rows[condition, method] = scores

    def means(self, condition, method):
        """Return the mean of every metric of a row, as a dict of floats."""
        scores = self.rows[condition, method]
        return {
            metric: value_of(scores.values(metric), "mean")
            for metric in metrics_of(scores)
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
        SettingError
            If there is no such row, or the two were scored on different mixtures.
        """
        return {
            metric: self.summary(
                minus(*pair), clips=self.rows[condition, first].columns["clip_id"]
            )
            for metric, pair in pairs(self, condition, first, second).items()
        }

    def merge(self, other, tolerance=1e-4):
        """Take over the rows of another table.

        Arguments
        ---------
        other : FaithfulnessTable
            Its scores are copied, its settings are not.
        tolerance : float
            Of a row that both have, how far two scores of a clip may differ, absolute
            or relative. Another device or batch size rounds the last digits otherwise.

        Raises
        ------
        SettingError
            Names a row that both have and that differs, and where; nothing is then
            taken over.
        """
        for (condition, method), scores in other.rows.items():
            if (condition, method) in self.rows:
                own = self.rows[condition, method]
                difference = difference_of(own, scores, tolerance)
                if difference:
                    raise SettingError(
                        f"row {method!r} of {condition!r} stands in both tables, and "
                        f"differs: {difference}; name only one of them."
                    )
        for row, scores in other.rows.items():
            if row not in self.rows:
                self.rows[row] = ClipScores()
                self.rows[row].extend(scores.columns)
        for condition, clip_ids in other.without_target.items():
            self.add_without_target(condition, clip_ids)

    def to_markdown(self):
        """Return one section a condition: its groups, the means above the intervals.

        A group stands there if one of the condition's methods has it, and shows the
        methods that do.
        """
        sections = []
        conditions = [condition for condition, _ in self.rows]
        for condition in dict.fromkeys([*conditions, *self.without_target]):
            rows = {m: s for (c, m), s in self.rows.items() if c == condition}
            section = [f"### {condition}\n"]
            for group in GROUPS:
                columns = _shown(rows.values(), group)
                members = {
                    method: scores
                    for method, scores in rows.items()
                    if any(column.metric in scores for column in columns)
                }
                if members:
                    section.append(f"**{group.capitalize()}**\n")
                    section.append(self._group_to_markdown(group, columns, members))
            without = self.without_target.get(condition, [])
            if without:
                section.append(_without_target_note(without, rows.values()))
            sections.append("\n".join(section))
        return "\n".join(sections)

    def _group_to_markdown(self, group, columns, rows):
        head = ["method", *(column.header for column in columns)]
        more = {}
        if group == FAITHFULNESS:
            more = {"clips": n_clips, "tags": len, "zero maps": zero_maps}
            if all(n_clips(scores) == len(scores) for scores in rows.values()):
                del more["tags"]
        means, intervals = [], []
        for method, scores in rows.items():
            means.append([method])
            intervals.append([method])
            for column in columns:
                value, low, high = self._cell(scores, column)
                means[-1].append(number(value, column.decimals))
                intervals[-1].append(interval(low, high, column.decimals))
            means[-1] += [str(count(scores)) for count in more.values()]
        note = left_out([column.metric for column in columns], rows.values())
        return (
            markdown_table([*head, *more], means)
            + (f"\n{note}" if note else "")
            + f"\n{100 * self.confidence:g} % intervals, bootstrap over clips:\n\n"
            + markdown_table(head, intervals)
        )

    def _cell(self, scores, column):
        """Return a column's statistic of a row and its interval; NaN if it has none."""
        if column.metric not in scores:
            return math.nan, math.nan, math.nan
        values, clips = scores.values(column.metric), scores.columns["clip_id"]
        return self.summary(values, column.statistic, clips)

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
            for metric in metrics_of(scores):
                values = scores.values(metric)
                left_out = int(np.isnan(values).sum())
                metrics[metric] = {"n": len(values) - left_out, "left_out": left_out}
                for statistic in STATISTICS:
                    value, low, high = self.summary(
                        values, statistic, scores.columns["clip_id"]
                    )
                    metrics[metric][statistic] = value
                    metrics[metric][f"{statistic}_interval"] = [low, high]
            rows.append(
                {
                    "condition": condition,
                    "method": method,
                    "n_clips": n_clips(scores),
                    "n_explanations": len(scores),
                    "zero_maps": zero_maps(scores),
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
            "without_target": self.without_target,
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
            Where to write; folders are made. :meth:`read_clips` reads it.
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

    def to_csv(self, path):
        """Write the means and intervals, one line a condition and method.

        Every column of the printed table as three: its name, "low" and "high"; empty
        where a row has no such number.

        Arguments
        ---------
        path : str | Path
            Where to write; folders are made.
        """
        columns = [c for group in GROUPS for c in _shown(self.rows.values(), group)]
        head = ["condition", "method", "clips", "zero maps"]
        for column in columns:
            head += [column.name, f"{column.name} low", f"{column.name} high"]
        with write_atomically(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(head)
            for (condition, method), scores in self.rows.items():
                line = [condition, method, n_clips(scores), zero_maps(scores)]
                for column in columns:
                    numbers = self._cell(scores, column)
                    line += ["" if math.isnan(n) else n for n in numbers]
                writer.writerow(line)

    @classmethod
    def read_clips(cls, path, settings=None, **bootstrap):
        """Make a table of what :meth:`clips_to_csv` wrote.

        Arguments
        ---------
        path : str | Path
            A clips.csv.
        settings : dict | None
            How its numbers were made; the file does not say.
        **bootstrap
            ``confidence``, ``n_resamples`` and ``seed`` of the table.

        Returns
        -------
        FaithfulnessTable
            With the same scores, to the last bit.

        Raises
        ------
        DataError
            If there is no such file, or it holds something else.
        """
        table = cls(settings, **bootstrap)
        by_row = {}
        try:
            with open(path, encoding="utf-8", newline="") as file:
                for line in csv.DictReader(file, strict=True):
                    row = line.pop("condition"), line.pop("method")
                    by_row.setdefault(row, []).append(line)
            if not by_row:
                raise ValueError("it holds no clip")
            for row, lines in by_row.items():
                table.rows[row] = read_row(lines)
        except (OSError, ValueError, LookupError, TypeError, csv.Error) as error:
            raise DataError(
                f"{path} is no clips.csv of eval_faithfulness.py ({error}): name the "
                "one in an evaluation folder."
            ) from error
        return table

    def summary(self, values, statistic="mean", clips=None):
        """:func:`~lmac_td.evaluation.scores.summarise` with this table's bootstrap."""
        return summarise(
            values, statistic, self.confidence, self.n_resamples, self.seed, clips
        )


def _without_target_note(without, rows):
    """Name the clips that are not in a table, because they have no tag."""
    n_scored = max(map(n_clips, rows), default=0)
    return (
        f"No tag reaches its threshold in {len(without)} of "
        f"{n_scored + len(without)} clips, which are not scored: "
        f"{', '.join(without)}.\n"
    )


def _check_batch(clip_ids, explained, labels, p_x, wavs, attribution):
    """Raise a ValueError where arguments of :meth:`FaithfulnessTable.add` disagree."""
    n_given = len(clip_ids)
    sizes = {"p_x": p_x, "wavs": wavs, "attribution": attribution}
    sizes["explained"] = explained
    if labels is not None:
        sizes["labels"] = labels
    for name, tensor in sizes.items():
        if len(tensor) != n_given:
            raise ValueError(f"{name} has {len(tensor)} clips, clip_ids {n_given}.")
    if not ((explained >= 0) & (explained < p_x.shape[1])).all():
        raise ValueError(
            f"explained must hold classes below {p_x.shape[1]}, not "
            f"{explained.tolist()}."
        )


def _on_host(columns):
    """Columns as lists; those that are tensors come from a GPU in one transfer."""
    tensors = {k: v for k, v in columns.items() if isinstance(v, torch.Tensor)}
    stacked = torch.stack([column.double() for column in tensors.values()])
    return columns | dict(zip(tensors, stacked.tolist(), strict=True))


def _ground_truth(
    wavs,
    interpretation,
    attribution,
    n_samples,
    magnitude,
    target,
    target_mag,
    other_mag,
):
    _check_shapes("wavs", wavs, target=target)
    sizes = {"magnitude": magnitude, "target_mag": target_mag, "other_mag": other_mag}
    _check_shapes("attribution", attribution, **sizes)
    n_frames = _frames_of(n_samples, wavs.shape[1], attribution.shape[1])
    active = active_frames(target_mag, n_frames=n_frames)
    eta = speech_relevance_at(attribution, target_mag, other_mag, PERCENTILES, active)
    si_sdr = si_sdr_db(interpretation, target, n_samples)
    gain = kept_gain(attribution.expm1(), magnitude)
    # A map that is zero everywhere points nowhere: left out here as in SPS and COMP.
    silent = ~attribution.flatten(1).any(dim=1)
    iou, si_sdr = (
        values.masked_fill(silent, math.nan)
        for values in (temporal_iou(attribution, active, n_frames), si_sdr)
    )
    return {
        **dict(zip(ETAS, eta, strict=True)),
        "IoU (time)": iou,
        "SI-SDR (dB)": si_sdr,
        "SI-SDRi (dB)": si_sdr - si_sdr_db(wavs, target, n_samples),
        "target kept (dB)": kept_of_source_db(gain, target_mag),
        "interference kept (dB)": kept_of_source_db(gain, other_mag),
    }


def _frames_of(n_samples, length, n_frames):
    """Frames of clips that begin with some samples: their share, rounded up."""
    if n_samples is None:
        return None
    return (n_samples * n_frames + length - 1) // length


def _check_shapes(name, tensor, **others):
    for other_name, other in others.items():
        if other.shape != tensor.shape:
            raise ValueError(
                f"{other_name} and {name} must have the same shape, "
                f"not {tuple(other.shape)} and {tuple(tensor.shape)}."
            )


def _equal_size(n_entries, p_kept, p_removed):
    for name, p in (("p_kept", p_kept), ("p_removed", p_removed)):
        if p.shape != (n_entries, len(SIZES)):
            raise ValueError(
                f"{name} must have shape {(n_entries, len(SIZES))}, a clip and a size "
                f"of {SIZES}, not {tuple(p.shape)}."
            )
    return {
        "insertion": area_under(p_kept),
        "deletion": area_under(p_removed),
        **dict(zip(P_KEPT, p_kept.unbind(dim=1), strict=True)),
        **dict(zip(P_REMOVED, p_removed.unbind(dim=1), strict=True)),
    }


def _conciseness(attribution, suffix=""):
    n_bins = attribution[0].numel() if len(attribution) else 0
    return {
        f"bins{suffix}": [n_bins] * len(attribution),
        f"SPS{suffix}": sparseness(attribution),
        f"COMP{suffix}": complexity(attribution),
    }


def _shown(rows, group):
    """Return a group's columns: an optional one if any of the rows has it."""
    rows = list(rows)
    return [
        column
        for column in ALL_COLUMNS
        if column.group == group
        and (column in COLUMNS or any(column.metric in scores for scores in rows))
    ]


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
