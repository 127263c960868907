"""FLINT: attribute functions of hidden layers, and a linear model of them.

Parekh, Mozharovskyi and d'Alché-Buc, *A Framework to Learn with Interpretation*, 2021,
in its post-hoc form: the classifier is fixed. With the paper's symbols::

    Phi(x) = Psi(f_I(x))                     J attributes, at least 0
    g(x)   = h(Phi(x)),  h a linear layer    imitates the classifier
    x      = d(Phi(x)),  d a decoder         the attributes describe the input
    r_j    = phi_j w_jc / max_i |phi_i w_ic| relevance for the class c

The paper shows an attribute by a picture that activates it most. A sound needs a mask:
an attribute is the maximum of a map, so the maps of the relevant attributes, weighted
by w_jc, say where their contribution to the class comes from. This mask is ours. The
L2I paper compares with FLINT by fidelity alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lmac_td.contracts import (
    Classifier,
    Decision,
    SurrogateExplanation,
    require_representations,
)
from lmac_td.features import Features, SpectralFeatures
from lmac_td.interpreters.base import Interpreter
from lmac_td.nn.psi import relative_contribution
from lmac_td.nn.unet import interpolate
from lmac_td.validation import require_number


@dataclass(frozen=True)
class FLINTExplanation(SurrogateExplanation):
    """An Explanation in terms of J attributes.

    Attributes
    ----------
    attributes : Tensor (B, J)
        Phi(x), at least 0.
    reconstruction : Tensor (B, frames, bins)
        d(Phi(x)); the training makes it equal to log(1 + |STFT|).
    relevance : Tensor (B, J)
        r, in [-1, 1]: the relevance of each attribute for the target class.
    selected : Tensor (B, J), bool
        The attributes whose relevance is above the threshold.
    """

    attributes: Tensor
    reconstruction: Tensor
    relevance: Tensor
    selected: Tensor


class FLINT(Interpreter):
    """The FLINT interpreter.

    Arguments
    ---------
    features : SpectralFeatures
    psi : nn.Module
        Maps representations to attribute maps (B, J, time, frequencies), see
        :class:`lmac_td.nn.attributes.AttributeMaps`.
    head : nn.Linear
        h, from J attributes to logits.
    decoder : nn.Module
        d, see :class:`lmac_td.nn.attributes.AttributeDecoder`.
    relevance_threshold : float
        In [0, 1): attributes of a larger relevance are selected (the paper's 1 / tau).

    Raises
    ------
    SettingError
        If the threshold is outside that interval.

    Example
    -------
    >>> from lmac_td.classifiers.cnn14 import Cnn14Classifier
    >>> from lmac_td.nn.attributes import AttributeDecoder, build_attribute_maps
    >>> stft = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    >>> cnn14 = Cnn14Classifier(stft, 80, (2, 4, 4, 8, 8), 8, n_classes=3).freeze()
    >>> psi = build_attribute_maps(cnn14, n_attributes=5, width=4)
    >>> flint = FLINT(stft, psi, nn.Linear(5, 3), AttributeDecoder(5, width=4))
    >>> wavs = torch.randn(2, 16000)
    >>> flint(wavs, stft(wavs), cnn14.decide(wavs)).attributes.shape
    torch.Size([2, 5])
    """

    does = (
        "finds the attributes of the inner layers of the classifier that speak for the "
        "decision, and where they are active (FLINT)"
    )

    def __init__(
        self,
        features: SpectralFeatures,
        psi: nn.Module,
        head: nn.Linear,
        decoder: nn.Module,
        relevance_threshold: float = 0.2,
    ) -> None:
        super().__init__(features)
        require_number("relevance_threshold", relevance_threshold, least=0, most=1)
        self.psi = psi
        self.head = head
        self.decoder = decoder
        self.relevance_threshold = relevance_threshold

    def check(self, classifier: Classifier) -> None:
        """See :meth:`Interpreter.check`."""
        super().check(classifier)
        require_representations(classifier, "FLINT")

    def forward(
        self, wavs: Tensor, features: Features, decision: Decision
    ) -> FLINTExplanation:
        """Explain a batch.

        Arguments
        ---------
        wavs : Tensor (B, T)
        features : Features
            The spectra of ``wavs``.
        decision : Decision

        Returns
        -------
        FLINTExplanation
            With ``mask`` (B, frames, bins). The mask has no gradient: FLINT is trained
            on its logits, its attributes and its reconstruction.
        """
        maps = self.psi(decision.representations).float()
        attributes = maps.amax(dim=(2, 3))
        class_logits = self.head(attributes)
        reconstruction = self.decoder(attributes, features.magnitude.shape[1:])
        with torch.no_grad(), torch.autocast(wavs.device.type, enabled=False):
            weights = self.head.weight[decision.target].float()  # (B, J)
            relevance = relative_contribution(attributes, weights)
            selected = relevance > self.relevance_threshold
            mask = self.mask(maps, weights * selected, features, decision.classifier)
            explanation = self.explain_mask(mask, wavs, features, decision)
        return FLINTExplanation(
            **vars(explanation),
            class_logits=class_logits,
            attributes=attributes,
            reconstruction=reconstruction.float(),
            relevance=relevance,
            selected=selected,
        )

    def class_logits(
        self, wavs: Tensor, features: Features, decision: Decision
    ) -> Tensor:
        """Compute g's logits alone, (B, C); the arguments are those of forward."""
        return self.head(self.psi(decision.representations).float().amax(dim=(2, 3)))

    def mask(
        self, maps: Tensor, weights: Tensor, features: Features, classifier: Classifier
    ) -> Tensor:
        """Spread the weighted sum of attribute maps over the bins of the STFT.

        Arguments
        ---------
        maps : Tensor (B, J, time, frequencies)
        weights : Tensor (B, J)
            w_jc of the selected attributes, at least 0; 0 for the others.
        features : Features
        classifier : Classifier
            Its mel bands, if it has them, say which bins an entry belongs to.

        Returns
        -------
        Tensor (B, frames, bins)
            In [0, 1], with a maximum of 1 on the grid of the maps; 0 if no attribute is
            selected.
        """
        total = torch.einsum("bj,bjtf->btf", weights, maps)
        largest = total.amax(dim=(1, 2), keepdim=True)
        total = total / largest.where(largest > 0, 1.0)
        grid, n_frames = self.psi.grid, features.magnitude.shape[1]
        step = self.features.hop_samples / grid.hop_samples
        start = -grid.offset_samples / grid.hop_samples
        in_time = interpolate(total.transpose(1, 2), n_frames, step, start)
        spread = classifier.spread_over_bins(
            in_time.transpose(1, 2), grid, self.features
        )
        return spread.clamp(0, 1)
