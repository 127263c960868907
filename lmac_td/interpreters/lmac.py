"""L-MAC: Listenable Maps for Audio Classifiers (Paissan, Ravanelli, Subakan).

The code follows section 2 of the paper, with its symbols::

    M     = sigmoid(Decoder(h))                in [0, 1], h: representations
    M . X, (1 - M) . X                         (2)  what the classifier takes
    i     = ISTFT((M . X) exp(j phase(x)))     (3)  what a person listens to
"""

from __future__ import annotations

from torch import Tensor, nn

from lmac_td.contracts import (
    Classifier,
    Decision,
    Explanation,
    require_gradients,
    require_mel_bands,
    require_representations,
)
from lmac_td.features import Features, SpectralFeatures
from lmac_td.interpreters.base import (
    MEL_MASK_REMARK,
    Interpreter,
    check_mask_settings,
)


class LMAC(Interpreter):
    """The L-MAC interpreter.

    Arguments
    ---------
    features : SpectralFeatures
    decoder : nn.Module
        Maps representations, deepest first, to (B, bins, frames), or to (B, n_mels,
        frames) with ``domain: mel``; see :func:`lmac_td.nn.decoders.build_mask_unet`.
    domain : str
        What is masked. ``stft``: the STFT. ``mel``: the classifier's mel bands; see
        :meth:`Interpreter.explain_mel_mask` for the sound of such a mask.
    mask_domain : str
        ``magnitude`` (the paper's eq. 2) or ``log1p`` (the published code): which
        magnitude the mask scales, see :func:`lmac_td.interpreters.base.masked`.
    classifier_input : str
        ``spectrogram``: the classifier takes the masked spectrogram, as in the paper.
        ``audio``: it takes the sounds of eq. 3; classifiers of waveforms need this.

    Raises
    ------
    SettingError
        If a setting has another value, or ``mel`` is combined with ``audio``.
    """

    does = "makes a mask from the inner layers of the classifier (L-MAC)"

    def __init__(
        self,
        features: SpectralFeatures,
        decoder: nn.Module,
        domain: str = "stft",
        mask_domain: str = "magnitude",
        classifier_input: str = "spectrogram",
    ) -> None:
        super().__init__(features)
        check_mask_settings(domain, mask_domain, classifier_input)
        self.decoder = decoder
        self.domain = domain
        self.mask_domain = mask_domain
        self.classifier_input = classifier_input
        if domain == "mel":
            self.remark = MEL_MASK_REMARK

    def check(self, classifier: Classifier) -> None:
        """See :meth:`Interpreter.check`."""
        if self.domain == "mel":
            require_mel_bands(classifier)
        super().check(classifier)
        require_gradients(classifier, "L-MAC")
        require_representations(classifier, "L-MAC")

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
        mask = self.decoder(
            decision.representations,
            n_samples=wavs.shape[-1],
            n_frames=features.magnitude.shape[1],
            samples_per_frame=self.features.hop_samples,
        )
        mask = mask.float().sigmoid().transpose(1, 2)  # (B, frames, bins)
        explain = self.explain_mask if self.domain == "stft" else self.explain_mel_mask
        return explain(mask, wavs, features, decision, self.mask_domain)
