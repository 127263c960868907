"""Wrap the classifier as Quantus calls it: a function of the complex STFT."""

import numpy as np
import torch
from torch import Tensor, nn

from lmac_td.contracts import Classifier, Decision
from lmac_td.evaluation.quantus.refusals import require_softmax
from lmac_td.features import Features, SpectralFeatures, magnitude_of


class QuantusModel(nn.Module):
    """The frozen classifier as a function of the STFT, as Quantus calls it.

    A classifier of waveforms is given the sound of the STFT.

    Arguments
    ---------
    features : SpectralFeatures
    classifier : Classifier

    Raises
    ------
    SettingError
        If the classifier has sigmoids: Quantus takes a softmax of logits.

    Example
    -------
    >>> from lmac_td.classifiers.cnn14 import Cnn14Classifier
    >>> from lmac_td.features import SpectralFeatures
    >>> features = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    >>> classifier = Cnn14Classifier(features, 80, (2, 4, 4, 8, 8), 8, n_classes=10)
    >>> model = QuantusModel(features, classifier.freeze())
    >>> x = as_channels(features.stft(torch.randn(2, 16000)))
    >>> x.shape, model(torch.from_numpy(x)).shape
    ((2, 2, 87, 513), torch.Size([2, 10]))
    """

    def __init__(self, features: SpectralFeatures, classifier: Classifier):
        super().__init__()
        require_softmax(classifier)
        self.features = features
        self.classifier = classifier
        self.deepest = nn.Identity()  # Quantus reads representations at modules
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (B, C) from (B, 2, frames, bins)."""
        return self.decide(x)[1].logits

    def decide(self, x: Tensor) -> tuple[Features, Decision]:
        """Return features and decision for (B, 2, frames, bins)."""
        stft = torch.complex(x[:, 0], x[:, 1])
        magnitude = magnitude_of(stft)
        length = self.features.hop_samples * (x.shape[2] - 1)
        inputs = self.classifier.inputs_of_spectrum(
            magnitude, lambda: self.features.istft(stft, length)
        )
        decision = self.classifier(inputs)
        if decision.representations:
            self.deepest(decision.representations[0].values)
        return Features(stft, magnitude), decision


def as_channels(stft: Tensor) -> np.ndarray:
    """Convert complex (B, frames, bins) to float32 (B, 2, frames, bins), a copy."""
    channels = torch.stack([stft.real, stft.imag], dim=1)
    return channels.detach().cpu().float().numpy().copy()
