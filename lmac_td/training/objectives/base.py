"""The base class of an objective, and what it returns."""

from dataclasses import dataclass

from torch import Tensor, nn

from lmac_td.contracts import ExplainedBatch


@dataclass(frozen=True)
class Terms:
    """The loss of each entry of a batch, and its parts.

    Attributes
    ----------
    loss : Tensor (B,)
        The loss that training minimises.
    parts : dict of str to Tensor (B,)
        The terms of the loss without their weights, by their names in the log.
    selection : Tensor (B,), optional
        The selection loss. In validation it selects the checkpoint and anneals the
        learning rate. By default the loss itself.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    selection: Tensor | None = None


class Objective(nn.Module):
    """Base class of the objectives.

    Attributes
    ----------
    needs_answers : bool
        Whether the loss reads the classifier's logits for the kept and the removed
        input. If False, training does not compute them.
    """

    needs_answers: bool = True

    def forward(self, batch: ExplainedBatch, clean: Tensor) -> Terms:
        """Compute the loss of each entry of a batch.

        Arguments
        ---------
        batch : ExplainedBatch
        clean : Tensor (B, T)
            The clean clips, at their level in the mixtures.

        Returns
        -------
        Terms
        """
        raise NotImplementedError
