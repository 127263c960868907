"""Explain the same clips with a classifier that is randomised stage by stage.

The explanation at every stage, for the class that the intact classifier decided, is
compared with the intact one.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lmac_td.contracts import Classifier
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.base import Interpreter
from lmac_td.sanity.comparison import (
    INTACT,
    MapComparison,
    decide_batches,
    with_target,
)

CLASS = "p of the class"


class Comparison(MapComparison):
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
    """

    def __init__(
        self,
        interpreters: Mapping[str, Interpreter],
        batches: Sequence,
        features: SpectralFeatures,
        classifier: Classifier,
        device: str = "cpu",
    ):
        self.classifier = classifier
        super().__init__(
            interpreters, decide_batches(batches, features, classifier, device)
        )
        self.add(INTACT)
        self.score_references(features, {CLASS: self.class_probabilities(self.decided)})

    @property
    def inputs(self) -> list[Tensor]:
        """The classifier's inputs, (B, ...) per batch."""
        return [decided.decision.inputs for decided in self.decided]

    @torch.no_grad()
    def add(self, stage: str) -> None:
        """Explain the clips with the classifier in its current state, and compare.

        Arguments
        ---------
        stage : str
            The stage that was randomised last, or ``INTACT``.
        """
        decided = self.decided
        if stage != INTACT:
            decided = [
                with_target(intact, self.classifier(intact.decision.inputs), intact)
                for intact in decided
            ]
        self.score(stage, decided, {CLASS: self.class_probabilities(decided)})
