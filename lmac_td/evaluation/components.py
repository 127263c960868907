"""L2I's method-specific table: fidelity of Theta, and removal of components.

Parekh et al. ("Listen to Interpret"), section 4.1. *Fidelity* is how well Theta agrees
with the classifier (:mod:`lmac_td.evaluation.fidelity`). *Faithfulness* removes the
selected components from the sound::

    FF_x = f(x)_c - f(x_2)_c,   x_2 = INV(X - sum of X_l over r_l > tau, phase)   (6)

and is reported as its median, for several thresholds tau, for tags also by class
(section 4.4, figure 2a). A random baseline removes as many components of the same clip,
drawn from the whole dictionary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from lmac_td.contracts import ExplainedBatch
from lmac_td.evaluation.batches import DecidedBatch
from lmac_td.evaluation.fidelity import METHOD, FidelityTable, statistic
from lmac_td.evaluation.frame import values_of
from lmac_td.evaluation.tag_fidelity import MIN_CLIPS
from lmac_td.files import write_atomically
from lmac_td.interpreters.l2i import L2I, require_threshold, soft_mask
from lmac_td.metrics.confidence import of_class
from lmac_td.random import seeded_generator
from lmac_td.report.figures import bars_figure


class ComponentTable(FidelityTable):
    """Fidelity of Theta, and faithfulness by removal of components, by condition.

    Arguments
    ---------
    thresholds : sequence of float
        tau, each in [-1, 1).
    seed : int
        Seed of the random baseline.

    Raises
    ------
    SettingError
        If a threshold is outside that interval.

    Attributes
    ----------
    scores : ScoreFrame
        The rank of the explained class among Theta's logits, and at each threshold the
        number of components removed, FF and the random baseline's FF.
    tags : ScoreFrame
        See :class:`FidelityTable`.
    """

    def __init__(
        self,
        thresholds: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
        seed: int = 0,
    ) -> None:
        super().__init__("Theta")
        for threshold in thresholds:
            require_threshold("thresholds", threshold)
        self.thresholds = tuple(thresholds)
        self.seed = seed

    def more_columns(
        self,
        condition: str,
        decided: DecidedBatch,
        explained: ExplainedBatch,
        interpreter: L2I,
    ) -> dict[str, list]:
        """Return what the removal of components changes, at each threshold."""
        explanation, target = explained.explanation, explained.decision.target
        classifier, columns = explained.classifier, {}

        def p(logits):
            return of_class(classifier.probabilities(logits).double(), target)

        before = p(explained.decision.logits)
        chance = self.random_order(condition, decided.clip_ids, explanation.relevance)
        for tau in self.thresholds:
            selected = explanation.relevance > tau
            n_removed = selected.sum(dim=1)
            columns[f"removed {tau}"] = n_removed.tolist()
            at_random = chance < n_removed.unsqueeze(1)
            logits = removal_logits(explained, interpreter, selected, at_random)
            for name, after in zip(("FF", "random FF"), logits, strict=True):
                columns[f"{name} {tau}"] = (before - p(after)).tolist()
        return columns

    def random_order(
        self, condition: str, clip_ids: Sequence[str], like: Tensor
    ) -> Tensor:
        """Return a permutation of the K components for each clip, by its id alone.

        The baseline removes the first n of this order, so that a lower threshold
        removes a superset.

        Arguments
        ---------
        condition : str
        clip_ids : sequence of str
            The ids of B clips.
        like : Tensor (B, K)

        Returns
        -------
        Tensor (B, K), int64
        """
        orders = [
            torch.randperm(
                like.shape[1], generator=seeded_generator(clip_id, condition, self.seed)
            )
            for clip_id in clip_ids
        ]
        return torch.stack(orders).to(like.device)

    def more_numbers(self, scores: pd.DataFrame) -> dict:
        """Return the removal at each threshold."""
        return {"removal": [self._removal(scores, tau) for tau in self.thresholds]}

    def settings(self) -> dict:
        """Return the seed of the random baseline."""
        return {"seed": self.seed}

    def _removal(self, scores, tau):
        return {
            "tau": tau,
            "FF": statistic(values_of(scores, f"FF {tau}"), "median", scores),
            "random FF": statistic(
                values_of(scores, f"random FF {tau}"), "median", scores
            ),
            "removed": statistic(values_of(scores, f"removed {tau}"), "mean", scores),
        }

    def classes_of(self, condition: str) -> list[dict]:
        """Return the removal by class, for classes explained in enough clips."""
        if (condition, METHOD) not in self.scores:
            return []
        scores = self.scores.row(condition, METHOD)
        return [
            {
                "class": self._labels[c],
                "n_clips": len(own),
                "removal": [self._removal(own, tau) for tau in self.thresholds],
            }
            for c, own in scores.groupby("decided")
            if len(own) >= MIN_CLIPS
        ]

    def draw(self, folder: str | Path) -> None:
        """Draw the removal by class as in the paper's figure 2a, if there are tags.

        Arguments
        ---------
        folder : str or Path
            Gets ``removal_by_class_<condition>.png``, at the lowest threshold.
        """
        for condition, numbers in self.summary().items():
            classes = numbers.get("tags", {}).get("classes", [])
            if not classes:
                continue
            removed, at_random = {}, {}
            for of in classes:
                row = min(of["removal"], key=lambda row: row["tau"])
                name = f"{of['class']} ({of['n_clips']})"
                removed[name], at_random[name] = (
                    (row[key]["median"], *row[key]["interval"])
                    for key in ("FF", "random FF")
                )
            path = Path(folder) / f"removal_by_class_{condition}.png"
            with write_atomically(path) as file:
                bars_figure(
                    file,
                    {"relevant components": removed, "random components": at_random},
                    "FF, median (drop in probability)",
                    f"{condition}: components removed at τ = {row['tau']:g}, by class "
                    "(clips)",
                )


def removal_logits(
    explained: ExplainedBatch, interpreter: L2I, *selections: Tensor
) -> tuple[Tensor, ...]:
    """Return the classifier's logits for x_2 (eq. 6), for several sets of components.

    Arguments
    ---------
    explained : ExplainedBatch
    interpreter : L2I
    *selections : Tensor (B, K), bool
        The components that are removed.

    Returns
    -------
    tuple of Tensor (B, C)
        The logits of each.
    """
    inputs, classifier = [], explained.classifier
    for selected in selections:
        activations = explained.explanation.activations
        mask = soft_mask(interpreter.dictionary, activations, selected)
        n_samples = explained.wavs.shape[-1]
        x_2 = interpreter.sound(1 - mask, explained.features.stft, n_samples)
        inputs.append(classifier.inputs_of(x_2))
    return classifier.classify(*inputs)
