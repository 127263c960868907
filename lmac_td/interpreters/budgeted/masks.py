"""The mask of any other method, as scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lmac_td.contracts import Classifier, Decision
from lmac_td.features import Features, SpectralFeatures
from lmac_td.interpreters.base import Interpreter
from lmac_td.interpreters.budgeted.base import Budgeted
from lmac_td.interpreters.budgeted.scores import Relevance
from lmac_td.metrics.signal import kept_gain


class OfInterpreter(Relevance):
    """The gain |STFT(i)| / |X| of another method's interpretation, as relevance.

    So every method, such as an attribution, LMAC-TD or L-MAC, can be cut to a size.

    Arguments
    ---------
    features : SpectralFeatures
    interpreter : Interpreter
        The other method.
    kernels : sequence of pairs of float
        See :class:`Relevance`; by default no smoothing.
    """

    def __init__(
        self,
        features: SpectralFeatures,
        interpreter: Interpreter,
        kernels: Sequence[Sequence[float]] = ((1, 1),),
    ) -> None:
        super().__init__(features, kernels)
        self.interpreter = interpreter

    def check(self, classifier: Classifier) -> None:
        """See :meth:`Scores.check`."""
        self.interpreter.check(classifier)

    def relevance(self, wavs: Tensor, features: Features, decision: Decision) -> Tensor:
        """See :meth:`Relevance.relevance`."""
        explanation = self.interpreter(wavs, features, decision)
        if explanation.mask.shape == features.magnitude.shape:
            return explanation.mask.float()
        with torch.no_grad():
            return kept_gain(explanation.magnitude, features.magnitude)


def cut_to_size(
    interpreters: Mapping[str, Interpreter],
    features: SpectralFeatures,
    kernels: Sequence[Sequence[float]] = ((1, 1),),
    row: str = "{} (cut)",
    **settings: Any,
) -> dict[str, Budgeted]:
    """Cut several methods to a size, for the setting ``interpreters`` of a recipe.

    Arguments
    ---------
    interpreters : dict of str to Interpreter
        The methods by the names of their rows.
    features : SpectralFeatures
    kernels : sequence of pairs of float
        See :class:`Relevance`.
    row : str
        How rows are named; ``{}`` is the method's name.
    **settings
        Further arguments of :class:`Budgeted`.

    Returns
    -------
    dict of str to Budgeted
    """
    return {
        row.format(name): Budgeted(
            features, OfInterpreter(features, interpreter, kernels), **settings
        )
        for name, interpreter in interpreters.items()
    }
