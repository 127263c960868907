"""The classifier as a function of what is attributed: one clip's |X| or mel bands."""

from __future__ import annotations

from torch import Tensor, nn

from lmac_td.contracts import Classifier, Decision
from lmac_td.features import SpectralFeatures


class ClipLogits(nn.Module):
    """The classifier's logits as a function of the |X| or the mel bands of one clip.

    It is a module, because Captum replaces the gradients of modules.

    Arguments
    ---------
    classifier : Classifier
    features : SpectralFeatures
    domain : str
        ``stft`` or ``mel``.
    stft : Tensor, complex (1, frames, bins)
        The STFT of the clip; every magnitude is combined with its phase.
    n_samples : int
        Length T of the clip.
    """

    def __init__(
        self,
        classifier: Classifier,
        features: SpectralFeatures,
        domain: str,
        stft: Tensor,
        n_samples: int,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.features = features
        self.domain = domain
        self.stft = stft
        self.n_samples = n_samples

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits (B, C) of x, see :meth:`decide`."""
        return self.decide(x).logits

    def decide(self, x: Tensor) -> Decision:
        """Decide on |X| (B, frames, bins) or log-mel (B, frames, n_mels)."""
        # Noise may make x negative, where the logarithm is not defined. Negative values
        # are replaced by silence, with the gradient at silence.
        x = x + (x.clamp(min=0) - x).detach()
        if self.domain == "mel":
            return self.classifier(x)

        def resynthesise() -> Tensor:
            return self.features.with_magnitude(self.stft, x, self.n_samples)

        return self.classifier(self.classifier.inputs_of_spectrum(x, resynthesise))
