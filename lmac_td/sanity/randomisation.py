"""Explanations of the same clips by a classifier that forgets, stage by stage.

What every stage says of a clip, for the class that the intact classifier decided, is
compared with what the intact one said. How low can similarity be? That of the masks of
two different clips is the mark to read it against: a method whose explanation of a clip
resembles that of any other clip cannot depend much on what the classifier finds in it.
"""

from dataclasses import replace

import torch

from lmac_td.data.mixing import make_mixtures
from lmac_td.evaluation import loop
from lmac_td.evaluation.table import markdown_table, summarise
from lmac_td.interpreters.baselines import RandomMask
from lmac_td.sanity.similarity import MEASURES, compare_maps, maps_of

INTACT = "intact"
ANOTHER_CLIP = "another clip's"
RANDOM_MASK = "a random mask"
CLASS = "p of the class"
MARKS = (ANOTHER_CLIP, RANDOM_MASK)


class Comparison:
    """Explains some clips with an intact classifier, then again at every stage.

    Arguments
    ---------
    interpreters : dict of str to Interpreter
    batches : sequence of PaddedBatch
        As :func:`~lmac_td.data.mixing.make_mixtures` takes them; two clips or more.
    features : SpectralFeatures
    classifier : Classifier
        Intact.
    device : str

    Attributes
    ----------
    records : list of dict
        ``method``, ``stage`` (``INTACT``, one of the classifier's, ``ANOTHER_CLIP`` or
        ``RANDOM_MASK``), ``clip_id``, ``p of the class`` and the
        similarities of ``MEASURES``.
    sounds : dict of str to dict of str to Tensor (frames, bins)
        |STFT(i)| of the first clip, by method and by stage.
    """

    def __init__(self, interpreters, batches, features, classifier, device="cpu"):
        self.interpreters, self.classifier = interpreters, classifier
        self.clip_ids = [clip_id for batch in batches for clip_id in batch.id]
        self.intact = [
            loop.decide_batch(
                batch, make_mixtures(batch, device), features, classifier, False
            )
            for batch in batches
        ]
        self.records = []
        self.sounds = {name: {} for name in interpreters}
        self._maps = self._explain(INTACT, interpreters)
        self.add(INTACT)
        for name, maps in self._maps.items():
            other = tuple(part.roll(1, dims=0) for part in maps)
            self._record(name, ANOTHER_CLIP, other)
        random = self._explain(RANDOM_MASK, {RANDOM_MASK: RandomMask(features)})
        for name in interpreters:
            self._record(name, RANDOM_MASK, random[RANDOM_MASK])

    @property
    def inputs(self):
        """What the classifier is given, (B, ...) a batch."""
        return [decided.decision.inputs for decided in self.intact]

    def add(self, stage):
        """Explain the clips with the classifier as it now is, and compare.

        Arguments
        ---------
        stage : str
            How it now is.
        """
        maps = self._maps
        if stage != INTACT:
            maps = self._explain(stage, self.interpreters)
        for name in self.interpreters:
            self._record(name, stage, maps[name])

    @torch.no_grad()
    def _explain(self, stage, interpreters):
        """Maps of all clips by method, each as of :func:`maps_of`."""
        parts = {name: [] for name in interpreters}
        p = []
        for intact in self.intact:
            target = intact.decision.target
            decision = replace(self.classifier(intact.decision.inputs), target=target)
            decided = replace(intact, decision=decision)
            p.append(decision.probabilities.gather(1, target.unsqueeze(1)))
            for name, interpreter in interpreters.items():
                explained = loop.explain(decided, interpreter)
                if name in self.sounds and not parts[name]:
                    sound = explained.explanation.magnitude[0]
                    self.sounds[name][stage] = sound.cpu()
                parts[name].append(maps_of(explained))
        self._p = torch.cat(p).squeeze(1).tolist()
        return {
            name: tuple(torch.cat(part) for part in zip(*batches, strict=True))
            for name, batches in parts.items()
        }

    def _record(self, name, stage, maps):
        scores = compare_maps(self._maps[name], maps)
        for place, clip_id in enumerate(self.clip_ids):
            record = {"method": name, "stage": stage, "clip_id": clip_id}
            record |= {measure: float(scores[measure][place]) for measure in MEASURES}
            self.records.append(record | {CLASS: self._p[place]})


def summarise_stages(records):
    """Mean over clips and its 95 % interval, of every measure at every stage.

    Arguments
    ---------
    records : list of dict
        Of :class:`Comparison`, after all stages.

    Returns
    -------
    dict of str to dict of str to dict of str to (float, float, float)
        By method, by stage in the order in which they were added, the two marks last,
        by measure.
    """
    values = {}
    for record in records:
        stages = values.setdefault(record["method"], {})
        row = stages.setdefault(record["stage"], {})
        for measure in (*MEASURES, CLASS):
            row.setdefault(measure, []).append(record[measure])
    return {
        method: {
            stage: {measure: summarise(c) for measure, c in stages[stage].items()}
            for stage in sorted(stages, key=MARKS.__contains__)  # stable: marks last
        }
        for method, stages in values.items()
    }


def stages_to_markdown(summary):
    """One section a method, one line a stage."""
    sections = []
    for method, rows in summary.items():
        lines = [
            [row, *(f"{v:.3f} [{a:.3f}, {b:.3f}]" for v, a, b in measures.values())]
            for row, measures in rows.items()
        ]
        head = ["randomised down to", *MEASURES, CLASS]
        sections.append(f"### {method}\n\n{markdown_table(head, lines)}")
    return "\n".join(sections)
