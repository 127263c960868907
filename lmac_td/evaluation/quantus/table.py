"""Collect scores of Quantus by condition and method; write Markdown and CSV."""

import math
from collections.abc import Sequence
from pathlib import Path

import quantus

from lmac_td.contracts import Classifier, ExplainedBatch, Sources
from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.frame import ScoreFrame, values_of
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.evaluation.quantus.catalogue import (
    arrow,
    find_metrics,
    measures_localisation,
)
from lmac_td.evaluation.quantus.explain import as_maps, is_constant
from lmac_td.evaluation.quantus.refusals import check_metrics
from lmac_td.evaluation.quantus.scoring import ideal_masks, run_quantus
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.base import Interpreter


class QuantusScores:
    """Metrics of Quantus for every method under every condition.

    Arguments
    ---------
    names : sequence of str
        See :func:`~lmac_td.evaluation.quantus.find_metrics`; checked immediately.
    spectral_features : SpectralFeatures

    Attributes
    ----------
    names : list of str
        Class names of the metrics in Quantus.
    scores : ScoreFrame
        One line per clip: its metrics, whether its map is constant, and whether its
        sources are known.

    Raises
    ------
    SettingError
        See :func:`~lmac_td.evaluation.quantus.find_metrics`.
    """

    def __init__(self, names: Sequence[str], spectral_features: SpectralFeatures):
        self.names = find_metrics(names)
        self.spectral_features = spectral_features
        self.scores = ScoreFrame()

    def check(self, classifier: Classifier) -> None:
        """Refuse a classifier that the metrics cannot be run on.

        Raises
        ------
        SettingError
            See :func:`~lmac_td.evaluation.quantus.check_metrics`.
        """
        check_metrics(self.names, classifier)

    def add(
        self,
        condition: str,
        method: str,
        batch_ids: Sequence[str],
        batch: ExplainedBatch,
        interpreter: Interpreter,
        sources: Sources | None = None,
    ) -> None:
        """Score one explained batch.

        Arguments
        ---------
        condition, method : str
            The row.
        batch_ids : sequence of str
            Ids of the B clips.
        batch : ExplainedBatch
        interpreter : Interpreter
            The one that explained the batch.
        sources : Sources, optional
            By default those of ``batch``, see
            :func:`~lmac_td.evaluation.quantus.run_quantus`.
        """
        sources = batch.sources if sources is None else sources
        maps = as_maps(batch.explanation.attribution)
        values = run_quantus(
            self.names, self.spectral_features, batch, interpreter, sources
        )
        _, known = ideal_masks(sources, maps.shape)
        columns = {
            "clip_id": batch_ids,
            "constant map": is_constant(maps),
            "sources known": known,
        }
        self.scores.append(condition, method, columns | values)

    def to_markdown(self) -> str:
        """Return one section per condition: means, 95 % intervals, and a note.

        If nothing is mixed in under a condition, the metrics of localisation are left
        out. The note says so.
        """
        return "\n".join(
            self._section(condition, self.scores.methods(condition))
            for condition in self.scores.conditions
        )

    def _section(self, condition, rows):
        in_truth = any(scores["sources known"].any() for scores in rows.values())
        shown = [n for n in self.names if in_truth or not measures_localisation(n)]
        left_out = [name for name in self.names if name not in shown]
        means, intervals, notes = [], [], []
        for method, scores in rows.items():
            summaries = [summarise(values_of(scores, name)) for name in shown]
            constant = int(scores["constant map"].sum())
            values = [_number(value) for value, _, _ in summaries]
            means.append([method, *values, str(len(scores)), str(constant)])
            intervals.append([method, *(_interval(*ends) for _, *ends in summaries)])
            for name in shown:
                undefined = int(scores[name].isna().sum())
                if undefined > constant:
                    notes.append(
                        f"{method}: {name} has no value for {undefined} of "
                        f"{len(scores)} clips"
                    )
        if left_out:
            notes.append(
                f"{', '.join(left_out)}: left out, as nothing is mixed into these clips"
            )
        head = ["method", *(name + arrow(name) for name in shown)]
        text = (
            f"### {condition}, Quantus {quantus.__version__}\n\n"
            + markdown_table([*head, "clips", "constant maps"], means)
            + "\n95 % intervals, bootstrap over clips:\n\n"
            + markdown_table(head, intervals)
        )
        return text + "".join(f"\n{note}.\n" for note in notes)

    def to_csv(self, path: str | Path) -> None:
        """Write every clip's values, one line per clip, method and condition.

        Arguments
        ---------
        path : str or Path
            Where to write; folders are created.
        """
        self.scores.clips_to_csv(path)


def _number(value):
    return "–" if math.isnan(value) else f"{value:.4g}"


def _interval(low, high):
    return "–" if math.isnan(low) else f"[{_number(low)}, {_number(high)}]"
