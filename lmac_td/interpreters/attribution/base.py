"""The base of all attribution methods: from the attribution of a clip to a mask."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from lmac_td.classifiers.activations import require_module_activations
from lmac_td.classifiers.check import (
    DITHER_DB,
    dithered,
    require_finite_with_dither,
)
from lmac_td.contracts import (
    Classifier,
    Decision,
    Explanation,
    require_gradients,
    require_mel_bands,
)
from lmac_td.features import Features, SpectralFeatures
from lmac_td.interpreters.attribution.clip_logits import ClipLogits
from lmac_td.interpreters.base import (
    MEL_MASK_REMARK,
    Interpreter,
    check_mask_settings,
)


class Attribution(Interpreter):
    """Base of the attribution methods; each implements :meth:`attribute` for one clip.

    Arguments
    ---------
    features : SpectralFeatures
    domain : str
        What is attributed and masked. ``stft``: the magnitude of the STFT. ``mel``:
        the classifier's mel bands; see :meth:`Interpreter.explain_mel_mask` for the
        sound of such a mask.
    mask_domain : str
        ``magnitude`` or ``log1p``: which magnitude the mask scales, see
        :func:`lmac_td.interpreters.base.masked`.
    classifier_input : str
        ``spectrogram``: the classifier takes the masked spectrogram. ``audio``: it
        takes the sound of the masked spectrogram.

    Raises
    ------
    SettingError
        If a setting has another value, or ``mel`` is combined with ``audio``.

    Attributes
    ----------
    attribution_to_mask : str
        How a mask is made of an attribution; printed below the table.
    needs_gradients : bool
    gradient_rules : str or None
        For a method that replaces the gradients of modules: its name in
        :data:`lmac_td.classifiers.activations.RULES`. Classifiers with functional
        activations are then refused.
    """

    attribution_to_mask = "positive part over its maximum, clip by clip"
    needs_gradients = True
    gradient_rules: str | None = None

    def __init__(
        self,
        features: SpectralFeatures,
        domain: str = "stft",
        mask_domain: str = "magnitude",
        classifier_input: str = "spectrogram",
    ) -> None:
        super().__init__(features)
        check_mask_settings(domain, mask_domain, classifier_input)
        self.domain = domain
        self.mask_domain = mask_domain
        self.classifier_input = classifier_input
        self.n_dithered = 0

    @property
    def remark(self) -> str:
        """See :class:`Interpreter`."""
        remark = f"attribution to mask: {self.attribution_to_mask}"
        if self.domain == "mel":
            remark += f"; {MEL_MASK_REMARK}"
        if self.n_dithered:
            remark += (
                f"; gradients of {self.n_dithered} maps were not finite (digital "
                f"silence) and were computed with a dither of {DITHER_DB} dB"
            )
        return remark

    def check(self, classifier: Classifier) -> None:
        """See :meth:`Interpreter.check`."""
        if self.domain == "mel":
            require_mel_bands(classifier)
        super().check(classifier)
        if self.needs_gradients:
            require_gradients(classifier, type(self).__name__)
        if self.gradient_rules is not None:
            require_module_activations(classifier, self.features, self.gradient_rules)

    def attribute(self, x: Tensor, target: int, logits: ClipLogits) -> Tensor:
        """Attribute the target class of one clip to x.

        Arguments
        ---------
        x : Tensor (1, frames, bins) or (1, frames, n_mels)
            |X| or log-mel; it requires a gradient.
        target : int
            Index of the class.
        logits : ClipLogits
            The classifier's logits as a function of x.

        Returns
        -------
        Tensor
            Of the shape of ``x``. Larger values mean more evidence for the class.
        """
        raise NotImplementedError

    def forward(
        self, wavs: Tensor, features: Features, decision: Decision
    ) -> Explanation:
        """Explain a batch.

        Arguments
        ---------
        wavs : Tensor (B, T)
        features : Features
            The spectra of ``wavs``.
        decision : Decision

        Returns
        -------
        Explanation
            With ``mask`` (B, frames, bins), or (B, frames, n_mels) for mel bands.
        """
        x = features.magnitude if self.domain == "stft" else decision.inputs
        attributions = []
        with torch.enable_grad(), warnings.catch_warnings():
            # Captum warns of hooks, which it removes again.
            warnings.simplefilter("ignore")
            for clip, target in enumerate(decision.target.tolist()):
                row = slice(clip, clip + 1)
                logits = ClipLogits(
                    decision.classifier,
                    self.features,
                    self.domain,
                    features.stft[row],
                    wavs.shape[-1],
                )
                attributions.append(
                    self.finite_attribution(x[row].detach(), target, logits)
                )
        mask = positive_over_maximum(torch.cat(attributions))
        explain = self.explain_mask if self.domain == "stft" else self.explain_mel_mask
        return explain(mask, wavs, features, decision, self.mask_domain)

    def finite_attribution(self, x: Tensor, target: int, logits: ClipLogits) -> Tensor:
        """Call :meth:`attribute`; if the result is not finite, again with dither.

        Raises
        ------
        DataError
            If the result is not finite with dither either.
        """

        def attribute() -> Tensor:
            return self.attribute(x.clone().requires_grad_(), target, logits).detach()

        attribution = attribute()
        if attribution.isfinite().all():
            return attribution
        with dithered(logits.classifier):
            attribution = attribute()
        require_finite_with_dither(attribution, logits.classifier)
        self.n_dithered += 1
        return attribution


def positive_over_maximum(attribution: Tensor) -> Tensor:
    """Make masks of attributions (B, ...): the positive part over its maximum.

    Each clip has its own maximum. The mask is 0 if there is no positive part.

    Example
    -------
    >>> positive_over_maximum(torch.tensor([[[-1.0, 1.0, 4.0]], [[-1.0, 0.0, -2.0]]]))
    tensor([[[0.0000, 0.2500, 1.0000]],
    <BLANKLINE>
            [[0.0000, 0.0000, 0.0000]]])
    """
    positive = attribution.clamp(min=0)
    maximum = positive.amax(dim=tuple(range(1, positive.dim())), keepdim=True)
    return positive / maximum.where(maximum > 0, 1.0)
