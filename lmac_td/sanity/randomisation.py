"""Explain the same clips with a classifier that is randomised stage by stage.

The explanation at every stage, for the class that the intact classifier decided, is
compared with the intact one. Two reference values show how low similarity can be: the
mask of another clip, and a random mask. A method whose explanation of a clip is as
similar to that of any other clip depends little on what the classifier recognises.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lmac_td.contracts import Classifier
from lmac_td.data.mixing import make_mixtures
from lmac_td.evaluation.batches import decide_batch
from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.explaining import explain
from lmac_td.evaluation.frame import ScoreFrame, values_of
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.features import SpectralFeatures
from lmac_td.files import write_atomically
from lmac_td.interpreters.base import Interpreter
from lmac_td.interpreters.baselines import RandomMask
from lmac_td.sanity.similarity import MEASURES, comparable_maps, compare_maps

INTACT = "intact"
ANOTHER_CLIP = "another clip's"
RANDOM_MASK = "a random mask"
CLASS = "p of the class"
MARKS = (ANOTHER_CLIP, RANDOM_MASK)


class Comparison:
    """Explains clips with an intact classifier, then again at every stage.

    Arguments
    ---------
    interpreters : dict of str to Interpreter
    batches : sequence of PaddedBatch
        Batches for :func:`~lmac_td.data.mixing.make_mixtures`; two clips or more.
    features : SpectralFeatures
    classifier : Classifier
        The intact classifier.
    device : str

    Attributes
    ----------
    scores : ScoreFrame
        The similarities of ``MEASURES`` and ``p of the class``, by method and stage.
        The condition of a row is its stage: ``INTACT``, one of the classifier's,
        ``ANOTHER_CLIP`` or ``RANDOM_MASK``.
    sounds : dict of str to dict of str to Tensor (frames, bins)
        |STFT(i)| of the first clip, by method and by stage.
    """

    def __init__(
        self,
        interpreters: Mapping[str, Interpreter],
        batches: Sequence,
        features: SpectralFeatures,
        classifier: Classifier,
        device: str = "cpu",
    ):
        self.interpreters, self.classifier = interpreters, classifier
        self.clip_ids = [clip_id for batch in batches for clip_id in batch.id]
        self.intact = [
            decide_batch(
                batch, make_mixtures(batch, device), features, classifier, False
            )
            for batch in batches
        ]
        self.scores = ScoreFrame()
        self.sounds = {name: {} for name in interpreters}
        self._maps = self._explain(INTACT, interpreters)
        self.add(INTACT)
        for name, maps in self._maps.items():
            other = tuple(part.roll(1, dims=0) for part in maps)
            self._score(ANOTHER_CLIP, name, other)
        random = self._explain(RANDOM_MASK, {RANDOM_MASK: RandomMask(features)})
        for name in interpreters:
            self._score(RANDOM_MASK, name, random[RANDOM_MASK])

    @property
    def inputs(self) -> list[Tensor]:
        """The classifier's inputs, (B, ...) per batch."""
        return [decided.decision.inputs for decided in self.intact]

    def add(self, stage: str) -> None:
        """Explain the clips with the classifier in its current state, and compare.

        Arguments
        ---------
        stage : str
            The stage that was randomised last, or ``INTACT``.
        """
        maps = self._maps
        if stage != INTACT:
            maps = self._explain(stage, self.interpreters)
        for name in self.interpreters:
            self._score(stage, name, maps[name])

    @torch.no_grad()
    def _explain(self, stage, interpreters):
        """Return the maps of all clips by method, from :func:`comparable_maps`."""
        parts = {name: [] for name in interpreters}
        p = []
        for intact in self.intact:
            target = intact.decision.target
            decision = replace(self.classifier(intact.decision.inputs), target=target)
            decided = replace(intact, decision=decision)
            p.append(decision.probabilities.gather(1, target.unsqueeze(1)))
            for name, interpreter in interpreters.items():
                explained = explain(decided, interpreter)
                if name in self.sounds and not parts[name]:
                    sound = explained.explanation.magnitude[0]
                    self.sounds[name][stage] = sound.cpu()
                parts[name].append(comparable_maps(explained))
        self._p = torch.cat(p).squeeze(1).tolist()
        return {
            name: tuple(torch.cat(part) for part in zip(*batches, strict=True))
            for name, batches in parts.items()
        }

    def _score(self, stage, name, maps):
        columns = {"clip_id": self.clip_ids} | compare_maps(self._maps[name], maps)
        self.scores.append(stage, name, columns | {CLASS: self._p})


Summary = dict[str, dict[str, dict[str, tuple[float, float, float]]]]


def summarise_stages(scores: ScoreFrame) -> Summary:
    """Return the mean over clips and its 95 % interval of every measure.

    Arguments
    ---------
    scores : ScoreFrame
        Scores of a :class:`Comparison`, after all stages.

    Returns
    -------
    dict of str to dict of str to dict of str to (float, float, float)
        By method, stage and measure. Stages keep their order; the two reference values
        are last.
    """
    summary = {}
    for stage in sorted(scores.conditions, key=MARKS.__contains__):  # stable
        for method, clips in scores.methods(stage).items():
            summary.setdefault(method, {})[stage] = {
                measure: summarise(values_of(clips, measure))
                for measure in (*MEASURES, CLASS)
            }
    return summary


def stages_to_markdown(summary: Summary) -> str:
    """Return a section per method, with a line per stage.

    Arguments
    ---------
    summary : dict
        The result of :func:`summarise_stages`.
    """
    sections = []
    for method, rows in summary.items():
        lines = [
            [row, *(f"{v:.3f} [{a:.3f}, {b:.3f}]" for v, a, b in measures.values())]
            for row, measures in rows.items()
        ]
        head = ["randomised down to", *MEASURES, CLASS]
        sections.append(f"### {method}\n\n{markdown_table(head, lines)}")
    return "\n".join(sections)


def clips_to_csv(path: str | Path, scores: ScoreFrame) -> None:
    """Write every clip's scores, one line per method, stage and clip.

    Arguments
    ---------
    path : str or Path
        The file to write; its folders are created.
    scores : ScoreFrame
        Scores of a :class:`Comparison`.
    """
    lines = scores.frame.rename(columns={"condition": "stage"})
    with write_atomically(path, "w", encoding="utf-8", newline="") as file:
        lines.to_csv(
            file,
            columns=["method", "stage", "clip_id", *MEASURES, CLASS],
            index=False,
            lineterminator="\n",
        )
