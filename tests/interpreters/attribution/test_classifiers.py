"""Attributions of classifiers of waveforms, and classifiers that are refused."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from lmac_td.classifiers.modules import ModuleClassifier
from lmac_td.errors import DataError, SettingError
from lmac_td.evaluation.batches import decide
from lmac_td.interpreters.attribution import METHODS
from lmac_td.interpreters.attribution.base import positive_over_maximum
from tests.conftest import SAMPLE_RATE
from tests.interpreters.attribution.helpers import (
    DOMAINS,
    SquareRoot,
    attributed,
    bursts,
    explained_by,
    of_waveforms,
)
from tests.networks import spectrogram_classifier, waveform_classifier

# Captum warns of hooks, which it removes again.
pytestmark = pytest.mark.filterwarnings("ignore:Setting")


@pytest.mark.parametrize("name", METHODS)
def test_classifiers_of_waveforms_are_explained(build, spectral, name):
    """Through the sound of |X| and the clip's own phase."""
    classifier, wavs = of_waveforms(), bursts(2)
    method = build(name, classifier_input="audio")
    explanation = explained_by(method, classifier, wavs, spectral)
    assert explanation.mask.shape == (2, 87, 513)
    assert explanation.mask.isfinite().all()
    assert (explanation.mask >= 0).all()
    assert (explanation.mask.amax(dim=(1, 2)) == 1).any()
    assert torch.equal(explanation.kept_input, explanation.interpretation)
    assert torch.equal(explanation.removed_input, explanation.residual)
    both = explanation.interpretation + explanation.residual
    torch.testing.assert_close(both, wavs, atol=1e-5, rtol=0)


def test_saliency_of_a_classifier_of_waveforms_is_the_gradient_through_the_sound(
    build, spectral
):
    classifier, wavs = of_waveforms(), bursts(2)
    features, decision = decide(wavs, spectral, classifier)
    method = build("saliency", classifier_input="audio")
    _, target, ours = attributed(method, (wavs, features, decision), 1)
    phase = features.stft[1:] / features.stft[1:].abs()
    x = features.magnitude[1:].clone().requires_grad_()
    sound = spectral.istft(x * phase, wavs.shape[1])
    torch.testing.assert_close(sound, wavs[1:], atol=1e-5, rtol=0)
    classifier.network(sound)[0, target].backward()
    assert x.grad.abs().max() > 0
    torch.testing.assert_close(
        ours, x.grad.abs(), rtol=1e-3, atol=1e-5 * x.grad.abs().max().item()
    )


def test_a_classifier_of_waveforms_is_given_no_spectrograms(build):
    with pytest.raises(SettingError, match="--classifier_input audio"):
        build("saliency").check(waveform_classifier())
    with pytest.raises(SettingError, match="--domain stft"):
        build("saliency", domain="mel").check(spectrogram_classifier())


class FunctionalReLU(nn.Module):
    """A common style: the activation is a function, so no hook can be put on it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 32, stride=16)
        self.head = nn.Linear(4, 3)

    def forward(self, wavs):
        return self.head(torch.relu(self.conv(wavs.unsqueeze(1))).mean(dim=2))


@pytest.mark.parametrize("name", ["guided_backprop", "guided_gradcam", "deeplift_shap"])
def test_functional_activations_are_refused_by_name(build, name):
    classifier = ModuleClassifier(FunctionalReLU(), SAMPLE_RATE, 3, ["conv"]).freeze()
    with pytest.raises(
        SettingError, match=f"{name} would silently miss.*relu"
    ) as error:
        build(name, classifier_input="audio").check(classifier)
    assert "\n" not in str(error.value)
    build("saliency", classifier_input="audio").check(classifier)


def test_methods_that_replace_gradients_take_cnn14(build, classifier):
    for domain in DOMAINS:
        for method in build(domain=domain).values():
            method.check(classifier)


@pytest.mark.parametrize("name", ["saliency", "integrated_gradients"])
def test_gradients_that_are_not_finite_at_silence_are_computed_again_with_dither(
    build, spectral, name
):
    classifier, wavs = SquareRoot().freeze(), bursts(3)
    wavs[0, :9000] = 0  # digital silence
    wavs[2, 9000:] = 0
    method = build(name, classifier_input="audio")
    assert "dither" not in method.remark
    explanation = explained_by(method, classifier, wavs, spectral)
    assert explanation.mask.isfinite().all()
    assert (explanation.mask.amax(dim=(1, 2)) == 1).all()
    assert "2 maps were not finite (digital silence)" in method.remark
    assert "dither of -100 dB" in method.remark
    assert classifier.dither_db is None  # the evaluation runs without dither
    # The clip without silence has the same explanation without the others.
    alone = build(name, classifier_input="audio")
    mask = explained_by(alone, classifier, wavs[1:2], spectral).mask
    torch.testing.assert_close(mask, explanation.mask[1:2], atol=1e-5, rtol=0)
    assert "dither" not in alone.remark


def test_gradients_that_dither_does_not_make_finite_are_an_error(build, spectral):
    classifier = SquareRoot(slope=float("inf")).freeze()
    method = build("saliency", classifier_input="audio")
    with pytest.raises(DataError, match=r"SquareRoot is not finite.*occlusion"):
        explained_by(method, classifier, bursts(1), spectral)
    assert classifier.dither_db is None


@pytest.mark.parametrize("target", [0, 2])
def test_the_class_that_is_asked_for_is_explained(build, spectral, target):
    classifier, wavs = of_waveforms(), bursts(2)
    features, decision = decide(wavs, spectral, classifier)
    decision = replace(decision, target=torch.tensor([target, target]))
    method = build("saliency", classifier_input="audio")
    mask = method(wavs, features, decision).mask
    for clip in range(2):
        _, _, attribution = attributed(method, (wavs, features, decision), clip)
        assert torch.equal(positive_over_maximum(attribution), mask[clip : clip + 1])
