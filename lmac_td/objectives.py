"""What interpreters are trained on: the masking loss (LMAC-TD, eq. 6 and 7).

Written once for every method: it reads an Explanation and the classifier's answers
to it, never the method.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmac_td.errors import SettingError


@dataclass(frozen=True)
class MaskingTerms:
    """The masking loss and its parts, one value a clip, each (B,).

    ``loss`` = l_in_w * ``mask_in`` - l_out_w * ``mask_out`` + reg_w_l1 * ``reg``.
    """

    loss: Tensor
    mask_in: Tensor
    mask_out: Tensor
    reg: Tensor


class MaskingLoss(nn.Module):
    """lambda_in d(f(x)|f(i)) - lambda_out d(f(x)|f(i_out)) + lambda_reg R(i)  (eq. 6).

    d is the cross-entropy against the class that the classifier *decided* on the
    mixture, never the label. R(i) is the L1 norm of the magnitude STFT of i (eq. 7).

    Arguments
    ---------
    l_in_w, l_out_w, reg_w_l1 : float
        lambda_in, lambda_out and lambda_reg.
    regulariser : str
        ``mean``: R(i) is the mean of |STFT(i)| over its bins (the paper's reading).
        ``relative``: |STFT(i)|_1 / |STFT(x)|_1, so that its strength does not depend
        on the level of the clip. Neither depends on the batch or on the length.

    Raises
    ------
    SettingError
        If ``regulariser`` is neither.
    """

    def __init__(self, l_in_w=5.0, l_out_w=0.2, reg_w_l1=6.0, regulariser="mean"):
        super().__init__()
        if regulariser not in ("mean", "relative"):
            raise SettingError(
                f"regulariser is {regulariser!r}, but it can be mean or relative: "
                "give --regulariser one of them"
            )
        self.l_in_w = l_in_w
        self.l_out_w = l_out_w
        self.reg_w_l1 = reg_w_l1
        self.regulariser = regulariser

    def forward(self, explanation, features, decision, logits_in, logits_out):
        """Loss of each clip of a batch.

        Arguments
        ---------
        explanation : Explanation
        features : Features
            Of the mixture x.
        decision : Decision
            On the mixture x.
        logits_in, logits_out : Tensor (B, C)
            The classifier's, for ``heard_in`` and ``heard_out``.

        Returns
        -------
        MaskingTerms
        """
        decided = decision.predicted
        mask_in = F.cross_entropy(logits_in.float(), decided, reduction="none")
        mask_out = F.cross_entropy(logits_out.float(), decided, reduction="none")
        reg = self.regularise(explanation, features)
        loss = self.l_in_w * mask_in - self.l_out_w * mask_out + self.reg_w_l1 * reg
        return MaskingTerms(loss, mask_in, mask_out, reg)

    def regularise(self, explanation, features):
        """R(i), (B,)."""
        # attribution is log(1 + |STFT(i)|)
        kept = torch.expm1(explanation.attribution).mean(dim=(1, 2))
        if self.regulariser == "mean":
            return kept
        return kept / features.magnitude.mean(dim=(1, 2))
