"""The table of a surrogate: how well it agrees with the classifier, by condition.

A surrogate is a model that imitates the classifier, see
:mod:`lmac_td.metrics.fidelity`. Parekh et al. ("Listen to Interpret"), section 4.1:
top-k fidelity is the share of clips whose decided class is among the surrogate's k most
probable. A classifier of tags also has macro and micro AUPRC and the maximal micro F1
over all clips, see :mod:`lmac_td.evaluation.tag_fidelity`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lmac_td.contracts import ExplainedBatch
from lmac_td.evaluation.batches import DecidedBatch
from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.components_markdown import components_to_markdown
from lmac_td.evaluation.frame import ScoreFrame, n_clips, values_of
from lmac_td.evaluation.shards import join_frames, save_frame
from lmac_td.evaluation.tag_fidelity import MIN_CLIPS, tag_fidelity
from lmac_td.files import write_atomically
from lmac_td.interpreters.base import Interpreter
from lmac_td.metrics.fidelity import TOP_K, rank_of_class
from lmac_td.reading import read_json

METHOD = "surrogate"


class FidelityTable:
    """Fidelity of a method's surrogate, by condition.

    The interpreter must return a :class:`~lmac_td.contracts.SurrogateExplanation` and
    have a method ``class_logits(wavs, features, decision)``, which gives the
    surrogate's logits alone.

    Arguments
    ---------
    surrogate : str
        The name of the surrogate in the printed table.

    Attributes
    ----------
    scores : ScoreFrame
        The explained class and its rank among the surrogate's logits.
    tags : ScoreFrame
        For a classifier of tags, a line per clip: whether the classifier decides each
        tag (``decided 0``, ...) and the surrogate's probability of it (``theta 0``,
        ...).
    """

    def __init__(self, surrogate: str = METHOD) -> None:
        self.surrogate = surrogate
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
        interpreter: Interpreter,
    ) -> None:
        """Measure an explained batch.

        Arguments
        ---------
        condition : str
        decided : DecidedBatch
        explained : ExplainedBatch
        interpreter : Interpreter
            The one that explained the batch.
        """
        class_logits = explained.explanation.class_logits
        target = explained.decision.target
        columns = {
            "clip_id": decided.clip_ids,
            "decided": target.tolist(),
            "rank": rank_of_class(class_logits, target).tolist(),
            **self.more_columns(condition, decided, explained, interpreter),
        }
        self.scores.append(condition, METHOD, columns)
        self._add_tags(condition, decided, class_logits)

    def more_columns(
        self,
        condition: str,
        decided: DecidedBatch,
        explained: ExplainedBatch,
        interpreter: Interpreter,
    ) -> dict[str, list]:
        """Return further columns of an explained batch; none by default."""
        return {}

    @torch.no_grad()
    def add_without_target(
        self, condition: str, decided: DecidedBatch, interpreter: Interpreter
    ) -> None:
        """Add clips in which no tag reaches its threshold to the fidelity.

        They have no explanation, but the surrogate may find a tag in them. So only the
        surrogate runs.

        Arguments
        ---------
        condition : str
        decided : DecidedBatch
            One entry per clip.
        interpreter : Interpreter
        """
        class_logits = interpreter.class_logits(
            decided.wavs, decided.features, decided.decision
        )
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

    def save_part(self, folder: Path) -> None:
        """Write what a shard of an evaluation added, for :meth:`join_parts`.

        Arguments
        ---------
        folder : Path
        """
        save_frame(self.scores, folder / "scores")
        save_frame(self.tags, folder / "tags")
        with write_atomically(folder / "labels.json", "w", encoding="utf-8") as file:
            json.dump(list(self._labels), file)

    def join_parts(
        self, folders: Sequence[Path], clips: Mapping[str, Sequence[str]]
    ) -> None:
        """Fill the table with what all shards of an evaluation added.

        Arguments
        ---------
        folders : sequence of Path
            See :meth:`save_part`.
        clips : dict of str to sequence of str
            The clips of each condition in the order of one process.
        """
        for name in ("scores", "tags"):
            frame = ScoreFrame()
            join_frames(frame, [folder / name for folder in folders], clips)
            setattr(self, name, frame)
        self._with_tags = {
            condition: set(tags["clip_id"])
            for (condition, _), tags in self.tags.rows.items()
        }
        for folder in folders:
            labels = read_json(folder / "labels.json", list)
            self._labels = tuple(labels) or self._labels

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
                    f"top-{k}": statistic(
                        100.0 * (values_of(scores, "rank") < k), "mean", scores
                    )
                    for k in TOP_K
                },
                **self.more_numbers(scores),
            }
        if (condition, METHOD) in self.tags:
            found["tags"] = self._tags_of(condition)
        return found

    def more_numbers(self, scores: pd.DataFrame) -> dict:
        """Return further numbers of a condition's scores; none by default."""
        return {}

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
            "classes left out": [
                self._labels[c] for c in classes if decided[:, c].sum() < MIN_CLIPS
            ],
            "classes": self.classes_of(condition),
        }

    def classes_of(self, condition: str) -> list[dict]:
        """Return numbers by class; none by default."""
        return []

    def to_markdown(self) -> str:
        """Return one section per condition, and one more if there are tags."""
        return components_to_markdown(self.summary(), self.surrogate)

    def to_json(self, path: str | Path) -> None:
        """Write settings and numbers.

        Arguments
        ---------
        path : str or Path
            The file to write. Its folders are created.
        """
        content = {**self.settings(), "conditions": self.summary()}
        with write_atomically(path, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2, allow_nan=False)
            file.write("\n")

    def settings(self) -> dict:
        """Return the settings that are written with the numbers; none by default."""
        return {}


def _by_class(values):
    """Return columns (B,) of (B, C), as lists, by the number of their class."""
    return enumerate(values.T.tolist())


def statistic(values: np.ndarray, name: str, scores: pd.DataFrame) -> dict:
    """Return a statistic, by its name, and its interval over clips.

    The interval is null if there is none.
    """
    value, low, high = summarise(values, name, clips=scores["clip_id"].tolist())
    return {name: value, "interval": [_or_none(low), _or_none(high)]}


def _or_none(value):
    return None if math.isnan(value) else value
