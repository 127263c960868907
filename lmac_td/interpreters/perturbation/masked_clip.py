"""The classifier's answer as a function of what is kept of one clip."""

from __future__ import annotations

import torch
from torch import Tensor

from lmac_td.contracts import Classifier
from lmac_td.features import SpectralFeatures
from lmac_td.targets import margin


class MaskedClip:
    """The log-odds of the target for one clip, as a function of the gains of its bins.

    A bin with gain g becomes g X + (1 - g) R, where R is the replacement: silence or
    noise. The classifier takes the sound of the result, so no gradient and no
    spectrogram front end is needed.

    Arguments
    ---------
    classifier : Classifier
    features : SpectralFeatures
    wav : Tensor (T,)
    stft : Tensor, complex (frames, bins)
        The STFT of ``wav``.
    target : int
        Index of the class.
    replacement : Tensor, complex (frames, bins), or float
        The STFT R of what is put in place of a removed part; 0 for silence.
    calls_at_once : int
        How many variants of the clip are classified in one batch.

    Attributes
    ----------
    n_calls : int
        How many variants were classified so far.

    Example
    -------
    >>> from lmac_td.classifiers.black_box import BlackBoxClassifier
    >>> def loudness(wavs):
    ...     return abs(wavs).mean(axis=1, keepdims=True) * [[0.0, 1.0]]
    >>> classifier = BlackBoxClassifier(loudness, 8000, ["quiet", "loud"]).freeze()
    >>> stft, wav = SpectralFeatures(8000, 256, 32, 16), torch.randn(8000)
    >>> X = stft(wav.unsqueeze(0)).stft[0]
    >>> clip = MaskedClip(classifier, stft, wav, X, target=1)
    >>> full, silent = clip(torch.stack([torch.ones(X.shape), torch.zeros(X.shape)]))
    >>> bool(full > silent), clip.n_calls
    (True, 2)
    """

    def __init__(
        self,
        classifier: Classifier,
        features: SpectralFeatures,
        wav: Tensor,
        stft: Tensor,
        target: int,
        replacement: Tensor | float = 0.0,
        calls_at_once: int = 8,
    ) -> None:
        self.classifier = classifier
        self.features = features
        self.wav = wav
        self.stft = stft
        self.target = target
        self.replacement = replacement
        self.calls_at_once = calls_at_once
        self.n_calls = 0

    @property
    def shape(self) -> torch.Size:
        """(frames, bins)."""
        return self.stft.shape

    def __call__(self, gains: Tensor) -> Tensor:
        """Compute the log-odds (n,) for gains (n, frames, bins) in [0, 1].

        The result is on the device of the gains.
        """
        return torch.cat([self._answers(part) for part in self.parts_of(gains)])

    def parts_of(self, variants: Tensor) -> tuple[Tensor, ...]:
        """Split variants (n, ...) into batches that are classified at once."""
        return variants.split(self.calls_at_once)

    def _answers(self, gains: Tensor) -> Tensor:
        self.n_calls += len(gains)
        g = gains.to(self.stft.device)
        spectra = g * self.stft + (1 - g) * self.replacement
        sounds = self.features.istft(spectra, self.wav.shape[-1])
        (logits,) = self.classifier.classify(self.classifier.inputs_of(sounds))
        target = torch.full((len(g),), self.target, device=logits.device)
        return margin(logits, target, self.classifier.activation).to(gains.device)
