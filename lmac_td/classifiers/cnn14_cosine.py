"""CNN14 with a cosine head on mel bands in dB: SpeechBrain's classifier of 2022.

It is ``speechbrain/cnn14-esc50`` of the Hugging Face hub, which PIQ explains, and what
SpeechBrain's ESC-50 recipe trained until L-MAC: the mel bands of the magnitude, up to
8 kHz, in dB below the clip's loudest (clipped at -80 dB), then CNN14, then
``speechbrain.lobes.models.ECAPA_TDNN.Classifier``, which computes cosines. State-dict
keys are SpeechBrain's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from speechbrain.lobes.models.ECAPA_TDNN import Classifier as CosineHead
from speechbrain.processing.features import Filterbank
from torch import Tensor

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.features import SpectralFeatures
from lmac_td.validation import require_number

MAX_HZ = 8000  # of SpeechBrain's Filterbank, whatever the sample rate


class CosineCnn14Classifier(Cnn14Classifier):
    """CNN14 and a head that computes cosines, on mel bands in dB.

    Arguments
    ---------
    features : SpectralFeatures
    n_mels : int
    channels : sequence of int
    emb_dim : int
    n_classes : int
        See :class:`~lmac_td.classifiers.cnn14.Cnn14Classifier`.
    head_channels : int
        Channels of the head's linear layers.
    head_blocks : int
        Number of the head's linear layers.
    logit_scale : float
        Factor of the cosines. A training with additive angular margin softmax
        multiplies them by 30; without it all classes are almost equally probable.
    labels, revision, activation, threshold
        See :class:`~lmac_td.classifiers.cnn14.Cnn14Classifier`.

    Example
    -------
    >>> features = SpectralFeatures(44100, 1024, 23.2199, 11.6099)
    >>> classifier = CosineCnn14Classifier(
    ...     features, n_mels=80, channels=(2, 4, 4, 8, 8), emb_dim=8, n_classes=5,
    ...     head_channels=6,
    ... ).freeze()
    >>> logits = classifier.decide(torch.randn(2, 44100)).logits
    >>> logits.shape, bool((logits.abs() <= 30).all())
    (torch.Size([2, 5]), True)
    """

    name = "CNN14 with a cosine head"

    def __init__(
        self,
        features: SpectralFeatures,
        n_mels: int,
        channels: Sequence[int],
        emb_dim: int,
        n_classes: int,
        head_channels: int = 192,
        head_blocks: int = 1,
        logit_scale: float = 30.0,
        labels: Sequence[str] | None = None,
        revision: str | None = None,
        activation: str = "softmax",
        threshold: float = 0.5,
    ) -> None:
        super().__init__(
            features,
            n_mels,
            channels,
            emb_dim,
            n_classes,
            labels,
            revision,
            activation,
            threshold,
        )
        require_number("logit_scale", logit_scale)
        self.logit_scale = logit_scale
        self.classifier = CosineHead(
            emb_dim,
            lin_blocks=head_blocks,
            lin_neurons=head_channels,
            out_neurons=n_classes,
        )
        self.mel = None  # the inputs are no log(1 + mel)
        self.decibels = Filterbank(
            n_mels=n_mels,
            n_fft=features.n_fft,
            sample_rate=features.sample_rate,
            f_max=MAX_HZ,
        )

    def inputs_of_spectrogram(self, magnitude: Tensor) -> Tensor:
        """Compute mel bands in dB (B, frames, n_mels) of |STFT| (B, frames, bins)."""
        with torch.autocast(magnitude.device.type, enabled=False):
            return self.decibels(magnitude.float())

    def run(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute logits and blocks 6, 5, 4 and 3 of mel bands in dB."""
        embedding, representations = self.embedding_model(inputs)
        cosines = self.classifier(embedding.unsqueeze(1)).squeeze(1)
        return self.logit_scale * cosines, representations


def is_cosine(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Return whether the weights of a CNN14 have a cosine head: it has no bias."""
    return "classifier.bias" not in shapes


def head_of_shapes(shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Return ``head_channels`` and ``head_blocks`` of the weights of a cosine head.

    Example
    -------
    >>> head = CosineHead(8, lin_blocks=1, lin_neurons=6, out_neurons=5)
    >>> shapes = {f"classifier.{k}": v.shape for k, v in head.state_dict().items()}
    >>> head_of_shapes(shapes)
    {'head_channels': 6, 'head_blocks': 1}
    """
    linear = {key for key in shapes if key.startswith("classifier.blocks.")}
    blocks = {key.split(".")[2] for key in linear}  # a normalisation and a layer each
    return {
        "head_channels": shapes["classifier.weight"][1],
        "head_blocks": len(blocks) // 2,
    }
