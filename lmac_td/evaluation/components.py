"""L2I's own table: does Theta answer as the classifier does, and do patterns matter?

Parekh et al., section 4.1. Top-k fidelity is the share of clips whose decided class is
among Theta's k likeliest. Faithfulness takes the selected patterns out of the sound,

    FF_x = f(x)_c - f(x_2)_c,   x_2 = INV(X - sum of X_l over r_l > tau, phase)   (6)

and is told as its median, for several thresholds tau, beside a random baseline: as many
patterns of the same clip, chosen by chance among all of the dictionary.
"""

import json
import math

import torch

from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.frame import n_clips
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.evaluation.table import ClipScores
from lmac_td.files import write_atomically
from lmac_td.interpreters.l2i import require_threshold, soft_mask
from lmac_td.metrics.confidence import of_class
from lmac_td.random import seeded_generator

TOP_K = (1, 3, 5)


class ComponentTable:
    """Fidelity of Theta, and faithfulness by removal of patterns, by condition.

    Arguments
    ---------
    thresholds : sequence of float
        tau, each in [-1, 1).
    seed : int
        Of the random baseline.

    Raises
    ------
    SettingError
        If a threshold is none of these.

    Attributes
    ----------
    scores : dict of str to ClipScores
        By condition: a clip's rank of the decided class in Theta's answer, and at each
        threshold the number of patterns removed, FF and the random baseline's FF.
    """

    def __init__(self, thresholds=(0.1, 0.3, 0.5, 0.7, 0.9), seed=0):
        for threshold in thresholds:
            require_threshold("thresholds", threshold)
        self.thresholds = tuple(thresholds)
        self.seed = seed
        self.scores = {}

    @torch.no_grad()
    def add(self, condition, decided, explained, interpreter):
        """Measure an explained batch.

        Arguments
        ---------
        condition : str
            Name of the mixtures.
        decided : DecidedBatch
        explained : ExplainedBatch
            With an :class:`~lmac_td.interpreters.l2i.L2IExplanation`.
        interpreter : L2I
            That made it.
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
        self.scores.setdefault(condition, ClipScores()).extend(columns)

    def random_order(self, condition, clip_ids, like):
        """A permutation of the K patterns for each clip (B, K), by its id alone.

        The first n are what the baseline removes, so that a lower threshold removes
        more of the same.
        """
        orders = [
            torch.randperm(
                like.shape[1], generator=seeded_generator(clip_id, condition, self.seed)
            )
            for clip_id in clip_ids
        ]
        return torch.stack(orders).to(like.device)

    def summary(self):
        """All numbers, by condition, ready for json.

        Returns
        -------
        dict
            Each number with its 95 % bootstrap interval over clips, where it has one.
        """
        return {c: self._summary_of(scores) for c, scores in self.scores.items()}

    def _summary_of(self, scores):
        clips = scores.columns["clip_id"]

        def number(values, statistic):
            return _number(values, statistic, clips)

        return {
            "n_clips": n_clips(scores),
            "fidelity (%)": {
                f"top-{k}": number(100.0 * (scores.values("rank") < k), "mean")
                for k in TOP_K
            },
            "removal": [
                {
                    "tau": tau,
                    "FF": number(scores.values(f"FF {tau}"), "median"),
                    "random FF": number(scores.values(f"random FF {tau}"), "median"),
                    "removed": number(scores.values(f"removed {tau}"), "mean"),
                }
                for tau in self.thresholds
            ],
        }

    def to_markdown(self):
        """One section a condition, two tables each."""
        sections = []
        for condition, numbers in self.summary().items():
            fidelity = numbers["fidelity (%)"]
            removal = [
                [
                    f"{row['tau']:g}",
                    f"{row['FF']['median']:.3f}",
                    f"{row['random FF']['median']:.3f}",
                    f"{row['removed']['mean']:.1f}",
                ]
                for row in numbers["removal"]
            ]
            sections.append(
                f"### {condition}: fidelity, and removal of components\n\n"
                + markdown_table(
                    [*(f"{k} fidelity (%) ↑" for k in fidelity), "clips"],
                    [
                        [
                            *(f"{value['mean']:.1f}" for value in fidelity.values()),
                            str(numbers["n_clips"]),
                        ]
                    ],
                )
                + "\n"
                + markdown_table(
                    ["τ", "FF median ↑", "FF median, random", "removed"], removal
                )
            )
        return "\n".join(sections)

    def to_json(self, path):
        """Write settings and numbers.

        Arguments
        ---------
        path : str or Path
            Folders are made.
        """
        content = {
            "seed": self.seed,
            "conditions": self.summary(),
        }
        with write_atomically(path, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2, allow_nan=False)
            file.write("\n")


def removal_logits(explained, interpreter, *selections):
    """What the classifier makes of x_2 (eq. 6), for several sets of patterns.

    Arguments
    ---------
    explained : ExplainedBatch
    interpreter : L2I
    *selections : Tensor (B, K), bool
        The patterns that are removed.

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


def rank_of_class(logits, c):
    """How many classes come before c (B,) in logits (B, C); of ties, the first ones.

    Example
    -------
    >>> rank_of_class(torch.tensor([[0.1, 0.7, 0.7]]), torch.tensor([2]))
    tensor([1])
    """
    own = logits.gather(1, c.unsqueeze(1))
    earlier = torch.arange(logits.shape[1], device=c.device) < c.unsqueeze(1)
    return ((logits > own) | ((logits == own) & earlier)).sum(dim=1)


def _number(values, statistic, clips):
    """A statistic, and its interval over clips; null where there is none."""
    value, low, high = summarise(values, statistic, clips=clips)
    interval = [None if math.isnan(end) else end for end in (low, high)]
    return {statistic: value, "interval": interval}
