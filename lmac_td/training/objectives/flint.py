"""The loss of FLINT (Parekh et al., *A Framework to Learn with Interpretation*)."""

from torch import Tensor

from lmac_td.contracts import ExplainedBatch
from lmac_td.training.objectives.base import Objective, Terms
from lmac_td.training.objectives.l2i import fidelity_loss, task_of
from lmac_td.validation import require_choice, require_number


class FLINTLoss(Objective):
    """The loss of FLINT for a fixed classifier::

        output_w L_of + input_w L_if + entropy_w (C - D) + reg_w_l1 |Phi|_1

    - L_of, output fidelity: the cross-entropy of the interpreter's output against the
      classifier's, in the order of the published code and of L2I's eq. 1.
    - L_if, input fidelity: the mean squared error of the decoded attributes against
      log(1 + |STFT|).
    - C, conciseness: the entropy of a clip's attributes; small if few are active.
    - D, diversity: the entropy of the batch's mean attributes; large if different clips
      activate different attributes. It belongs to a batch, and is the same for all of
      its clips.
    - |Phi|_1: the mean of the attributes.

    The entropy of attributes v is that of softmax(v). Being means, the other terms
    depend neither on the length of a clip nor on the number of attributes. Checkpoints
    are selected by the loss without D: validation clips come in the order of the data
    set, so a batch may hold one class only.

    Arguments
    ---------
    output_w, input_w, entropy_w, reg_w_l1 : float
        The weights. The defaults are those of the authors' release for CIFAR-10.
    task : str
        The form of L_of, as in :class:`~lmac_td.training.objectives.l2i.L2ILoss`.

    Raises
    ------
    SettingError
        If ``task`` is unknown, or a weight is negative or not a number.
    """

    # The kept and the removed input are not classified in training.
    needs_answers = False

    def __init__(
        self,
        output_w: float = 0.6,
        input_w: float = 2.0,
        entropy_w: float = 0.2,
        reg_w_l1: float = 0.15,
        task: str = "auto",
    ):
        super().__init__()
        require_choice("task", task, ("auto", "multiclass", "multilabel"))
        require_number("output_w", output_w, least=0)
        require_number("input_w", input_w, least=0)
        require_number("entropy_w", entropy_w, least=0)
        require_number("reg_w_l1", reg_w_l1, least=0)
        self.output_w = output_w
        self.input_w = input_w
        self.entropy_w = entropy_w
        self.reg_w_l1 = reg_w_l1
        self.task = task

    def forward(self, batch: ExplainedBatch, clean: Tensor) -> Terms:
        """Compute the loss of each entry of a batch.

        Arguments
        ---------
        batch : ExplainedBatch
            With a :class:`~lmac_td.interpreters.flint.FLINTExplanation`.
        clean : Tensor (B, T)
            The clean clips; not used by this loss.

        Returns
        -------
        Terms
            With the parts ``fidelity``, ``reconstruction``, ``conciseness``,
            ``diversity`` and ``l1``.
        """
        explanation = batch.explanation
        fidelity = fidelity_loss(
            batch.decision.logits.float(),
            explanation.class_logits.float(),
            task_of(self.task, batch.classifier),
        )
        error = batch.features.magnitude.log1p() - explanation.reconstruction
        reconstruction = error.square().mean(dim=(1, 2))
        attributes = explanation.attributes
        conciseness = entropy(attributes)
        diversity = entropy(attributes.mean(dim=0, keepdim=True)).expand_as(conciseness)
        l1 = attributes.abs().mean(dim=1)
        of_clips = (
            self.output_w * fidelity
            + self.input_w * reconstruction
            + self.entropy_w * conciseness
            + self.reg_w_l1 * l1
        )
        loss = of_clips - self.entropy_w * diversity
        parts = {
            "fidelity": fidelity,
            "reconstruction": reconstruction,
            "conciseness": conciseness,
            "diversity": diversity,
            "l1": l1,
        }
        return Terms(loss, parts, selection=of_clips)


def entropy(attributes: Tensor) -> Tensor:
    """Return the entropy of softmax(v), in nats, for rows v of (B, J); (B,).

    Example
    -------
    >>> import torch
    >>> entropy(torch.zeros(1, 2))
    tensor([0.6931])
    """
    log_p = attributes.float().log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)
