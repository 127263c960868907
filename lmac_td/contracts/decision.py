"""A decision: a classifier's output for a batch of clips, and the class to explain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
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
    memory : tuple of dict, or None
        One dict per clip with results for its mixture, which outlives the batch; see
        :meth:`recall`. A training gives it if it repeats mixtures.

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
    memory: tuple[dict[str, Tensor], ...] | None = None

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
            memory=self.memory and tuple(self.memory[row] for row in rows.tolist()),
        )

    def recall(self, name: str, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Return a result for each clip; compute it for those that are not in memory.

        Arguments
        ---------
        name : str
            The name of the result in the memory.
        compute : callable
            Takes rows (N,), int64, and returns the results of these clips, (N, ...),
            without gradients. A clip's result must not depend on the other clips.

        Returns
        -------
        Tensor (B, ...)

        Example
        -------
        >>> from lmac_td.classifiers.modules import ModuleClassifier
        >>> network = torch.nn.Linear(8000, 2)
        >>> classifier = ModuleClassifier(network, sample_rate=8000, labels=["a", "b"])
        >>> decision = replace(classifier.decide(torch.zeros(2, 8000)), memory=({}, {}))
        >>> _ = decision.recall("twice", lambda rows: 2.0 * rows)
        >>> decision.memory
        ({'twice': tensor(0.)}, {'twice': tensor(2.)})
        """
        rows = torch.arange(len(self.target), device=self.target.device)
        if self.memory is None:
            return compute(rows)
        new = [row for row, known in enumerate(self.memory) if name not in known]
        if new:
            results = compute(rows[new])
            for row, result in zip(new, results, strict=True):
                self.memory[row][name] = result
        return torch.stack([known[name] for known in self.memory])
