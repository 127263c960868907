"""Other sources of scores: the inside of the network, and other methods' masks."""

import pytest
import torch

from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import decide
from lmac_td.interpreters.attribution import METHODS, build_attributions
from lmac_td.interpreters.base import Interpreter
from lmac_td.interpreters.baselines import HalfGain
from lmac_td.interpreters.budgeted import (
    GradientTimesActivation,
    OfInterpreter,
    cut_to_size,
    share_kept,
)
from lmac_td.metrics.signal import kept_gain
from lmac_td.targets import TargetChoice
from tests.interpreters.attribution.helpers import QUICK, bursts, of_waveforms
from tests.networks import spectrogram_classifier, waveform_classifier

# Captum warns of hooks, which it removes again.
pytestmark = pytest.mark.filterwarnings("ignore:Setting")


def cnn14(frozen, spectral):
    return frozen, spectral


def images(frozen, spectral):
    classifier = spectrogram_classifier()
    return classifier, classifier.spectrogram


def waveforms(frozen, spectral):
    return of_waveforms(), spectral


def tags(frozen, spectral):
    return of_waveforms(activation="sigmoid"), spectral


@pytest.fixture(params=[cnn14, images, waveforms, tags])
def decided(request, frozen, spectral):
    """An STFT and three clips with the decision of one kind of classifier."""
    classifier, stft = request.param(frozen, spectral)
    wavs = bursts(3)
    return stft, (wavs, *decide(wavs, stft, classifier))


def literal(stft, wavs, features, decision, layer, clip):
    """Gradient times activation of one clip, frame by frame."""
    classifier, target = decision.classifier, decision.target[clip]
    found = classifier(decision.inputs[clip : clip + 1].clone().requires_grad_())
    rep = {r.geometry.name: r for r in found.representations}[layer]
    logits = found.logits[0]
    odds = logits[target]
    if classifier.activation == "softmax":
        odds = odds - torch.cat([logits[:target], logits[target + 1 :]]).logsumexp(0)
    gradient = rep.gradient(odds)
    product = sum(g * v for g, v in zip(gradient[0], rep.values[0], strict=True))
    step, frames = stft.hop_samples / rep.hop_samples, []
    if step >= 2:  # several entries a frame: the mean of its neighbours
        n, half = len(product), int(step / 2)
        product = torch.stack(
            [product[max(0, i - half) : i + half + 1].mean(dim=0) for i in range(n)]
        )
    for frame in range(features.magnitude.shape[1]):
        position = (frame * stft.hop_samples - rep.offset_samples) / rep.hop_samples
        position = min(max(position, 0), len(product) - 1)
        left = int(position)
        right = min(left + 1, len(product) - 1)
        share = position - left
        frames.append((1 - share) * product[left] + share * product[right])
    rows = torch.stack(frames).detach()
    return classifier.spread_over_bins(rows, rep.geometry, stft)


def test_gradient_times_activation_is_that_of_a_loop(decided):
    stft, (wavs, features, decision) = decided
    names = [geometry.name for geometry in decision.classifier.geometry]
    for layer in (None, *names):
        source = GradientTimesActivation(stft, layer=layer)
        source.check(decision.classifier)
        with torch.no_grad():
            found = source.relevance(wavs, features, decision)
        assert found.shape == features.magnitude.shape
        assert not found.requires_grad
        for clip in range(3):
            expected = literal(stft, wavs, features, decision, layer or names[-1], clip)
            torch.testing.assert_close(
                found[clip],
                expected,
                rtol=1e-3,
                atol=1e-4 * float(expected.abs().max()),
            )
    assert source(wavs, features, decision).shape[1] == source.n_candidates == 1


def test_gradient_times_activation_explains_the_target(frozen, spectral):
    wavs = bursts(2)
    features, decision = decide(wavs, spectral, frozen)
    maps = [
        GradientTimesActivation(spectral)(
            wavs, features, TargetChoice(target).choose(decision)[1]
        )
        for target in (0, 3)
    ]
    assert (maps[0] - maps[1]).norm() > 0.1 * maps[0].norm()


def test_autocast_does_not_change_gradient_times_activation(decided):
    stft, batch = decided
    expected = GradientTimesActivation(stft)(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = GradientTimesActivation(stft)(*batch)
    assert torch.equal(found, expected)


def test_classifiers_without_gradients_or_layers_are_refused(spectral):
    source = GradientTimesActivation(spectral, layer="relu7")
    with pytest.raises(
        SettingError, match="layer is 'relu7': give --layer one of relu3, relu2"
    ):
        source.check(waveform_classifier())
    with pytest.raises(SettingError, match="representations"):
        source.check(waveform_classifier(representations=None))
    black_box = waveform_classifier()
    black_box.differentiable = False
    with pytest.raises(SettingError, match="is a black box"):
        source.check(black_box)


@pytest.fixture
def attributions(spectral):
    return build_attributions(list(METHODS), settings=QUICK, features=spectral)


def test_every_attribution_can_be_cut_to_a_size(frozen, spectral, attributions):
    """The order of the bins is that of the method's own mask."""
    rows = cut_to_size(attributions, spectral, keep=0.3, keep_by="energy")
    assert list(rows) == [f"{name} 0.3" for name in METHODS]
    wavs = bursts(2)
    decided = wavs, *decide(wavs, spectral, frozen)
    for name, method in attributions.items():
        cut = rows[f"{name} 0.3"]
        cut.check(frozen)
        with torch.no_grad():
            own, explanation = method(*decided).mask, cut(*decided)
        kept = share_kept(explanation.mask, decided[1].magnitude, "energy")
        torch.testing.assert_close(
            kept, torch.full((2,), 0.3), atol=1e-4, rtol=0, msg=name
        )
        order = own.flatten(1).argsort(dim=1)
        steps = explanation.mask.flatten(1).gather(1, order).diff(dim=1)
        assert (steps >= -1e-6).all(), name
        assert explanation.mask.amax(dim=(1, 2)).min() > 0.5, name


class GivenMask(Interpreter):
    """The same mask for every clip, on the bins or on something else."""

    def __init__(self, features, mask):
        super().__init__(features)
        self.mask = mask

    def forward(self, wavs, features, decision):
        explanation = self.explain_mask(self.mask, wavs, features, decision)
        if self.mask.shape[-1] != features.magnitude.shape[-1]:
            raise AssertionError
        return explanation


def test_what_a_method_keeps_of_a_bin_is_its_score(frozen, spectral):
    """Even if it masks something other than the STFT, as mel bands."""
    wavs = bursts(2)
    features, decision = decide(wavs, spectral, frozen)
    mask = torch.rand(2, 87, 513)
    source = OfInterpreter(spectral, GivenMask(spectral, mask))
    assert torch.equal(source.relevance(wavs, features, decision), mask)
    mel = METHODS["saliency"](spectral, domain="mel")
    with torch.no_grad():
        explanation = mel(wavs, features, decision)
        found = OfInterpreter(spectral, mel).relevance(wavs, features, decision)
    assert explanation.mask.shape[-1] == 80
    expected = kept_gain(explanation.magnitude, features.magnitude)
    assert torch.equal(found, expected)


def test_a_constant_mask_is_cut_to_a_constant(frozen, spectral):
    wavs = bursts(2)
    features, decision = decide(wavs, spectral, frozen)
    (cut,) = cut_to_size({"half gain": HalfGain(spectral)}, spectral, keep=0.3).values()
    mask = cut(wavs, features, decision).mask
    torch.testing.assert_close(mask, torch.full_like(mask, 0.3), atol=1e-5, rtol=0)


def test_rows_are_named_and_smoothed_as_asked(spectral, attributions):
    rows = cut_to_size(attributions, spectral, keep=0.5, kernels=[[80, 80], [515, 270]])
    assert list(rows) == [f"{name} 0.5" for name in METHODS]
    assert all(row.asks_classifier for row in rows.values())


def test_a_method_refuses_as_without_being_cut(spectral):
    (cut,) = cut_to_size({"s": METHODS["saliency"](spectral)}, spectral, 0.5).values()
    with pytest.raises(SettingError, match="--classifier_input audio"):
        cut.check(waveform_classifier())
