"""L2I: Listen to Interpret, with NMF (Parekh et al.).

The file reads as section 3 of the paper does, with its symbols::

    H     = Psi(h)                                     activations of the patterns W
    z     = pool(H),  logits = theta z                 what mimics the classifier
    r_k   = z_k theta_ck / max_l |z_l theta_cl|        relevance to the class c
    L     = {k: r_k > tau}                             what is selected
    X_k   = w_k h_k / (W H) . X,  X = log(1 + |STFT|)  soft masks (Algorithm 2)
    x_int = INV(sum of X_k over L, phase of x)         what is kept
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lmac_td.contracts import Explanation, require_representations
from lmac_td.errors import SettingError, require_choice
from lmac_td.interpreters.base import Interpreter, masked


@dataclass(frozen=True)
class L2IExplanation(Explanation):
    """An Explanation in terms of K patterns.

    Attributes
    ----------
    activations : Tensor (B, K, frames)
        H.
    reconstruction : Tensor (B, frames, bins)
        W H, which is to be log(1 + |STFT|).
    class_logits : Tensor (B, C)
        Theta's, which are to give the classifier's answer.
    relevance : Tensor (B, K)
        r, in [-1, 1], of each pattern to the class that is explained.
    selected : Tensor (B, K), bool
        L.
    """

    activations: Tensor
    reconstruction: Tensor
    class_logits: Tensor
    relevance: Tensor
    selected: Tensor


class L2I(Interpreter):
    """The L2I interpreter.

    Arguments
    ---------
    features : SpectralFeatures
    dictionary : Tensor (bins, K)
        W, learned before (:mod:`lmac_td.training.sparse_nmf`); it stays as it is, and
        checkpoints hold it.
    psi : nn.Module
        The deepest representations to H (see :class:`lmac_td.nn.psi.Psi`).
    theta : nn.Module
        H to logits and z (see :class:`lmac_td.nn.psi.Theta`).
    relevance_threshold : float
        tau, in [-1, 1): a pattern is selected where its relevance is above it.
    mask_domain : str
        ``log1p`` (Algorithm 2) or ``magnitude``: what the soft masks scale, see
        :func:`lmac_td.interpreters.base.masked`.
    classifier_input : str
        What the classifier is given. ``audio``: the sounds of Algorithm 2 (the
        paper's). ``spectrogram``: the masked spectrogram.
    export_components : bool
        Save the sound of each selected pattern beside the interpretation.

    Raises
    ------
    SettingError
        If a setting is none of these, or the dictionary has other bins than the STFT.
    """

    def __init__(
        self,
        features,
        dictionary,
        psi,
        theta,
        relevance_threshold=0.2,
        mask_domain="log1p",
        classifier_input="audio",
        export_components=False,
    ):
        super().__init__(features)
        require_threshold("relevance_threshold", relevance_threshold)
        require_choice("mask_domain", mask_domain, ("log1p", "magnitude"))
        require_choice("classifier_input", classifier_input, ("audio", "spectrogram"))
        if len(dictionary) != features.n_fft // 2 + 1:
            raise SettingError(
                f"nmf_dictionary has patterns of {len(dictionary)} bins, but n_fft "
                f"{features.n_fft} gives {features.n_fft // 2 + 1}: learn it with the "
                "same n_fft"
            )
        if not isinstance(export_components, bool):
            raise SettingError(
                f"export_components is {export_components!r}: give it True or False"
            )
        self.register_buffer("dictionary", dictionary)
        self.psi = psi
        self.theta = theta
        self.relevance_threshold = relevance_threshold
        self.mask_domain = mask_domain
        self.classifier_input = classifier_input
        self.export_components = export_components

    def check(self, classifier):
        """See :meth:`Interpreter.check`."""
        super().check(classifier)
        require_representations(classifier, "L2I")

    def forward(self, wavs, features, decision):
        """Explain a batch.

        Arguments
        ---------
        wavs : Tensor (B, T)
        features : Features
            Of ``wavs``.
        decision : Decision

        Returns
        -------
        L2IExplanation
            With ``mask`` (B, frames, bins). It has no gradient: L2I is not trained on
            what it keeps, but on its reconstruction and Theta's answer.
        """
        activations = self.psi(
            decision.representations,
            n_samples=wavs.shape[-1],
            n_frames=features.magnitude.shape[1],
        ).float()
        class_logits, pooled = self.theta(activations)
        with torch.autocast(wavs.device.type, enabled=False):
            reconstruction = activations.transpose(1, 2) @ self.dictionary.T
            with torch.no_grad():
                relevance = self.relevance(pooled, decision.target)
                selected = relevance > self.relevance_threshold
                mask = soft_mask(self.dictionary, activations, selected)
                explanation = self.explain_mask(
                    mask, wavs, features, decision, self.mask_domain
                )
        return L2IExplanation(
            **vars(explanation),
            activations=activations,
            reconstruction=reconstruction,
            class_logits=class_logits,
            relevance=relevance,
            selected=selected,
        )

    def relevance(self, pooled, target):
        """r of z (B, K) to the classes explained (B,); 0 where nothing contributes."""
        contribution = pooled.float() * self.theta.linear.weight[target]
        largest = contribution.abs().amax(dim=1, keepdim=True)
        return contribution / largest.where(largest > 0, 1.0)

    def sound(self, mask, stft, n_samples):
        """INV(mask . X, phase): what masks leave of an STFT, as sound.

        Arguments
        ---------
        mask : Tensor (B, frames, bins)
        stft : Tensor (B, frames, bins) or (frames, bins), complex
            Of the input.
        n_samples : int
            Its length T.

        Returns
        -------
        Tensor (B, T)
        """
        left = masked(stft, mask, stft.abs(), self.mask_domain)
        return self.features.istft(left, n_samples)

    @torch.no_grad()
    def parts(self, batch, clip):
        """The sound of each selected pattern of a clip (Algorithm 2, lines 2 to 5).

        Arguments
        ---------
        batch : ExplainedBatch
        clip : int
            Its place in the batch.

        Returns
        -------
        dict of str to Tensor (T,)
            ``component_017_r0.83`` is column 17 of the dictionary, counted from 0, of
            relevance 0.83; the most relevant first. Empty unless
            ``export_components``.
        """
        relevance = batch.explanation.relevance[clip]
        chosen = batch.explanation.selected[clip].nonzero().flatten()
        if not self.export_components or not len(chosen):
            return {}
        chosen = chosen[relevance[chosen].argsort(descending=True)]
        each = F.one_hot(chosen, len(relevance)).bool()
        activations = batch.explanation.activations[clip].expand(len(chosen), -1, -1)
        masks = soft_mask(self.dictionary, activations, each)
        sounds = self.sound(masks, batch.features.stft[clip], batch.wavs.shape[-1])
        return {
            f"component_{k:03d}_r{relevance[k]:.2f}": sound
            for k, sound in zip(chosen.tolist(), sounds, strict=True)
        }


def soft_mask(dictionary, activations, selected):
    """The share of the selected patterns in all of them (Algorithm 2, lines 3 and 6).

    Arguments
    ---------
    dictionary : Tensor (bins, K)
        W, non-negative.
    activations : Tensor (B, K, frames)
        H, non-negative.
    selected : Tensor (B, K), bool
        L.

    Returns
    -------
    Tensor (B, frames, bins)
        M = sum of w_k h_k over L / sum of w_k h_k over all k, in [0, 1]; exactly 1
        where all patterns are selected, and exactly 0 where none is. Where no pattern
        sounds, M is 0 as well, and the bin is removed, unless all are selected.

    Example
    -------
    >>> w, h = torch.eye(2), torch.tensor([[[1.0, 0.0], [2.0, 3.0]]])
    >>> soft_mask(w, h, torch.tensor([[True, False]]))
    tensor([[[1., 0.],
             [0., 0.]]])
    """
    selected = selected.unsqueeze(2)
    kept, removed = (
        (activations * part).transpose(1, 2) @ dictionary.T
        for part in (selected, ~selected)
    )
    # The sum of two parts, so that rounding cannot carry their share beyond [0, 1].
    total = kept + removed
    everything = selected.all(dim=1, keepdim=True).to(total.dtype)
    return torch.where(total > 0, kept / total, everything)


def require_threshold(name, value):
    """Refuse a relevance threshold that selects nothing, or is no number.

    Raises
    ------
    SettingError
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not -1 <= value < 1:
        raise SettingError(
            f"{name} is {value!r}, but a relevance is at most 1 and at least -1: give "
            f"{name} a number from -1 to below 1"
        )
