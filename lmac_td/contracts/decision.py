"""A decision: a classifier's output for a batch of clips, and the class to explain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from lmac_td.contracts.representation import Representation

if TYPE_CHECKING:
    from lmac_td.contracts.classifier import Classifier


@dataclass(frozen=True)
class Decision:
    """A classifier's decision on a batch of B clips.

    Attributes
    ----------
    logits : Tensor (B, C)
    target : Tensor (B,), int64
        The class that is explained. By default this is the class with the highest
        logit; the first index on ties (see :mod:`lmac_td.targets`).
    representations : tuple of Representation
        Deepest first.
    inputs : Tensor (B, ...)
        The network's inputs.
    classifier : Classifier
        The classifier that decided. A method that must run the classifier again
        (gradients, search) uses this one.

    Example
    -------
    >>> import torch
    >>> from lmac_td.classifiers.modules import ModuleClassifier
    >>> network = torch.nn.Sequential(torch.nn.Linear(8000, 2))
    >>> classifier = ModuleClassifier(network, sample_rate=8000, labels=["a", "b"])
    >>> decision = classifier.decide(torch.zeros(3, 8000))
    >>> decision.probabilities.shape, decision.target.shape
    (torch.Size([3, 2]), torch.Size([3]))
    """

    logits: Tensor
    target: Tensor
    representations: tuple[Representation, ...]
    inputs: Tensor
    classifier: Classifier

    @property
    def probabilities(self) -> Tensor:
        """(B, C), in float32: the classifier's activation, applied once."""
        return self.classifier.probabilities(self.logits)

    def select(self, rows: Tensor) -> Decision:
        """Select some rows, in the given order; rows may repeat.

        Arguments
        ---------
        rows : Tensor (N,), int64

        Returns
        -------
        Decision
            With N entries. Its representations give no gradients of its logits.
        """
        return replace(
            self,
            logits=self.logits[rows],
            target=self.target[rows],
            inputs=self.inputs[rows],
            representations=tuple(
                replace(rep, values=rep.values[rows], layer=None)
                for rep in self.representations
            ),
        )
