"""L-MAC: Listenable Maps for Audio Classifiers (Paissan, Ravanelli, Subakan).

The file reads as section 2 of the paper does, with its symbols::

    M     = sigmoid(Decoder(h))                in [0, 1], from the classifier alone
    M . X, (1 - M) . X                         (2)  what the classifier is given
    i     = ISTFT((M . X) exp(j phase(x)))     (3)  what a person hears
"""

from lmac_td.interpreters.base import STAND_IN, Interpreter, check_masking


class LMAC(Interpreter):
    """The L-MAC interpreter.

    Arguments
    ---------
    features : SpectralFeatures
        The classifier's front end.
    decoder : nn.Module
        Representations, deepest first, to (B, bins, frames), or (B, n_mels, frames)
        with ``domain: mel`` (see :func:`lmac_td.nn.unet.build_mask_unet`).
    domain : str
        What is masked. ``stft``: the STFT. ``mel``: the classifier's own features;
        such a mask has no sound, so that of its bands spread over the STFT's bins
        stands in.
    mask_domain : str
        ``magnitude`` (the paper's eq. 2) or ``log1p`` (the published code): which
        magnitude the mask scales, see :func:`lmac_td.interpreters.base.masked`.
    heard : str
        What the classifier is given. ``spectrogram``: the masked spectrogram (the
        paper's). ``audio``: the sounds of eq. 3, analysed anew.

    Raises
    ------
    SettingError
        If a setting is none of these, or ``mel`` is to be heard as audio.
    """

    def __init__(
        self,
        features,
        decoder,
        domain="stft",
        mask_domain="magnitude",
        heard="spectrogram",
    ):
        super().__init__(features)
        check_masking(domain, mask_domain, heard)
        self.decoder = decoder
        self.domain = domain
        self.mask_domain = mask_domain
        self.heard = heard
        if domain == "mel":
            self.remark = STAND_IN

    def forward(self, wavs, features, decision):
        """Explain a batch.

        Arguments
        ---------
        wavs : Tensor (B, T)
        features : Features
            Of ``wavs``.
        decision : Decision
            The classifier's, on ``features.log_mel``.

        Returns
        -------
        Explanation
            With ``mask`` (B, frames, bins), or (B, frames, n_mels) of mel bands.
        """
        n_frames = features.log_mel.shape[1]
        mask = self.decoder(
            decision.representations,
            n_stft_frames=n_frames,
            n_frames=n_frames,
            samples_per_stft_frame=self.features.hop_samples,
            samples_per_frame=self.features.hop_samples,
        )
        mask = mask.float().sigmoid().transpose(1, 2)  # (B, frames, bins)
        if self.domain == "stft":
            return self.explain_mask(mask, wavs, features, self.mask_domain)
        return self.explain_mel_mask(mask, wavs, features, self.mask_domain)
