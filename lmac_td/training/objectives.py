"""What interpreters are trained on.

The masking loss is written once for every method that explains by keeping and
removing: it reads an Explanation and the classifier's answers to it, never the method.
An objective is called with an :class:`~lmac_td.contracts.ExplainedBatch` and the clean
targets of its mixtures, and returns :class:`Terms`. One that sets ``needs_answers`` to
False is given a batch without the classifier's answers in training.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmac_td.errors import SettingError, require_choice, require_number


@dataclass(frozen=True)
class Terms:
    """A loss and what it is made of.

    Attributes
    ----------
    loss : Tensor (B,)
        What is minimised, a value a clip.
    parts : dict of str to Tensor (B,)
        Without their weights, by the name they carry in the log.
    selection : Tensor (B,), optional
        The selection loss, which selects the checkpoint and anneals in validation,
        where it is not the loss.
    """

    loss: Tensor
    parts: dict
    selection: Tensor | None = None


def target_loss(logits, target, activation):
    """-log p of the classes that are explained, (B,).

    Arguments
    ---------
    logits : Tensor (B, C)
    target : Tensor (B,), int64
    activation : str
        ``softmax``: the cross-entropy. ``sigmoid``: that of the tag alone, -log of its
        sigmoid.

    Example
    -------
    >>> logits, target = torch.tensor([[2.0, 0.0]]), torch.tensor([1])
    >>> target_loss(logits, target, "sigmoid")
    tensor([0.6931])
    """
    logits = logits.float()
    if activation == "softmax":
        return F.cross_entropy(logits, target, reduction="none")
    return F.softplus(-logits.gather(1, target.unsqueeze(1)).squeeze(1))


class Objective(nn.Module):
    """Base of the objectives.

    Attributes
    ----------
    needs_answers : bool
        Whether the loss reads the classifier's logits for what is kept and removed.
    """

    needs_answers = True


class MaskingLoss(Objective):
    """lambda_in d(f(x)|f(i)) - lambda_out d(f(x)|f(i_out)) + lambda_reg R.

    LMAC-TD, eq. 6, and L-MAC, eq. 2. d is the cross-entropy against the class that is
    explained, by default the one that the classifier *decided* on the mixture, never
    the label; of a tag, that of its sigmoid.

    Arguments
    ---------
    l_in_w, l_out_w, reg_w_l1 : float
        lambda_in, lambda_out and lambda_reg.
    regulariser : str
        R, a mean over bins, so that it depends neither on the batch nor on the length.
        ``mean``: of |STFT(i)| (LMAC-TD, eq. 7). ``relative``: |STFT(i)|_1 /
        |STFT(x)|_1, whose strength does not depend on the level of the clip.
        ``mask``: of the mask (L-MAC, section 2.1).
    reg_w_tv : float
        Weight of the total variation of the mask over both of its axes.

    Raises
    ------
    SettingError
        If ``regulariser`` is none of these, or a weight is no number from 0.
    """

    def __init__(
        self, l_in_w=5.0, l_out_w=0.2, reg_w_l1=6.0, regulariser="mean", reg_w_tv=0.0
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

    def forward(self, batch, target):
        """Loss of each clip of a batch.

        Arguments
        ---------
        batch : ExplainedBatch
        target : Tensor (B, T)
            The clean sources; this loss never looks at them.

        Returns
        -------
        Terms
            With parts ``loss_in``, ``loss_out``, ``reg`` and, where it has a weight,
            ``tv``.
        """
        against = batch.decision.target, batch.classifier.activation
        loss_in = target_loss(batch.kept_logits, *against)
        loss_out = target_loss(batch.removed_logits, *against)
        reg = self.regularise(batch.explanation, batch.features)
        loss = self.l_in_w * loss_in - self.l_out_w * loss_out + self.reg_w_l1 * reg
        parts = {"loss_in": loss_in, "loss_out": loss_out, "reg": reg}
        if self.reg_w_tv:
            parts["tv"] = total_variation(batch.explanation.mask)
            loss = loss + self.reg_w_tv * parts["tv"]
        return Terms(loss, parts)

    def regularise(self, explanation, features):
        """R, (B,)."""
        if self.regulariser == "mask":
            return explanation.mask.float().mean(dim=(1, 2))
        kept = explanation.magnitude.mean(dim=(1, 2))
        if self.regulariser == "mean":
            return kept
        return kept / features.magnitude.mean(dim=(1, 2))


class GuidedMaskingLoss(MaskingLoss):
    """The masking loss with L-MAC's guidance, to fine-tune a trained interpreter.

    L-MAC, section 2.1: where an interpretation resembles the clean target already, the
    mask is drawn to the target; where it does not, faithfulness alone decides. A clip
    is guided if the cosine of log(1 + |STFT(i)|) and log(1 + |STFT(target)|) is at
    least ``cct``. Checkpoints are chosen by the masking loss alone.

    Arguments
    ---------
    features : SpectralFeatures
        To analyse the targets.
    g_w : float
        lambda_g; the paper has 4, 16 and 32.
    cct : float
        Least similarity of a guided clip, in [0, 1].
    guidance : str
        ``binary``: cross-entropy of the mask against the target's log-spectrum, where
        it reaches ``bin_th`` of its maximum (the published code). ``spectrogram``: the
        mean squared difference of the two log-spectra (the paper's ||M X - X||).
    bin_th : float
        In [0, 1].
    **masking
        As of :class:`MaskingLoss`.

    Raises
    ------
    SettingError
        If a setting is none of these, or the mask lies on no spectrogram.
    """

    def __init__(
        self, features, g_w=4.0, cct=0.6, guidance="binary", bin_th=0.35, **masking
    ):
        super().__init__(**masking)
        require_choice("guidance", guidance, ("binary", "spectrogram"))
        require_number("g_w", g_w, least=0)
        require_number("cct", cct, least=0, most=1)
        require_number("bin_th", bin_th, least=0, most=1)
        self.features = features
        self.g_w = g_w
        self.cct = cct
        self.guidance = guidance
        self.bin_th = bin_th

    def forward(self, batch, target):
        """As :meth:`MaskingLoss.forward`, with two more parts.

        Returns
        -------
        Terms
            ``guided`` is 1 for a guided clip and 0 for another, so that its mean is
            their share; ``guide`` is what they are guided by, 0 for the others.
        """
        terms = super().forward(batch, target)
        explanation = batch.explanation
        with torch.no_grad():
            clean = self.features(target)
            similarity = F.cosine_similarity(
                explanation.attribution.flatten(1),
                torch.log1p(clean.magnitude).flatten(1),
            )
            guided = (similarity >= self.cct).float()
        guide = guided * self.guide(explanation, clean, batch.classifier)
        return replace(
            terms,
            loss=terms.loss + self.g_w * guide,
            # Guidance comes and goes with the mask: an epoch would seem worse for
            # every clip that has become good enough to be guided.
            selection=terms.loss,
            parts={**terms.parts, "guide": guide, "guided": guided},
        )

    def guide(self, explanation, clean, classifier):
        """Distance to the clean target, (B,)."""
        log_magnitude = torch.log1p(clean.magnitude)
        if self.guidance == "spectrogram":
            return (explanation.attribution - log_magnitude).pow(2).mean(dim=(1, 2))
        mask = explanation.mask.float()
        spectra = [log_magnitude]
        if classifier.mel is not None:
            spectra.append(classifier.mel(clean.magnitude))
        for spectrum in spectra:
            if mask.shape == spectrum.shape:
                loudest = spectrum.amax(dim=(1, 2), keepdim=True)
                binary = (spectrum >= self.bin_th * loudest).to(mask.dtype)
                # Without autocast, where a cross-entropy of probabilities is unsafe.
                with torch.autocast(mask.device.type, enabled=False):
                    distance = F.binary_cross_entropy(mask, binary, reduction="none")
                return distance.mean(dim=(1, 2))
        raise SettingError(
            "guidance is binary, but this interpreter's mask lies neither on the STFT "
            "nor on mel bands: give --guidance spectrogram"
        )


class L2ILoss(Objective):
    """L_FID + nmf_w ||X - W H||^2 + reg_w_l1 ||H||_1 (L2I, eq. 4).

    Theta is to answer as the classifier does, and the activations H are to be those of
    the dictionary W, few and small. The classifier is never run on the sounds that are
    kept and removed.

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
        classes (eq. 2). ``auto``: by the classifier's activation.

    Raises
    ------
    SettingError
        If ``task`` is none of these.
    """

    # The sounds that are kept and removed are not used.
    needs_answers = False

    def __init__(self, nmf_w=10.0, reg_w_l1=0.8, task="auto"):
        super().__init__()
        require_choice("task", task, ("auto", "multiclass", "multilabel"))
        require_number("nmf_w", nmf_w, least=0)
        require_number("reg_w_l1", reg_w_l1, least=0)
        self.nmf_w = nmf_w
        self.reg_w_l1 = reg_w_l1
        self.task = task

    def forward(self, batch, target):
        """Loss of each clip of a batch.

        Arguments
        ---------
        batch : ExplainedBatch
            With an :class:`~lmac_td.interpreters.l2i.L2IExplanation`.
        target : Tensor (B, T)
            The clean sources; this loss never looks at them.

        Returns
        -------
        Terms
            With parts ``fidelity``, ``nmf`` and ``l1``.
        """
        explanation = batch.explanation
        task = self.task
        if task == "auto":
            softmax = batch.classifier.activation == "softmax"
            task = "multiclass" if softmax else "multilabel"
        fidelity = fidelity_loss(
            batch.decision.logits.float(), explanation.class_logits.float(), task
        )
        error = torch.log1p(batch.features.magnitude) - explanation.reconstruction
        nmf = error.square().mean(dim=(1, 2))
        l1 = explanation.activations.abs().mean(dim=(1, 2))
        loss = fidelity + self.nmf_w * nmf + self.reg_w_l1 * l1
        return Terms(loss, {"fidelity": fidelity, "nmf": nmf, "l1": l1})


def fidelity_loss(logits, class_logits, task):
    """L_FID of Theta's logits against the classifier's (L2I, eqs. 1, 2).

    Arguments
    ---------
    logits, class_logits : Tensor (B, C)
        The classifier's, and Theta's.
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


def total_variation(mask):
    """Mean absolute difference of neighbours along both axes, added, (B,).

    Arguments
    ---------
    mask : Tensor (B, n, m)

    Example
    -------
    >>> total_variation(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]))
    tensor([1.])
    """
    mask = mask.float()
    along_first = mask.diff(dim=1).abs().mean(dim=(1, 2))
    return along_first + mask.diff(dim=2).abs().mean(dim=(1, 2))
