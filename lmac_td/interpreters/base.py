"""The contract: what an interpreter is given and what it must return.

Everything downstream (the losses, the metrics, the samples on disk) reads an
:class:`Explanation` and nothing else, so a new method is one file and one yaml.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Explanation:
    """What an interpreter says about a batch of B clips of T samples.

    Attributes
    ----------
    interpretation : Tensor (B, T)
        The sound that is kept: what a person listens to.
    residual : Tensor (B, T)
        The sound that is removed.
    heard_in, heard_out : Tensor (B, frames, n_mels)
        What the classifier is given for the kept and for the removed part.
    attribution : Tensor (B, frames, bins)
        Non-negative map on the linear STFT grid, log(1 + |STFT(interpretation)|):
        SPS, COMP and the regulariser R(i) are taken on it.
    mask : Tensor, the method's own shape
        In [0, 1].
    """

    interpretation: Tensor
    residual: Tensor
    heard_in: Tensor
    heard_out: Tensor
    attribution: Tensor
    mask: Tensor


class Interpreter(nn.Module):
    """Base of every interpreter.

    ``forward(wavs, features, decision) -> Explanation`` where ``wavs`` is (B, T) in
    [-1, 1], ``features`` the :class:`~lmac_td.features.Features` of ``wavs`` and
    ``decision`` the classifier's :class:`~lmac_td.classifier.Decision` on them. An
    interpreter never runs the classifier on its input again, and never sees a label.

    Arguments
    ---------
    features : SpectralFeatures
        The classifier's front end, to analyse the sounds that are produced.
    """

    def __init__(self, features):
        super().__init__()
        self.features = features

    def explain_audio(self, interpretation, residual, mask):
        """The Explanation of a method whose outcome is sound.

        The kept and the removed part are analysed together, in one STFT, and the
        classifier is given exactly what a person hears.
        """
        heard = self.features(torch.cat([interpretation, residual]))
        heard_in, heard_out = heard.log_mel.chunk(2)
        magnitude_in, _ = heard.magnitude.chunk(2)
        return Explanation(
            interpretation=interpretation,
            residual=residual,
            heard_in=heard_in,
            heard_out=heard_out,
            attribution=torch.log1p(magnitude_in),
            mask=mask,
        )
