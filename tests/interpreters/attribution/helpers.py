"""Sounds, a small classifier and calls of one method, shared by the tests."""

import torch

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.contracts import Classifier
from lmac_td.evaluation.batches import decide
from lmac_td.interpreters.attribution.clip_logits import ClipLogits
from tests.conftest import SAMPLE_RATE
from tests.networks import waveform_classifier

DOMAINS = ("stft", "mel")
# Few samples where a test does not need exact values.
QUICK = {
    "smoothgrad": {"n_samples": 4},
    "integrated_gradients": {"n_steps": 8},
    "gradient_shap": {"n_samples": 4},
}


def bursts(n_clips, seed=3):
    """One-second clips: a burst of a tone somewhere, and noise everywhere."""
    return labelled_bursts(n_clips, seed)[0]


def labelled_bursts(n_clips, seed):
    """Bursts, and the tenth of the frequencies that each is from."""
    generator = torch.Generator().manual_seed(seed)
    start, width, pitch, level = torch.rand(4, n_clips, 1, generator=generator)
    time = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    on = (time > 0.7 * start) & (time < 0.7 * start + 0.1 + 0.3 * width)
    tone = torch.sin(2 * torch.pi * 200 * 30**pitch * time)
    noise = 0.05 * torch.randn(n_clips, SAMPLE_RATE, generator=generator)
    return (0.2 + 0.8 * level) * on * tone + noise, (10 * pitch[:, 0]).long()


def narrow(spectral):
    return Cnn14Classifier(spectral, 80, (4, 8, 8, 8, 16), 16, 10)


def clip_logits(method, decided, clip):
    """Build the logits as a function of one clip's |X| or mel bands."""
    wavs, features, decision = decided
    return ClipLogits(
        decision.classifier,
        method.features,
        method.domain,
        features.stft[clip : clip + 1],
        wavs.shape[1],
    )


def attributed(method, decided, clip):
    """Attribute one clip as ``forward`` does."""
    _, features, decision = decided
    x = features.magnitude if method.domain == "stft" else decision.inputs
    x = x[clip : clip + 1].clone().requires_grad_()
    target = int(decision.target[clip])
    logits = clip_logits(method, decided, clip)
    return x.detach(), target, method.attribute(x, target, logits).detach()


def literal_logit(classifier, domain, x, target):
    log_mel = (x @ classifier.mel.matrix).log1p() if domain == "stft" else x
    embedding, _ = classifier.embedding_model(log_mel)
    return classifier.classifier(embedding)[0, target]


def masks(rows, decided):
    with torch.no_grad():
        return {name: method(*decided).mask for name, method in rows.items()}


def explained_by(method, classifier, wavs, spectral):
    method.check(classifier)
    with torch.no_grad():
        return method(wavs, *decide(wavs, spectral, classifier))


def of_waveforms(**settings):
    """A classifier whose classes differ by more than their biases."""
    torch.manual_seed(2)
    classifier = waveform_classifier(n_classes=4, **settings)
    for parameter in classifier.parameters():
        parameter.mul_(3 if parameter.dim() > 1 else 0)
    return classifier


class SquareRoot(Classifier):
    """The gradient of the square root at 0 (digital silence) is not finite."""

    name = "SquareRoot"

    def __init__(self, slope=1.0):
        super().__init__()
        self.sample_rate = SAMPLE_RATE
        self.labels = ("loud", "quiet")
        self.slope = slope

    def inputs(self, wavs):
        return wavs

    def run(self, inputs):
        blocks = inputs.unfold(1, 1600, 1600)  # (B, 10, 1600)
        level = self.slope * blocks.square().mean(dim=2).sqrt().sum(dim=1)
        return torch.stack([level, -level], dim=1), ()
