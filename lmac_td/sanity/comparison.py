"""Explain the same clips several times, and compare the maps with the first ones.

Two reference values show how low similarity can be: the mask of another clip, and a
random mask. A method whose explanation of a clip is as similar to that of any other
clip depends little on the clip or the classifier.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lmac_td.contracts import Classifier, Decision
from lmac_td.data.mixing import make_mixtures
from lmac_td.evaluation.batches import DecidedBatch, decide_batch
from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.explaining import explain
from lmac_td.evaluation.frame import ScoreFrame, values_of
from lmac_td.evaluation.markdown import markdown_table, with_interval
from lmac_td.features import SpectralFeatures
from lmac_td.files import write_atomically
from lmac_td.interpreters.base import Interpreter
from lmac_td.interpreters.baselines import RandomMask
from lmac_td.sanity.similarity import comparable_maps, compare_maps

INTACT = "intact"
ANOTHER_CLIP = "another clip's"
RANDOM_MASK = "a random mask"
MARKS = (ANOTHER_CLIP, RANDOM_MASK)


def decide_batches(
    batches: Sequence,
    features: SpectralFeatures,
    classifier: Classifier,
    device: str = "cpu",
) -> list[DecidedBatch]:
    """Mix loaded batches and let the classifier decide.

    Arguments
    ---------
    batches : sequence of PaddedBatch
        Batches for :func:`~lmac_td.data.mixing.make_mixtures`.
    features : SpectralFeatures
    classifier : Classifier
    device : str
    """
    return [
        decide_batch(batch, make_mixtures(batch, device), features, classifier, False)
        for batch in batches
    ]


def with_target(
    decided: DecidedBatch, decision: Decision, intact: DecidedBatch
) -> DecidedBatch:
    """Return a batch with another decision, and the explained class of the intact one.

    Arguments
    ---------
    decided : DecidedBatch
    decision : Decision
    intact : DecidedBatch
        Its class is explained.
    """
    return replace(decided, decision=replace(decision, target=intact.decision.target))


class MapComparison:
    """Explains clips, then again under changed circumstances, and compares the maps.

    Arguments
    ---------
    interpreters : dict of str to Interpreter
    decided : sequence of DecidedBatch
        Batches as the first explanation takes them; two clips or more.

    Attributes
    ----------
    scores : ScoreFrame
        The similarities of ``MEASURES`` and further columns, by method and stage; the
        condition of a row is its stage.
    sounds : dict of str to dict of str to Tensor (frames, bins)
        |STFT(i)| of the first clip, by method and by stage.
    """

    def __init__(
        self, interpreters: Mapping[str, Interpreter], decided: Sequence[DecidedBatch]
    ):
        self.interpreters, self.decided = interpreters, list(decided)
        self.clip_ids = [clip_id for batch in decided for clip_id in batch.clip_ids]
        self.scores = ScoreFrame()
        self.sounds = {name: {} for name in interpreters}
        self._maps = self._explain(INTACT, self.decided, interpreters)

    def score(
        self,
        stage: str,
        decided: Sequence[DecidedBatch],
        columns: Mapping[str, list],
        counts: Tensor | None = None,
    ) -> None:
        """Explain the clips again, and compare the maps with the first ones.

        Arguments
        ---------
        stage : str
        decided : sequence of DecidedBatch
            The same clips as in the constructor, in the same order; if they are the
            same batches, they are not explained again.
        columns : mapping of str to list
            Further columns, a value for each clip.
        counts : Tensor (N,), bool, optional
            Clips to compare; for the others, the similarities are NaN.
        """
        maps = self._maps
        if decided is not self.decided:
            maps = self._explain(stage, decided, self.interpreters)
        for name in self.interpreters:
            self._score(stage, name, maps[name], columns, counts)

    def score_references(
        self, features: SpectralFeatures, columns: Mapping[str, list]
    ) -> None:
        """Compare with the mask of another clip, and with a random mask.

        Arguments
        ---------
        features : SpectralFeatures
        columns : mapping of str to list
            As for :meth:`score`.
        """
        for name, maps in self._maps.items():
            other = tuple(part.roll(1, dims=0) for part in maps)
            self._score(ANOTHER_CLIP, name, other, columns)
        reference = {RANDOM_MASK: RandomMask(features)}
        random = self._explain(RANDOM_MASK, self.decided, reference)[RANDOM_MASK]
        for name in self.interpreters:
            self._score(RANDOM_MASK, name, random, columns)

    def class_probabilities(self, decided: Sequence[DecidedBatch]) -> list[float]:
        """Return the probability of the explained class, for each clip."""
        decisions = [batch.decision for batch in decided]
        p = [d.probabilities.gather(1, d.target.unsqueeze(1)) for d in decisions]
        return torch.cat(p).squeeze(1).tolist()

    @torch.no_grad()
    def _explain(self, stage, decided, interpreters):
        """Return the maps of all clips by method, from :func:`comparable_maps`."""
        parts = {name: [] for name in interpreters}
        for batch in decided:
            for name, interpreter in interpreters.items():
                explained = explain(batch, interpreter)
                if name in self.sounds and not parts[name]:
                    sound = explained.explanation.magnitude[0]
                    self.sounds[name][stage] = sound.cpu()
                parts[name].append(comparable_maps(explained))
        return {
            name: tuple(torch.cat(part) for part in zip(*batches, strict=True))
            for name, batches in parts.items()
        }

    def _score(
        self,
        stage: str,
        name: str,
        maps: tuple[Tensor, Tensor, Tensor],
        columns: Mapping[str, list],
        counts: Tensor | None = None,
    ):
        found = compare_maps(self._maps[name], maps)
        if counts is not None:
            found = {
                measure: values.where(counts, torch.nan)
                for measure, values in found.items()
            }
        self.scores.append(stage, name, {"clip_id": self.clip_ids} | found | columns)


Summary = dict[str, dict[str, dict[str, tuple[float, float, float]]]]


def summarise_stages(scores: ScoreFrame) -> Summary:
    """Return the mean over clips and its 95 % interval of every column.

    Arguments
    ---------
    scores : ScoreFrame
        Scores of a :class:`MapComparison`, after all stages.

    Returns
    -------
    dict of str to dict of str to dict of str to (float, float, float)
        By method, stage and column. Stages keep their order; the two reference values
        are last.
    """
    summary = {}
    for stage in sorted(scores.conditions, key=MARKS.__contains__):  # stable
        for method, clips in scores.methods(stage).items():
            summary.setdefault(method, {})[stage] = {
                column: summarise(values_of(clips, column))
                for column in clips
                if column != "clip_id"
            }
    return summary


def stages_to_markdown(summary: Summary, title: str = "randomised down to") -> str:
    """Return a section per method, with a line per stage.

    Arguments
    ---------
    summary : dict
        The result of :func:`summarise_stages`.
    title : str
        Title of the column of stages.
    """
    sections = []
    for method, rows in summary.items():
        lines = [
            [row, *(with_interval(*values, 3) for values in columns.values())]
            for row, columns in rows.items()
        ]
        head = [title, *next(iter(rows.values()))]
        sections.append(f"### {method}\n\n{markdown_table(head, lines)}")
    return "\n".join(sections)


def clips_to_csv(path: str | Path, scores: ScoreFrame) -> None:
    """Write every clip's scores, one line per method, stage and clip.

    Arguments
    ---------
    path : str or Path
        The file to write; its folders are created.
    scores : ScoreFrame
        Scores of a :class:`MapComparison`.
    """
    lines = scores.frame.rename(columns={"condition": "stage"})
    first = ["method", "stage", "clip_id"]
    columns = first + [name for name in lines if name not in first]
    with write_atomically(path, "w", encoding="utf-8", newline="") as file:
        lines.to_csv(file, columns=columns, index=False, lineterminator="\n")
