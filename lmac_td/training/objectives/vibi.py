"""The loss of VIBI (Bang et al., an information bottleneck for explanations)."""

import math

from torch import Tensor
from torch.nn import functional as F

from lmac_td.contracts import ExplainedBatch
from lmac_td.training.objectives.base import Objective, Terms
from lmac_td.training.objectives.l2i import task_of
from lmac_td.validation import require_choice, require_number


class VIBILoss(Objective):
    """The loss of VIBI: -log q(y|t) + bottleneck_w k KL(p(z|x) || r(z)).

    The first term makes the approximator predict the decision y of the classifier from
    the chosen chunks t: the decided class, or the tags that reach their threshold. The
    second one is the information that the choice of k chunks may carry about the
    input; r(z) is uniform over the N chunks, so it is k (log N - H(p(z|x))).

    Arguments
    ---------
    bottleneck_w : float
        The paper's beta.
    task : str
        ``multiclass``: y is one class. ``multilabel``: y is a set of tags, and the
        first term a sum over tags. ``auto``: chosen by the classifier's activation.

    Raises
    ------
    SettingError
        If ``task`` is unknown, or the weight is negative or not a number.
    """

    # The kept and the removed input are not classified in training.
    needs_answers = False

    def __init__(self, bottleneck_w: float = 0.1, task: str = "auto"):
        super().__init__()
        require_choice("task", task, ("auto", "multiclass", "multilabel"))
        require_number("bottleneck_w", bottleneck_w, least=0)
        self.bottleneck_w = bottleneck_w
        self.task = task

    def forward(self, batch: ExplainedBatch, clean: Tensor) -> Terms:
        """Compute the loss of each entry of a batch.

        Arguments
        ---------
        batch : ExplainedBatch
            With a :class:`~lmac_td.interpreters.vibi.VIBIExplanation`.
        clean : Tensor (B, T)
            The clean clips; not used by this loss.

        Returns
        -------
        Terms
            With the parts ``fidelity`` and ``kl``.
        """
        explanation, decision = batch.explanation, batch.decision
        class_logits = explanation.class_logits.float()
        if task_of(self.task, batch.classifier) == "multiclass":
            decided = decision.logits.argmax(dim=1)
            fidelity = F.cross_entropy(class_logits, decided, reduction="none")
        else:
            tags = decision.probabilities >= batch.classifier.threshold
            fidelity = F.binary_cross_entropy_with_logits(
                class_logits, tags.to(class_logits), reduction="none"
            ).sum(dim=1)
        k = explanation.chosen.sum(dim=1)
        kl = k * divergence_from_uniform(explanation.log_probabilities)
        return Terms(
            fidelity + self.bottleneck_w * kl, {"fidelity": fidelity, "kl": kl}
        )


def divergence_from_uniform(log_p: Tensor) -> Tensor:
    """Return KL(p || uniform) = log N + sum p log p, for log p (B, N); (B,).

    Example
    -------
    >>> import torch
    >>> divergence_from_uniform(torch.tensor([[0.5, 0.5]]).log())
    tensor([0.])
    """
    return math.log(log_p.shape[1]) + (log_p.exp() * log_p).sum(dim=1)
