"""The masking loss, for every method that explains by keeping and removing input.

It reads only the explanation and the classifier's answers, so it is the same for all
these methods.
"""

from torch import Tensor
from torch.nn import functional as F

from lmac_td.contracts import ExplainedBatch, Explanation
from lmac_td.features import Features
from lmac_td.training.objectives.base import Objective, Terms
from lmac_td.validation import require_choice, require_number


def target_loss(logits: Tensor, target: Tensor, activation: str) -> Tensor:
    """Return -log p of the explained class of each entry, (B,).

    Arguments
    ---------
    logits : Tensor (B, C)
    target : Tensor (B,), int64
        Indices of the explained classes.
    activation : str
        ``softmax``: p is the softmax, so this is the cross-entropy. ``sigmoid``: p is
        the sigmoid of the tag's logit; other tags do not count.

    Example
    -------
    >>> import torch
    >>> logits, target = torch.tensor([[2.0, 0.0]]), torch.tensor([1])
    >>> target_loss(logits, target, "sigmoid")
    tensor([0.6931])
    """
    logits = logits.float()
    if activation == "softmax":
        return F.cross_entropy(logits, target, reduction="none")
    return F.softplus(-logits.gather(1, target.unsqueeze(1)).squeeze(1))


def total_variation(mask: Tensor) -> Tensor:
    """Return the total variation of masks, (B,).

    It is the sum over both axes of the mean absolute difference of neighbours.

    Arguments
    ---------
    mask : Tensor (B, n, m)

    Example
    -------
    >>> import torch
    >>> total_variation(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]))
    tensor([1.])
    """
    mask = mask.float()
    along_first = mask.diff(dim=1).abs().mean(dim=(1, 2))
    return along_first + mask.diff(dim=2).abs().mean(dim=(1, 2))


class MaskingLoss(Objective):
    """The masking loss of LMAC-TD (eq. 6) and L-MAC (eq. 2).

    lambda_in d(f(x)|f(i)) - lambda_out d(f(x)|f(i_out)) + lambda_reg R, where f is the
    classifier, x the mixture, i the kept input and i_out the removed input. d is the
    cross-entropy for the explained class (for a tag, the cross-entropy of its sigmoid).
    The explained class is by default what the classifier *decided* for the mixture,
    never the label.

    Arguments
    ---------
    l_in_w, l_out_w, reg_w_l1 : float
        The weights lambda_in, lambda_out and lambda_reg.
    regulariser : str
        R. ``mean``: the mean of |STFT(i)| (LMAC-TD, eq. 7). ``relative``: |STFT(i)|_1
        / |STFT(x)|_1, which does not depend on the level of the clip. ``mask``: the
        mean of the mask (L-MAC, section 2.1). Being means, they depend neither on the
        batch size nor on the length of a clip.
    reg_w_tv : float
        Weight of the total variation of the mask along both axes.

    Raises
    ------
    SettingError
        If ``regulariser`` is none of these, or a weight is negative or not a number.
    """

    def __init__(
        self,
        l_in_w: float = 5.0,
        l_out_w: float = 0.2,
        reg_w_l1: float = 6.0,
        regulariser: str = "mean",
        reg_w_tv: float = 0.0,
    ):
        super().__init__()
        require_choice("regulariser", regulariser, ("mean", "relative", "mask"))
        require_number("l_in_w", l_in_w, least=0)
        require_number("l_out_w", l_out_w, least=0)
        require_number("reg_w_l1", reg_w_l1, least=0)
        require_number("reg_w_tv", reg_w_tv, least=0)
        self.l_in_w = l_in_w
        self.l_out_w = l_out_w
        self.reg_w_l1 = reg_w_l1
        self.regulariser = regulariser
        self.reg_w_tv = reg_w_tv

    def forward(self, batch: ExplainedBatch, clean: Tensor) -> Terms:
        """Compute the loss of each entry of a batch.

        Arguments
        ---------
        batch : ExplainedBatch
            With the classifier's logits.
        clean : Tensor (B, T)
            The clean clips; not used by this loss.

        Returns
        -------
        Terms
            With the parts ``loss_in``, ``loss_out``, ``reg`` and, if its weight is not
            0, ``tv``.
        """
        target, activation = batch.decision.target, batch.classifier.activation
        loss_in = target_loss(batch.kept_logits, target, activation)
        loss_out = target_loss(batch.removed_logits, target, activation)
        reg = self.regularise(batch.explanation, batch.features)
        loss = self.l_in_w * loss_in - self.l_out_w * loss_out + self.reg_w_l1 * reg
        parts = {"loss_in": loss_in, "loss_out": loss_out, "reg": reg}
        if self.reg_w_tv:
            parts["tv"] = total_variation(batch.explanation.mask)
            loss = loss + self.reg_w_tv * parts["tv"]
        return Terms(loss, parts)

    def regularise(self, explanation: Explanation, features: Features) -> Tensor:
        """Return R of each entry, (B,)."""
        if self.regulariser == "mask":
            return explanation.mask.float().mean(dim=(1, 2))
        kept = explanation.magnitude.mean(dim=(1, 2))
        if self.regulariser == "mean":
            return kept
        return kept / features.magnitude.mean(dim=(1, 2))
