"""L2I: Listen to Interpret, with NMF (Parekh et al.).

The code follows section 3 of the paper, with its symbols::

    H     = Psi(h)                                     activations of the patterns W
    z     = pool(H),  logits = theta z                 imitates the classifier
    r_k   = z_k theta_ck / max_l |z_l theta_cl|        relevance for the class c
    L     = {k: r_k > tau}                             the selected patterns
    X_k   = w_k h_k / (W H) . X,  X = log(1 + |STFT|)  soft masks (Algorithm 2)
    x_int = INV(sum of X_k over L, phase of x)         what is kept
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmac_td.contracts import (
    Classifier,
    Decision,
    ExplainedBatch,
    SurrogateExplanation,
    require_representations,
)
from lmac_td.errors import SettingError
from lmac_td.features import Features, SpectralFeatures
from lmac_td.interpreters.base import Interpreter, masked
from lmac_td.nn.psi import relative_contribution
from lmac_td.validation import require_choice


@dataclass(frozen=True)
class L2IExplanation(SurrogateExplanation):
    """An Explanation in terms of K patterns.

    Attributes
    ----------
    activations : Tensor (B, K, frames)
        H.
    reconstruction : Tensor (B, frames, bins)
        W H; the training makes it equal to log(1 + |STFT|).
    relevance : Tensor (B, K)
        r, in [-1, 1]: the relevance of each pattern for the target class.
    selected : Tensor (B, K), bool
        L.
    """

    activations: Tensor
    reconstruction: Tensor
    relevance: Tensor
    selected: Tensor


class L2I(Interpreter):
    """The L2I interpreter.

    Arguments
    ---------
    features : SpectralFeatures
    dictionary : Tensor (bins, K)
        W, learned beforehand (:mod:`lmac_td.training.sparse_nmf`). It is not trained,
        but saved in checkpoints.
    psi : nn.Module
        Maps the deepest representations to H, see :class:`lmac_td.nn.psi.Psi`.
    theta : nn.Module
        Maps H to logits and z, see :class:`lmac_td.nn.psi.Theta`.
    relevance_threshold : float
        tau, in [-1, 1): patterns of a larger relevance are selected.
    mask_domain : str
        ``log1p`` (Algorithm 2) or ``magnitude``: what the soft masks scale, see
        :func:`lmac_td.interpreters.base.masked`.
    classifier_input : str
        ``audio``: the classifier takes the sounds of Algorithm 2, as in the paper.
        ``spectrogram``: it takes the masked spectrogram.
    export_components : bool
        Whether to save the sound of each selected pattern beside the interpretation.

    Raises
    ------
    SettingError
        If a setting has another value, or the dictionary and the STFT have different
        numbers of bins.
    """

    does = (
        "selects components of a dictionary of spectra by the inner layers of the "
        "classifier (L2I)"
    )

    def __init__(
        self,
        features: SpectralFeatures,
        dictionary: Tensor,
        psi: nn.Module,
        theta: nn.Module,
        relevance_threshold: float = 0.2,
        mask_domain: str = "log1p",
        classifier_input: str = "audio",
        export_components: bool = False,
    ) -> None:
        super().__init__(features)
        require_threshold("relevance_threshold", relevance_threshold)
        require_choice("mask_domain", mask_domain, ("log1p", "magnitude"))
        require_choice("classifier_input", classifier_input, ("audio", "spectrogram"))
        if len(dictionary) != features.n_fft // 2 + 1:
            raise SettingError(
                f"nmf_dictionary has patterns of {len(dictionary)} bins, but n_fft is "
                f"{features.n_fft}, which gives {features.n_fft // 2 + 1} bins: learn "
                "the dictionary with the same n_fft"
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

    def check(self, classifier: Classifier) -> None:
        """See :meth:`Interpreter.check`."""
        super().check(classifier)
        require_representations(classifier, "L2I")

    def forward(
        self, wavs: Tensor, features: Features, decision: Decision
    ) -> L2IExplanation:
        """Explain a batch.

        Arguments
        ---------
        wavs : Tensor (B, T)
        features : Features
            The spectra of ``wavs``.
        decision : Decision

        Returns
        -------
        L2IExplanation
            With ``mask`` (B, frames, bins). The mask has no gradient: L2I is trained on
            its reconstruction and on Theta's logits, not on what it keeps.
        """
        activations = self.activations(wavs, features, decision)
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

    def activations(
        self, wavs: Tensor, features: Features, decision: Decision
    ) -> Tensor:
        """Compute H, (B, K, frames)."""
        return self.psi(
            decision.representations,
            n_samples=wavs.shape[-1],
            n_frames=features.magnitude.shape[1],
        ).float()

    def class_logits(
        self, wavs: Tensor, features: Features, decision: Decision
    ) -> Tensor:
        """Compute Theta's logits alone, (B, C); the arguments are those of forward."""
        class_logits, _ = self.theta(self.activations(wavs, features, decision))
        return class_logits

    def relevance(self, pooled: Tensor, target: Tensor) -> Tensor:
        """Compute the relevance r of each pattern for the target class.

        Arguments
        ---------
        pooled : Tensor (B, K)
            z.
        target : Tensor (B,), int64

        Returns
        -------
        Tensor (B, K)
            In [-1, 1]; 0 if no pattern contributes.
        """
        return relative_contribution(pooled, self.theta.linear.weight[target])

    def sound(self, mask: Tensor, stft: Tensor, n_samples: int) -> Tensor:
        """Compute INV(mask . X, phase), the sound of a masked STFT.

        Arguments
        ---------
        mask : Tensor (B, frames, bins)
        stft : Tensor (B, frames, bins) or (frames, bins), complex
            The STFT of the input.
        n_samples : int
            Length T of the input.

        Returns
        -------
        Tensor (B, T)
        """
        masked_stft = masked(stft, mask, stft.abs(), self.mask_domain)
        return self.features.istft(masked_stft, n_samples)

    @torch.no_grad()
    def parts(self, batch: ExplainedBatch, clip: int) -> dict[str, Tensor]:
        """Compute the sound of each selected pattern (Algorithm 2, lines 2 to 5).

        Arguments
        ---------
        batch : ExplainedBatch
        clip : int
            Index in the batch.

        Returns
        -------
        dict of str to Tensor (T,)
            The most relevant pattern first. ``component_017_r0.83`` is column 17 of the
            dictionary, counted from 0, with relevance 0.83. Empty if
            ``export_components`` is False.
        """
        relevance = batch.explanation.relevance[clip]
        chosen = batch.explanation.selected[clip].nonzero().flatten()
        if not self.export_components or not len(chosen):
            return {}
        chosen = chosen[relevance[chosen].argsort(descending=True)]
        one_each = F.one_hot(chosen, len(relevance)).bool()
        activations = batch.explanation.activations[clip].expand(len(chosen), -1, -1)
        masks = soft_mask(self.dictionary, activations, one_each)
        sounds = self.sound(masks, batch.features.stft[clip], batch.wavs.shape[-1])
        return {
            f"component_{k:03d}_r{relevance[k]:.2f}": sound
            for k, sound in zip(chosen.tolist(), sounds, strict=True)
        }


def soft_mask(dictionary: Tensor, activations: Tensor, selected: Tensor) -> Tensor:
    """Compute the share of the selected patterns (Algorithm 2, lines 3 and 6).

    Arguments
    ---------
    dictionary : Tensor (bins, K)
        W, at least 0.
    activations : Tensor (B, K, frames)
        H, at least 0.
    selected : Tensor (B, K), bool
        L.

    Returns
    -------
    Tensor (B, frames, bins)
        M = sum of w_k h_k over L / sum of w_k h_k over all k, in [0, 1]. M is exactly 1
        if all patterns are selected, and exactly 0 if none is. In bins where all
        patterns are 0, M is 0, unless all patterns are selected.

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
    # The total is the sum of the two parts, so that rounding keeps M in [0, 1].
    total = kept + removed
    everything = selected.all(dim=1, keepdim=True).to(total.dtype)
    return torch.where(total > 0, kept / total, everything)


def require_threshold(name: str, value: object) -> None:
    """Refuse a relevance threshold that is not a number from -1 to below 1.

    Raises
    ------
    SettingError
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not -1 <= value < 1:
        raise SettingError(
            f"{name} is {value!r}, but a relevance is between -1 and 1: give {name} a "
            "number from -1 to below 1"
        )
