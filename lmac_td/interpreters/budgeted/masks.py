"""The mask of any other method, as scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lmac_td.contracts import Classifier, Decision
from lmac_td.features import Features, SpectralFeatures
from lmac_td.interpreters.base import Interpreter
from lmac_td.interpreters.budgeted.base import Budgeted, is_list
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

    @property
    def does(self) -> str:
        """See :class:`~lmac_td.interpreters.base.Interpreter`."""
        return self.interpreter.does

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
    keep: float | str | Sequence[float | str] | None,
    kernels: Sequence[Sequence[float]] = ((1, 1),),
    **settings: Any,
) -> dict[str, Interpreter]:
    """Cut several methods to a size, for the setting ``interpreters`` of a recipe.

    Arguments
    ---------
    interpreters : dict of str to Interpreter
        The methods by the names of their rows.
    features : SpectralFeatures
    keep : float, str, sequence or None
        See :class:`Budgeted`; its rows are named ``<method> <share>``. None leaves the
        methods as they are.
    kernels : sequence of pairs of float
        See :class:`Relevance`.
    **settings
        Further arguments of :class:`Budgeted`.

    Returns
    -------
    dict of str to Interpreter

    Example
    -------
    >>> from lmac_td.interpreters.baselines import Identity
    >>> features = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    >>> methods = {"identity": Identity(features)}
    >>> list(cut_to_size(methods, features, keep=0.5))
    ['identity 0.5']
    """
    if keep is None:
        return dict(interpreters)
    shares = keep if is_list(keep) else [keep]
    suffix = f" {shares[0]}" if len(shares) == 1 else ""  # Budgeted names several
    return {
        f"{name}{suffix}": Budgeted(
            features, OfInterpreter(features, interpreter, kernels), keep, **settings
        )
        for name, interpreter in interpreters.items()
    }
