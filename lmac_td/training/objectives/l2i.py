"""The loss of L2I (Parekh et al., "Listen to Interpret", NeurIPS 2022)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lmac_td.contracts import Classifier, ExplainedBatch
from lmac_td.training.objectives.base import Objective, Terms
from lmac_td.validation import require_choice, require_number


class L2ILoss(Objective):
    """The loss of L2I: L_FID + nmf_w ||X - W H||^2 + reg_w_l1 ||H||_1 (eq. 4).

    L_FID makes Theta predict what the classifier predicts. The second term makes the
    activations H reconstruct X with the dictionary W; the third makes H sparse. X is
    log(1 + |STFT|) of the input.

    The second term is a mean over frames and bins, the third a mean over components and
    frames. The weights (the paper's alpha and beta) therefore depend neither on the
    batch size, nor on the length of a clip, nor on the size of the dictionary.

    Arguments
    ---------
    nmf_w, reg_w_l1 : float
        Weights of the reconstruction (eq. 3) and of the sparsity of H.
    task : str
        The form of L_FID. ``multiclass``: the cross-entropy of Theta's softmax against
        the classifier's (eq. 1). ``multilabel``: the binary cross-entropy of Theta's
        sigmoids against the classifier's, summed over classes (eq. 2). ``auto``: chosen
        by the classifier's activation.

    Raises
    ------
    SettingError
        If ``task`` is none of these, or a weight is negative or not a number.
    """

    # The kept and the removed input are not classified in training.
    needs_answers = False

    def __init__(self, nmf_w: float = 10.0, reg_w_l1: float = 0.8, task: str = "auto"):
        super().__init__()
        require_choice("task", task, ("auto", "multiclass", "multilabel"))
        require_number("nmf_w", nmf_w, least=0)
        require_number("reg_w_l1", reg_w_l1, least=0)
        self.nmf_w = nmf_w
        self.reg_w_l1 = reg_w_l1
        self.task = task

    def forward(self, batch: ExplainedBatch, clean: Tensor) -> Terms:
        """Compute the loss of each entry of a batch.

        Arguments
        ---------
        batch : ExplainedBatch
            With an :class:`~lmac_td.interpreters.l2i.L2IExplanation`.
        clean : Tensor (B, T)
            The clean clips; not used by this loss.

        Returns
        -------
        Terms
            With the parts ``fidelity``, ``nmf`` and ``l1``.
        """
        explanation = batch.explanation
        fidelity = fidelity_loss(
            batch.decision.logits.float(),
            explanation.class_logits.float(),
            task_of(self.task, batch.classifier),
        )
        error = torch.log1p(batch.features.magnitude) - explanation.reconstruction
        nmf = error.square().mean(dim=(1, 2))
        l1 = explanation.activations.abs().mean(dim=(1, 2))
        loss = fidelity + self.nmf_w * nmf + self.reg_w_l1 * l1
        return Terms(loss, {"fidelity": fidelity, "nmf": nmf, "l1": l1})


def task_of(task: str, classifier: Classifier) -> str:
    """Return the task; ``auto`` stands for that of the classifier's activation."""
    if task != "auto":
        return task
    return "multiclass" if classifier.activation == "softmax" else "multilabel"


def fidelity_loss(logits: Tensor, class_logits: Tensor, task: str) -> Tensor:
    """Return L_FID of Theta's logits against the classifier's (L2I, eqs. 1, 2).

    Arguments
    ---------
    logits : Tensor (B, C)
        The classifier's logits.
    class_logits : Tensor (B, C)
        Theta's logits.
    task : str
        ``multiclass`` or ``multilabel``.

    Returns
    -------
    Tensor (B,)
    """
    if task == "multiclass":
        return F.cross_entropy(class_logits, logits.softmax(dim=1), reduction="none")
    return F.binary_cross_entropy_with_logits(
        class_logits, logits.sigmoid(), reduction="none"
    ).sum(dim=1)
