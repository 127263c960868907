"""An explanation: what an interpreter returns, and what is measured on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from lmac_td.contracts.classifier import Classifier
    from lmac_td.contracts.decision import Decision
    from lmac_td.features import Features


@dataclass(frozen=True)
class Explanation:
    """An interpreter's explanation of a batch of B clips of T samples.

    A method may return a subclass with more fields for its own objective.

    Attributes
    ----------
    interpretation : Tensor (B, T)
        The sound that is kept: what a person listens to.
    residual : Tensor (B, T)
        The sound that is removed.
    kept_input, removed_input : Tensor (B, ...)
        The classifier's inputs for the kept and for the removed part.
    magnitude : Tensor (B, frames, bins)
        |STFT(interpretation)|.
    mask : Tensor
        In [0, 1]; its shape depends on the method.
    """

    interpretation: Tensor
    residual: Tensor
    kept_input: Tensor
    removed_input: Tensor
    magnitude: Tensor
    mask: Tensor

    @property
    def attribution(self) -> Tensor:
        """log(1 + |STFT(interpretation)|): SPS and COMP are measured on it."""
        return self.magnitude.log1p()


@dataclass(frozen=True)
class SurrogateExplanation(Explanation):
    """An Explanation by a surrogate: a model that imitates the classifier.

    Attributes
    ----------
    class_logits : Tensor (B, C)
        The surrogate's logits; the training makes their probabilities equal to the
        classifier's. The table measures how well they agree (top-k fidelity).
    """

    class_logits: Tensor


@dataclass(frozen=True)
class Sources:
    """The sources of a batch of mixtures; among the methods, only the oracle uses them.

    Attributes
    ----------
    target, interference : Tensor (B, T)
        They add up to the mixture.
    target_magnitude, interference_magnitude : Tensor (B, frames, bins)
        |STFT| of each.
    """

    target: Tensor
    interference: Tensor
    target_magnitude: Tensor
    interference_magnitude: Tensor


@dataclass(frozen=True)
class ExplainedBatch:
    """One method's explanation of a batch, and the classifier's logits for it.

    Attributes
    ----------
    wavs : Tensor (B, T)
        The mixtures.
    features : Features
        The spectra of the mixtures.
    decision : Decision
        The decision on the mixtures.
    explanation : Explanation
    kept_logits, removed_logits : Tensor (B, C) or None
        The classifier's logits for the kept and for the removed part; None if they are
        not needed, as in the training of L2I.
    sources : Sources or None
        The sources of the mixtures, for the metrics.
    clip_ids : tuple of str
        The clips' names in the data set; empty if they are not known.
    """

    wavs: Tensor
    features: Features
    decision: Decision
    explanation: Explanation
    kept_logits: Tensor | None = None
    removed_logits: Tensor | None = None
    sources: Sources | None = None
    clip_ids: tuple[str, ...] = ()

    @property
    def classifier(self) -> Classifier:
        """The classifier that is explained."""
        return self.decision.classifier
