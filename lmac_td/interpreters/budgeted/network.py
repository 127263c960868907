"""Scores by one forward pass of a trained network."""

from __future__ import annotations

import torch
from torch import Tensor

from lmac_td.contracts import Classifier, Decision
from lmac_td.features import Features, LogMel, SpectralFeatures
from lmac_td.interpreters.budgeted.evidence import BinGains
from lmac_td.interpreters.budgeted.scores import Scores, scaled
from lmac_td.nn.score_network import ScoreNetwork


class NetworkScores(Scores):
    """Scores by a :class:`~lmac_td.nn.score_network.ScoreNetwork`.

    The network takes the log-mel of the clip, the classifier's representations and the
    class that is explained, and optionally one gradient of the margin, which costs one
    gradient pass. Scores of bands are spread over the bins of the STFT.

    Arguments
    ---------
    features : SpectralFeatures
    classifier : Classifier
        Its representations and classes are planned for.
    n_bands : int
        Mel bands of the network; the STFT's, not the classifier's.
    width : int
        Channels of the network.
    gradient_map : bool
        Whether the network takes one gradient, too.
    """

    does = "scores how much each part of the spectrogram supports the decision"
    trained = True

    def __init__(
        self,
        features: SpectralFeatures,
        classifier: Classifier,
        n_bands: int = 80,
        width: int = 16,
        gradient_map: bool = True,
    ) -> None:
        super().__init__()
        self.mel = LogMel(features.sample_rate, features.n_fft, n_bands)
        self.gradient = None
        if gradient_map:
            self.gradient = BinGains(
                features, kernels=[(15, 12)], gains=[1.0], jitter=0.0, draws=1
            )
        self.network = ScoreNetwork(
            classifier.geometry,
            classifier.n_classes,
            features.hop_samples,
            width,
            n_maps=int(gradient_map),
        )

    def check(self, classifier: Classifier) -> None:
        """See :meth:`Scores.check`."""
        if self.gradient is not None:
            self.gradient.check(classifier)

    def candidates(self, wavs: Tensor, features: Features, decision: Decision):
        """See :meth:`Scores.candidates`; there is one candidate."""
        maps = None
        if self.gradient is not None:
            maps = decision.recall(
                "gradient map",
                lambda rows: self.gradient_maps(
                    wavs[rows], features.select(rows), decision.select(rows)
                ),
            )
        scores = self.network(
            self.mel(features.magnitude),
            decision.representations,
            decision.target,
            maps,
        )
        return (scores.float() @ self.mel.bands_of_bins).unsqueeze(1)

    @torch.no_grad()
    def gradient_maps(
        self, wavs: Tensor, features: Features, decision: Decision
    ) -> Tensor:
        """Return the gradient of the margin in mel bands, (B, 1, frames, bands)."""
        gradient = self.gradient.relevance(wavs, features, decision)
        return scaled(self.in_bands(gradient)).unsqueeze(1) / 4

    def in_bands(self, values: Tensor) -> Tensor:
        """Average values (..., bins) over the bins of each mel band."""
        shares = self.mel.bands_of_bins  # (bands, bins)
        total = shares.sum(dim=1, keepdim=True)
        return values @ (shares / total.where(total > 0, 1.0)).T


def pooled(scores: Tensor, frames: int = 2, bins: int = 8) -> Tensor:
    """Average scores (B, t, f) over blocks, for comparison and storage."""
    return torch.nn.functional.avg_pool2d(
        scores.unsqueeze(1), (frames, bins), ceil_mode=True
    ).squeeze(1)
