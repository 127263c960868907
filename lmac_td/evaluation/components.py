"""L2I's method-specific table: fidelity of Theta, and removal of components.

Parekh et al. ("Listen to Interpret"), section 4.1. *Fidelity* is how well Theta agrees
with the classifier: top-k is the share of clips whose decided class is among Theta's k
most probable. A classifier of tags also has macro and micro AUPRC and
the maximal micro F1 over all clips, see :mod:`lmac_td.evaluation.tag_fidelity`.
*Faithfulness* removes the selected components from the sound::

    FF_x = f(x)_c - f(x_2)_c,   x_2 = INV(X - sum of X_l over r_l > tau, phase)   (6)

and is reported as its median, for several thresholds tau, for tags also by class
(section 4.4, figure 2a). A random baseline removes as many components of the same clip,
drawn from the whole dictionary.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lmac_td.contracts import ExplainedBatch
from lmac_td.evaluation.batches import DecidedBatch
from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.components_markdown import components_to_markdown
from lmac_td.evaluation.frame import ScoreFrame, n_clips, values_of
from lmac_td.evaluation.tag_fidelity import MIN_CLIPS, tag_fidelity
from lmac_td.files import write_atomically
from lmac_td.interpreters.l2i import L2I, require_threshold, soft_mask
from lmac_td.metrics.confidence import of_class
from lmac_td.random import seeded_generator

TOP_K = (1, 3, 5)
METHOD = "L2I"


class ComponentTable:
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
        The rows of the method ``L2I``: the rank of the explained class among
        Theta's logits, and at each threshold the number of components removed, FF and
        the random baseline's FF.
    tags : ScoreFrame
        For a classifier of tags, a line per clip: whether the classifier decides each
        tag (``decided 0``, ...) and Theta's probability of it (``theta 0``, ...).
    """

    def __init__(self, thresholds: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9), seed=0):
        for threshold in thresholds:
            require_threshold("thresholds", threshold)
        self.thresholds = tuple(thresholds)
        self.seed = seed
        self.scores = ScoreFrame()
        self.tags = ScoreFrame()
        self._labels = ()
        self._with_tags = {}  # ids of the clips in `tags`, by condition
        self._fidelity = {}

    @torch.no_grad()
    def add(
        self,
        condition: str,
        decided: DecidedBatch,
        explained: ExplainedBatch,
        interpreter: L2I,
    ) -> None:
        """Measure an explained batch.

        Arguments
        ---------
        condition : str
        decided : DecidedBatch
        explained : ExplainedBatch
            It holds an :class:`~lmac_td.interpreters.l2i.L2IExplanation`.
        interpreter : L2I
            The one that explained the batch.
        """
        explanation, target = explained.explanation, explained.decision.target
        classifier = explained.classifier
        columns = {
            "clip_id": decided.clip_ids,
            "decided": target.tolist(),
            "rank": rank_of_class(explanation.class_logits, target).tolist(),
        }

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
        self.scores.append(condition, METHOD, columns)
        self._add_tags(condition, decided, explanation.class_logits)

    @torch.no_grad()
    def add_without_target(
        self, condition: str, decided: DecidedBatch, interpreter: L2I
    ) -> None:
        """Add clips in which no tag reaches its threshold to the fidelity.

        They have no explanation, but Theta may find a tag in them. So only Psi and
        Theta run.

        Arguments
        ---------
        condition : str
        decided : DecidedBatch
            One entry per clip.
        interpreter : L2I
        """
        activations = interpreter.psi(
            decided.decision.representations,
            n_samples=decided.wavs.shape[-1],
            n_frames=decided.features.magnitude.shape[1],
        )
        class_logits, _ = interpreter.theta(activations.float())
        self._add_tags(condition, decided, class_logits)

    def _add_tags(self, condition, decided, class_logits):
        """Add the clips that are not in ``tags``: a clip has an entry for each tag."""
        classifier = decided.decision.classifier
        if classifier.activation != "sigmoid":
            return
        self._labels = classifier.labels
        seen = self._with_tags.setdefault(condition, set())
        places = [
            place
            for place, clip_id in enumerate(decided.clip_ids)
            if clip_id not in seen and clip_id not in decided.clip_ids[:place]
        ]
        clip_ids = [decided.clip_ids[place] for place in places]
        if not clip_ids:
            return
        seen.update(clip_ids)
        tags = decided.decision.probabilities[places] >= classifier.threshold
        theta = classifier.probabilities(class_logits[places])
        columns = {"clip_id": clip_ids}
        columns |= {f"decided {c}": column for c, column in _by_class(tags.int())}
        columns |= {f"theta {c}": column for c, column in _by_class(theta.double())}
        self.tags.append(condition, METHOD, columns)

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

    def summary(self) -> dict:
        """Return all numbers, by condition, ready for JSON.

        Each number has its 95 % bootstrap interval over clips, where there is one.
        """
        conditions = dict.fromkeys([*self.scores.conditions, *self.tags.conditions])
        return {condition: self._summary_of(condition) for condition in conditions}

    def _summary_of(self, condition):
        found = {}
        if (condition, METHOD) in self.scores:
            scores = self.scores.row(condition, METHOD)
            found = {
                "n_clips": n_clips(scores),
                "fidelity (%)": {
                    f"top-{k}": _statistic(
                        100.0 * (values_of(scores, "rank") < k), "mean", scores
                    )
                    for k in TOP_K
                },
                "removal": [self._removal(scores, tau) for tau in self.thresholds],
            }
        if (condition, METHOD) in self.tags:
            found["tags"] = self._tags_of(condition)
        return found

    def _removal(self, scores, tau):
        return {
            "tau": tau,
            "FF": _statistic(values_of(scores, f"FF {tau}"), "median", scores),
            "random FF": _statistic(
                values_of(scores, f"random FF {tau}"), "median", scores
            ),
            "removed": _statistic(values_of(scores, f"removed {tau}"), "mean", scores),
        }

    def _tags_of(self, condition):
        # This order does not depend on the batches; the bootstrap draws by position.
        tags = self.tags.row(condition, METHOD).sort_values("clip_id")
        classes = range(len(self._labels))
        decided, theta = (
            np.stack([values_of(tags, f"{kind} {c}") for c in classes], axis=1)
            for kind in ("decided", "theta")
        )
        decided = decided.astype(bool)
        if self._fidelity.get(condition, (0,))[0] != len(tags):
            self._fidelity[condition] = len(tags), tag_fidelity(decided, theta)
        return {
            "n_clips": len(tags),
            "fidelity": {
                name: {"value": _or_none(value), "interval": [*map(_or_none, ends)]}
                for name, (value, *ends) in self._fidelity[condition][1].items()
            },
            "n_classes": len(classes),
            "n_classes decided in two clips": int(
                (decided.sum(axis=0) >= MIN_CLIPS).sum()
            ),
            "classes": self._classes_of(condition),
        }

    def _classes_of(self, condition):
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

    def to_markdown(self) -> str:
        """Return one section per condition, and one more if there are tags."""
        return components_to_markdown(self.summary())

    def to_json(self, path: str | Path) -> None:
        """Write settings and numbers.

        Arguments
        ---------
        path : str or Path
            The file to write. Its folders are created.
        """
        content = {
            "seed": self.seed,
            "conditions": self.summary(),
        }
        with write_atomically(path, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2, allow_nan=False)
            file.write("\n")


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


def rank_of_class(logits: Tensor, c: Tensor) -> Tensor:
    """Return the rank of c (B,) in logits (B, C), from 0; ties go to lower indices.

    Example
    -------
    >>> rank_of_class(torch.tensor([[0.1, 0.7, 0.7]]), torch.tensor([2]))
    tensor([1])
    """
    own = logits.gather(1, c.unsqueeze(1))
    earlier = torch.arange(logits.shape[1], device=c.device) < c.unsqueeze(1)
    return ((logits > own) | ((logits == own) & earlier)).sum(dim=1)


def _by_class(values):
    """Return columns (B,) of (B, C), as lists, by the number of their class."""
    return enumerate(values.T.tolist())


def _statistic(values, statistic, scores):
    """Return a statistic and its interval over clips; null if there is none."""
    value, low, high = summarise(values, statistic, clips=scores["clip_id"].tolist())
    return {statistic: value, "interval": [_or_none(low), _or_none(high)]}


def _or_none(value):
    return None if math.isnan(value) else value
