"""L-MAC: Listenable Maps for Audio Classifiers (Paissan, Ravanelli, Subakan).

The file reads as section 2 of the paper does, with its symbols::

    M     = sigmoid(Decoder(h))                in [0, 1], from the classifier alone
    M . X, (1 - M) . X                         (2)  what the classifier is given
    i     = ISTFT((M . X) exp(j phase(x)))     (3)  what a person hears
"""

from lmac_td.interpreters.base import (
    STAND_IN,
    Interpreter,
    check_masking,
    require_gradients,
    require_mel,
    require_representations,
)


class LMAC(Interpreter):
    """The L-MAC interpreter.

    Arguments
    ---------
    features : SpectralFeatures
    decoder : nn.Module
        Representations, deepest first, to (B, bins, frames), or (B, n_mels, frames)
        with ``domain: mel`` (see :func:`lmac_td.nn.unet.build_mask_unet`).
    domain : str
        What is masked. ``stft``: the STFT. ``mel``: the classifier's mel bands;
        such a mask has no sound, so that of its bands spread over the STFT's bins
        stands in.
    mask_domain : str
        ``magnitude`` (the paper's eq. 2) or ``log1p`` (the published code): which
        magnitude the mask scales, see :func:`lmac_td.interpreters.base.masked`.
    classifier_input : str
        What the classifier is given. ``spectrogram``: the masked spectrogram (the
        paper's). ``audio``: the sounds of eq. 3, for classifiers that take waveforms.

    Raises
    ------
    SettingError
        If a setting is none of these, or ``mel`` goes with ``audio``.
    """

    def __init__(
        self,
        features,
        decoder,
        domain="stft",
        mask_domain="magnitude",
        classifier_input="spectrogram",
    ):
        super().__init__(features)
        check_masking(domain, mask_domain, classifier_input)
        self.decoder = decoder
        self.domain = domain
        self.mask_domain = mask_domain
        self.classifier_input = classifier_input
        if domain == "mel":
            self.remark = STAND_IN

    def check(self, classifier):
        """See :meth:`Interpreter.check`."""
        if self.domain == "mel":
            require_mel(classifier)
        super().check(classifier)
        require_gradients(classifier, "L-MAC")
        require_representations(classifier, "L-MAC")

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
        Explanation
            With ``mask`` (B, frames, bins), or (B, frames, n_mels) of mel bands.
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
