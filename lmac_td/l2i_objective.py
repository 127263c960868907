"""What L2I is trained on (Parekh et al., eq. 1 to 4).

Theta is to answer as the classifier does, and the activations H are to be those of the
dictionary W, few and small. The sounds that are kept and removed play no part, so the
classifier is never run on them.
"""

import torch
from torch import nn
from torch.nn import functional as F

from lmac_td.errors import require_choice
from lmac_td.objectives import Terms


class L2ILoss(nn.Module):
    """L_FID + nmf_w ||X - W H||^2 + reg_w_l1 ||H||_1 (eq. 4).

    X is log(1 + |STFT|) of the input. Both norms are means, the one over frames and
    bins, the other over patterns and frames, so that the weights depend neither on
    the batch, nor on the length of the clip, nor on the size of the dictionary. They
    are the paper's alpha and beta.

    Arguments
    ---------
    nmf_w, reg_w_l1 : float
        Weights of the reconstruction (eq. 3) and of the size of H.
    task : str
        L_FID. ``multiclass``: the cross-entropy of Theta's softmax against the
        classifier's (eq. 1). ``multilabel``: that of their sigmoids, summed over
        classes (eq. 2).

    Raises
    ------
    SettingError
        If ``task`` is neither.
    """

    def __init__(self, nmf_w=10.0, reg_w_l1=0.8, task="multiclass"):
        super().__init__()
        require_choice("task", task, ("multiclass", "multilabel"))
        self.nmf_w = nmf_w
        self.reg_w_l1 = reg_w_l1
        self.task = task

    def forward(self, heard, target):
        """Loss of each clip of a batch.

        Arguments
        ---------
        heard : Heard
            With an :class:`~lmac_td.interpreters.l2i.L2IExplanation`.
        target : Tensor (B, T)
            The clean sources; this loss never looks at them.

        Returns
        -------
        Terms
            With parts ``fidelity``, ``nmf`` and ``l1``.
        """
        explanation = heard.explanation
        fidelity = self.fidelity(
            heard.decision.logits.float(), explanation.class_logits.float()
        )
        error = torch.log1p(heard.features.magnitude) - explanation.reconstruction
        nmf = error.square().mean(dim=(1, 2))
        l1 = explanation.activations.abs().mean(dim=(1, 2))
        loss = fidelity + self.nmf_w * nmf + self.reg_w_l1 * l1
        return Terms(loss, {"fidelity": fidelity, "nmf": nmf, "l1": l1})

    def fidelity(self, logits, class_logits):
        """L_FID of Theta's logits against the classifier's, both (B, C), as (B,)."""
        if self.task == "multiclass":
            return F.cross_entropy(
                class_logits, logits.softmax(dim=1), reduction="none"
            )
        return F.binary_cross_entropy_with_logits(
            class_logits, logits.sigmoid(), reduction="none"
        ).sum(dim=1)
