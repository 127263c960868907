"""LMAC-TD: explanations in the time domain (Mancini, Paissan, Ravanelli, Subakan).

The code follows section II of the paper, with its symbols::

    H_d   = U(h)                                  (2)  h: representations
    H_e   = Encoder(x)                                 x: the sound
    M     = MaskNet(alpha H_d + (1 - alpha) H_e)  (3)  in [0, 1]
    i     = Decoder(M . H_e)                      (4)  what is kept
    i_out = Decoder((1 - M) . H_e)                (5)  what is removed

The decoder is linear, so i + i_out = Decoder(Encoder(x)) for every mask. With a
filterbank that reconstructs perfectly (the default), i + i_out = x.
"""

from __future__ import annotations

from torch import Tensor, nn

from lmac_td.contracts import (
    Classifier,
    Decision,
    Explanation,
    require_gradients,
    require_representations,
)
from lmac_td.errors import SettingError
from lmac_td.features import Features, SpectralFeatures
from lmac_td.interpreters.base import Interpreter
from lmac_td.nn.filterbank import Filterbank


class LMACTD(Interpreter):
    """The LMAC-TD interpreter.

    Arguments
    ---------
    features : SpectralFeatures
    filterbank : lmac_td.nn.filterbank.Filterbank
        Encoder and decoder, with K filters each.
    unet : nn.Module or None
        U, which maps representations, deepest first, to H_d (B, K, T'); see
        :class:`lmac_td.nn.unet.AlignedUNet`. It may be None if ``alpha`` is 0.
    masknet : lmac_td.nn.sepformer.MaskNet
        Maps (B, K, T') to a mask (B, K, T') in [0, 1].
    alpha : float
        Weight of the classifier's representations in eq. 3, in [0, 1]. With 0 the
        U-Net is not run.
    train_filterbank : bool
        Whether the filterbank is trained, too. False keeps i + i_out = x exactly.

    Raises
    ------
    SettingError
        If ``alpha`` is not in [0, 1].
    """

    does = "separates the sound, guided by the inner layers of the classifier (LMAC-TD)"

    def __init__(
        self,
        features: SpectralFeatures,
        filterbank: Filterbank,
        unet: nn.Module | None,
        masknet: nn.Module,
        alpha: float = 0.75,
        train_filterbank: bool = False,
    ) -> None:
        super().__init__(features)
        if not isinstance(alpha, (int, float)) or not 0 <= alpha <= 1:
            raise SettingError(
                f"alpha is {alpha!r}, but it weights the classifier's representations "
                "against the encoded sound (eq. 3): give --alpha a number from 0 to 1"
            )
        self.filterbank = filterbank.requires_grad_(train_filterbank)
        if unet is not None and alpha == 0:
            unet.requires_grad_(False)  # it is not run
        self.unet = unet
        self.masknet = masknet
        self.alpha = alpha

    def check(self, classifier: Classifier) -> None:
        """See :meth:`Interpreter.check`."""
        super().check(classifier)
        require_gradients(classifier, "LMAC-TD")
        if self.alpha > 0:
            require_representations(classifier, "LMAC-TD")

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
            With ``mask`` M of eq. 3, (B, K, T').
        """
        h_e = self.filterbank.encode(wavs)  # (B, K, T')
        mask = self.masknet(self.mix(h_e, wavs, decision))
        n_samples = wavs.shape[-1]
        interpretation = self.filterbank.decode(mask * h_e, n_samples)  # eq. 4
        residual = self.filterbank.decode((1 - mask) * h_e, n_samples)  # eq. 5
        return self.explain_audio(interpretation, residual, mask, decision)

    def mix(self, h_e: Tensor, wavs: Tensor, decision: Decision) -> Tensor:
        """Compute alpha H_d + (1 - alpha) H_e, the input of MaskNet (eq. 3).

        Arguments
        ---------
        h_e : Tensor (B, K, T')
        wavs : Tensor (B, T)
        decision : Decision

        Returns
        -------
        Tensor (B, K, T')
        """
        if self.alpha == 0:
            return h_e
        h_d = self.unet(
            decision.representations,
            n_samples=wavs.shape[-1],
            n_frames=h_e.shape[-1],
            samples_per_frame=self.filterbank.stride,
        )
        return self.alpha * h_d + (1 - self.alpha) * h_e
