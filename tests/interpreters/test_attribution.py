"""Attributions against slow twins, and each against the others that it may become."""

import copy
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from captum.attr import DeepLift, LayerGradCam
from torch import nn

from lmac_td.classifiers.black_box import BlackBoxClassifier
from lmac_td.classifiers.cnn14 import Cnn14Classifier, MaxPlusMean
from lmac_td.classifiers.modules import ModuleClassifier
from lmac_td.contracts import Classifier
from lmac_td.errors import DataError, SettingError
from lmac_td.evaluation.loop import decide
from lmac_td.experiment.build import load_recipe
from lmac_td.interpreters.attribution import (
    METHODS,
    Attribution,
    ClipLogits,
    backgrounds,
    build_attributions,
    positive_over_maximum,
)
from lmac_td.interpreters.baselines import HalfGain
from tests.conftest import ROOT, SAMPLE_RATE
from tests.networks import spectrogram_classifier, waveform_classifier

# Captum warns of hooks, which it removes again.
pytestmark = pytest.mark.filterwarnings("ignore:Setting")

DOMAINS = ("stft", "mel")
# Few draws where a test does not ask for exactness.
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


@pytest.fixture(scope="module")
def classifier(spectral):
    """A narrow CNN14 that has learned, in seconds, to tell tones: of random weights
    the representations are faint, and the way from silence to a sound is rough."""
    torch.manual_seed(5)
    classifier = narrow(spectral)
    for module in classifier.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    adam = torch.optim.Adam(classifier.parameters(), lr=0.01)
    for step in range(40):
        wavs, labels = labelled_bursts(16, seed=100 + step)
        logits = classifier.decide(wavs).logits
        adam.zero_grad()
        nn.functional.cross_entropy(logits, labels).backward()
        adam.step()
    for parameter in classifier.parameters():
        parameter.grad = None
    return classifier.freeze()


def narrow(spectral):
    return Cnn14Classifier(spectral, 80, (4, 8, 8, 8, 16), 16, 10)


@pytest.fixture(scope="module")
def decided(classifier, spectral):
    """Three clips, their features, and the classifier's decision."""
    wavs = bursts(3)
    return wavs, *decide(wavs, spectral, classifier)


@pytest.fixture
def build(spectral):
    """Build one method, or all of them."""

    def build(*methods, settings=QUICK, **common):
        common = {"features": spectral, **common}
        rows = build_attributions(list(methods or METHODS), settings=settings, **common)
        return rows if len(methods) != 1 else next(iter(rows.values()))

    return build


def clip_logits(method, decided, clip):
    """From what is attributed of one clip to logits."""
    wavs, features, decision = decided
    return ClipLogits(
        decision.classifier,
        method.features,
        method.domain,
        features.stft[clip : clip + 1],
        wavs.shape[1],
    )


def attributed(method, decided, clip):
    """The attribution of one clip, as ``forward`` asks for it."""
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


# ---------------------------------------------------------------- no test is vacuous


def test_the_classifier_of_these_tests_is_not_faint(decided):
    _, _, decision = decided
    assert decision.logits.std() > 0.1
    for representation in decision.representations:
        assert representation.values.amax() > 0.5


# ------------------------------------------------------------------------------ twins


@pytest.mark.parametrize("domain", DOMAINS)
def test_saliency_is_the_magnitude_of_the_gradient(build, classifier, decided, domain):
    x, target, ours = attributed(build("saliency", domain=domain), decided, 1)
    x.requires_grad_()
    literal_logit(classifier, domain, x, target).backward()
    assert x.grad.abs().max() > 0
    torch.testing.assert_close(ours, x.grad.abs())


class LiteralGuidedReLU(nn.Module):
    """Springenberg et al., fig. 1: backward, what is negative does not pass either."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            return (x > 0) * (gradient > 0) * gradient

    def forward(self, x):
        return self.Function.apply(x)


@pytest.mark.parametrize("domain", DOMAINS)
def test_guided_backprop_masks_negative_gradients_at_every_relu(
    build, classifier, decided, domain
):
    x, target, ours = attributed(build("guided_backprop", domain=domain), decided, 0)
    guided = copy.deepcopy(classifier)
    for block in (m for m in guided.modules() if hasattr(m, "relu1")):
        block.relu1, block.relu2 = LiteralGuidedReLU(), LiteralGuidedReLU()
    x.requires_grad_()
    literal_logit(guided, domain, x, target).backward()
    torch.testing.assert_close(ours, x.grad, rtol=1e-4, atol=1e-6 * x.grad.abs().max())
    _, _, plain = attributed(build("saliency", domain=domain), decided, 0)
    assert (ours.abs() - plain).norm() > 0.3 * plain.norm()


@pytest.mark.parametrize("layer", ["conv_block6", "conv_block3"])
@pytest.mark.parametrize("domain", DOMAINS)
def test_gradcam_equals_its_literal_twin(build, classifier, decided, layer, domain):
    settings = {"gradcam": {"layer": layer}}
    method = build("gradcam", domain=domain, settings=settings)
    _, target, ours = attributed(method, decided, 0)
    log_mel = decided[2].inputs[:1].clone().requires_grad_()
    embedding, reps = classifier.embedding_model(log_mel)
    activation, span = {"conv_block6": (reps[0], 32), "conv_block3": (reps[3], 8)}[
        layer
    ]
    logit = classifier.classifier(embedding)[0, target]
    (gradient,) = torch.autograd.grad(logit, activation)
    activation = activation.detach()
    weights = [float(channel.mean()) for channel in gradient[0]]
    n_frames, n_cells, n_rows = 87, activation.shape[2], activation.shape[3]
    bands = torch.zeros(n_frames, 80)
    for frame in range(n_frames):
        for band in range(80):
            row, column = min(frame // span, n_cells - 1), min(band // span, n_rows - 1)
            value = sum(
                a_k * float(activation[0, channel, row, column])
                for channel, a_k in enumerate(weights)
            )
            bands[frame, band] = max(value, 0.0)
    assert bands.max() > 0
    if domain == "stft":
        shares = classifier.mel.bands_of_bins
        bands = torch.stack([bands @ shares[:, column] for column in range(513)], dim=1)
    torch.testing.assert_close(ours[0], bands, rtol=1e-4, atol=1e-6)


def lay_over(cells, n_frames, n_columns, span):
    """Nearest upsampling of cells (1, time, frequency), each of span x span entries."""
    rows = (torch.arange(n_frames) // span).clamp(max=cells.shape[1] - 1)
    columns = (torch.arange(n_columns) // span).clamp(max=cells.shape[2] - 1)
    return cells[:, rows][:, :, columns]


@pytest.mark.parametrize(("layer", "span"), [("conv_block6", 32), ("conv_block3", 8)])
@pytest.mark.parametrize("domain", DOMAINS)
def test_gradcam_equals_captums(build, classifier, decided, layer, span, domain):
    """Captum's cells, each laid over the frames and bands that were pooled into it."""
    method = build("gradcam", domain=domain, settings={"gradcam": {"layer": layer}})
    module = classifier.embedding_model.get_submodule(layer)
    speaks_for = []
    for clip in range(3):
        x, target, ours = attributed(method, decided, clip)
        logits = clip_logits(method, decided, clip)
        theirs = LayerGradCam(logits, module).attribute(
            x.requires_grad_(), target, relu_attributions=True
        )
        expected = lay_over(theirs[:, 0].detach(), x.shape[1], 80, span)
        if domain == "stft":
            expected = expected @ classifier.mel.bands_of_bins
        speaks_for.append(bool(expected.max() > 0))
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)
    assert any(speaks_for)


def test_gradcam_takes_the_deepest_layer_by_default(build, decided):
    deepest = build("gradcam", settings={"gradcam": {"layer": "conv_block6"}})
    for ours, expected in zip(
        attributed(build("gradcam"), decided, 0),
        attributed(deepest, decided, 0),
        strict=True,
    ):
        assert (
            ours == expected if isinstance(ours, int) else torch.equal(ours, expected)
        )


def test_gradcam_lights_the_time_and_the_band_of_an_event(build, spectral):
    """Of a classifier whose cells are the loudness of their own frames and bands."""
    classifier = Cnn14Classifier(spectral, 80, (2, 2, 2, 2, 2), 4, 2).freeze()
    for kernel in (p for p in classifier.parameters() if p.dim() == 4):
        kernel.zero_()
        kernel[:, :, 1, 1] = 1 / kernel.shape[1]
    classifier.classifier.bias.zero_()
    classifier.classifier.weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 4))
    # Frames 70 to 90 are in the third cell of six; 500 Hz is in the first of two.
    wavs = torch.zeros(1, 2 * SAMPLE_RATE)
    first, last = 70 * spectral.hop_samples, 90 * spectral.hop_samples
    time = torch.arange(first, last) / SAMPLE_RATE
    wavs[0, first:last] = torch.sin(2 * torch.pi * 500 * time)
    features, decision = decide(wavs, spectral, classifier)
    for domain, column in (("stft", 32), ("mel", 10)):  # both of 500 Hz
        method = build("gradcam", domain=domain)
        mask = method(wavs, features, decision).mask[0]
        assert (mask[64:96, column] > 0.999).all()
        assert (mask[64:96, -1] < 0.5).all()
        assert (mask[:64, column] < 0.01).all()
        assert (mask[96:, column] < 0.01).all()


def test_guided_gradcam_is_the_product(build, decided):
    _, _, gradcam = attributed(build("gradcam"), decided, 0)
    _, _, guided = attributed(build("guided_backprop"), decided, 0)
    _, _, product = attributed(build("guided_gradcam"), decided, 0)
    torch.testing.assert_close(product, gradcam * guided)


@pytest.mark.parametrize("domain", DOMAINS)
def test_occlusion_equals_its_literal_twin(build, classifier, decided, domain):
    settings = {"occlusion": {"time_segments": 3, "frequency_segments": 2}}
    method = build("occlusion", domain=domain, settings=settings)
    x, target, ours = attributed(method, decided, 1)

    def probability(x):
        log_mel = (x @ classifier.mel.matrix).log1p() if domain == "stft" else x
        embedding, _ = classifier.embedding_model(log_mel)
        return classifier.classifier(embedding).softmax(-1)[0, target]

    loudest = classifier.mel.bands_of_bins.argmax(dim=0)
    with torch.no_grad():
        expected = torch.zeros_like(x)
        for rows in (slice(0, 29), slice(29, 58), slice(58, 87)):
            for bands in (range(40), range(40, 80)):
                columns = [
                    column
                    for column in range(x.shape[2])
                    if (loudest[column] if domain == "stft" else column) in bands
                ]
                silenced = x.clone()
                silenced[:, rows, columns] = 0
                expected[:, rows, columns] = probability(x) - probability(silenced)
    assert expected.max() > 1e-3
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


# --------------------------------------------------------------- what adds up, adds up


@pytest.mark.parametrize("domain", DOMAINS)
def test_integrated_gradients_are_complete(build, classifier, decided, domain):
    settings = {"integrated_gradients": {"n_steps": 256}}
    method = build("integrated_gradients", domain=domain, settings=settings)
    for clip in range(3):
        x, target, ours = attributed(method, decided, clip)
        with torch.no_grad():
            at_x, at_silence = (
                literal_logit(classifier, domain, point, target)
                for point in (x, torch.zeros_like(x))
            )
        difference = at_x - at_silence
        assert difference.abs() > 0.1
        assert (ours.sum() - difference).abs() < 0.01 * difference.abs()


@pytest.mark.parametrize("domain", DOMAINS)
def test_deeplift_converges(build, classifier, spectral, decided, domain):
    """Through the logarithm and the pooling over time, which Captum does not know."""
    method = build("deeplift_shap", domain=domain)
    references = spectral(backgrounds(86 * spectral.hop_samples)).magnitude
    if domain == "mel":
        references = (references @ classifier.mel.matrix).log1p()
    for clip in range(3):
        x, target, ours = attributed(method, decided, clip)
        with torch.no_grad():
            difference = literal_logit(classifier, domain, x, target) - sum(
                literal_logit(classifier, domain, reference[None], target) / 4
                for reference in references
            )
        assert difference.abs() > 0.1
        assert (ours.sum() - difference).abs() < 1e-3 * difference.abs()


def test_deeplift_divides_a_maximum_by_its_definition():
    """A rise is due to the maximum of x, a fall to the maximum of the reference."""
    x = torch.tensor([[[1.0, 5.0, 2.0, 0.0]], [[1.0, 0.0, 2.0, 0.0]]])
    reference = torch.tensor([[[3.0, 1.0, 2.0, 0.0]], [[3.0, 1.0, 2.0, 0.0]]])
    with pytest.warns(UserWarning, match="hooks"):
        ours = DeepLift(nn.Sequential(nn.Identity(), MaxPlusMean())).attribute(
            x.requires_grad_(), reference, target=0
        )
    of_max = torch.tensor([[[0.0, 2.0, 0.0, 0.0]], [[-1.0, 0.0, 0.0, 0.0]]])
    torch.testing.assert_close(ours, of_max + (x - reference) / 4)


# --------------------------------------------------------------------- what is random


@pytest.mark.parametrize("domain", DOMAINS)
def test_smoothgrad_draws_new_noise_for_every_sample(build, decided, domain):
    settings = {"smoothgrad": {"n_samples": 6, "noise_level": 0.1, "batch_size": 4}}
    method = build("smoothgrad", domain=domain, settings=settings)
    seen = []

    class Noted(ClipLogits):
        def forward(self, x):
            seen.append(x.detach())
            return super().forward(x)

    logits = Noted(*vars_of(clip_logits(method, decided, 0)))
    x, target, ours = attributed(method, decided, 0)
    method.attribute(x.clone().requires_grad_(), target, logits)
    given = torch.cat(seen)
    assert len(given) == 6
    for one in range(6):
        for other in range(one):
            assert (given[one] - given[other]).abs().mean() > 0.05 * (x.max() - x.min())
    noise = given - x
    expected = 0.1 * (x.max() - x.min())
    assert abs(noise.std() / expected - 1) < 0.02
    gradients = []
    for sample in given:  # and their mean is what is returned
        sample = sample.clamp(min=0)[None].requires_grad_()
        logit = logits(sample)[0, target]
        gradients.append(torch.autograd.grad(logit, sample)[0])
    torch.testing.assert_close(
        ours, torch.cat(gradients).mean(dim=0, keepdim=True).abs(), rtol=1e-3, atol=1e-6
    )


def vars_of(logits):
    return (
        logits.classifier,
        logits.features,
        logits.domain,
        logits.stft,
        logits.n_samples,
    )


def test_noise_below_silence_is_taken_for_silence(build, decided):
    logits = clip_logits(build("saliency"), decided, 0)
    x = decided[1].magnitude[:1]
    torch.testing.assert_close(logits(-x), logits(0 * x))
    assert logits(x - 0.5 * x.max()).isfinite().all()


@pytest.mark.parametrize("method", ["smoothgrad", "gradient_shap"])
def test_draws_come_from_the_seed_and_leave_no_trace(build, decided, method):
    def state():
        return (
            torch.random.get_rng_state().sum().item(),
            np.random.get_state()[1].sum(),
            np.random.get_state()[2],
            random.getstate(),
        )

    before = state()
    _, _, first = attributed(build(method), decided, 0)
    assert state() == before
    torch.manual_seed(99)
    np.random.seed(99)
    _, _, again = attributed(build(method), decided, 0)
    assert torch.equal(first, again)
    other_seed = {method: {"n_samples": 4, "seed": 1}}
    _, _, other = attributed(build(method, settings=other_seed), decided, 0)
    assert not torch.allclose(first, other)


def test_backgrounds_are_silence_and_noise_at_their_levels():
    sounds = backgrounds(SAMPLE_RATE)
    assert not sounds[0].any()
    level_db = 20 * sounds[1:].square().mean(dim=1).sqrt().log10()
    torch.testing.assert_close(
        level_db, torch.tensor([-60.0, -40.0, -20.0]), atol=0.1, rtol=0
    )
    assert torch.equal(sounds, backgrounds(SAMPLE_RATE))


# ---------------------------------------------------------------------- all of them


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_method_is_another(build, decided, domain):
    found = masks(build(domain=domain), decided)
    names = list(found)
    for one in names:
        assert found[one].amax() == 1, one
        for other in names[: names.index(one)]:
            difference = (found[one] - found[other]).norm()
            scale = min(found[one].norm(), found[other].norm())
            assert difference > 0.05 * scale, (one, other)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_randomised_classifier_changes_every_mask_but_no_constant_one(
    build, classifier, spectral, decided, domain
):
    wavs, features, decision = decided
    other = copy.deepcopy(classifier)
    torch.manual_seed(11)
    for parameter in other.parameters():
        if parameter.dim() == 4:
            nn.init.xavier_uniform_(parameter)
    other.classifier.reset_parameters()
    ours = {**build(domain=domain), "half gain": HalfGain(spectral)}
    before = masks(ours, decided)
    with torch.no_grad():  # of the same classes
        decision = replace(other(decision.inputs), target=decision.target)
    after = masks(ours, (wavs, features, decision))
    for name, mask in before.items():
        change = (after[name] - mask).norm() / mask.norm()
        if name == "half gain":
            assert change == 0
        else:
            assert change > 0.2, name


@pytest.mark.parametrize("domain", DOMAINS)
def test_an_explanation_does_not_depend_on_its_batch(
    build, classifier, spectral, domain
):
    wavs, rows = bursts(8), build(domain=domain)
    whole = masks(rows, (wavs, *decide(wavs, spectral, classifier)))
    for size in (1, 3):
        parts = [
            masks(rows, (part, *decide(part, spectral, classifier)))
            for part in wavs.split(size)
        ]
        for name, mask in whole.items():
            ours = torch.cat([part[name] for part in parts])
            torch.testing.assert_close(ours, mask, atol=1e-5, rtol=0, msg=name)


def traces(module):
    """Hooks, gradients and attributes that an attribution might leave behind."""
    return [
        (
            len(m._forward_hooks),
            len(m._forward_pre_hooks),
            len(m._backward_hooks),
            len(m._backward_pre_hooks),
            sorted(vars(m)),
            m.training,
            [p.grad is None and not p.requires_grad for p in m.parameters()],
        )
        for m in module.modules()
    ]


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_hook_and_no_gradient_is_left_behind(build, decided, domain):
    _, features, decision = decided
    classifier = decision.classifier
    rows = build(domain=domain)
    for name, method in rows.items():
        before = traces(classifier), traces(method)
        with torch.no_grad():
            explanation = method(*decided)
        assert (traces(classifier), traces(method)) == before, name
        for given in (features.magnitude, decision.inputs):
            assert not given.requires_grad, name
            assert given.grad is None, name
        for field in vars(explanation).values():
            assert not field.requires_grad, name
        assert not any(p.requires_grad for p in classifier.parameters()), name
        # The classifier is the decision's: no method has weights of its own.
        assert not list(method.parameters()), name


@pytest.mark.parametrize("classifier_input", ["spectrogram", "audio"])
def test_the_classifier_is_given_the_masked_magnitude_or_its_sound(
    build, classifier, spectral, decided, classifier_input
):
    features = decided[1]
    explanation = build("saliency", classifier_input=classifier_input)(*decided)
    masked = classifier.mel(explanation.mask * features.magnitude)
    sound = classifier.mel(spectral(explanation.interpretation).magnitude)
    expected = masked if classifier_input == "spectrogram" else sound
    torch.testing.assert_close(explanation.kept_input, expected, atol=1e-4, rtol=1e-4)
    assert (masked - sound).abs().max() > 1e-2
    both = explanation.interpretation + explanation.residual
    torch.testing.assert_close(both, decided[0], atol=1e-5, rtol=0)


def test_on_mel_bands_the_classifier_is_given_the_masked_mel(build, decided):
    method = build("saliency", domain="mel")
    explanation = method(*decided)
    expected = (explanation.mask * decided[2].inputs.expm1()).log1p()
    torch.testing.assert_close(explanation.kept_input, expected, atol=1e-5, rtol=1e-5)
    assert "no sound of its own" in method.remark
    assert explanation.interpretation.shape == decided[0].shape


def test_silence_and_less_than_a_window_are_explained(build, classifier, spectral):
    for wavs in (torch.zeros(1, 8000), 0.1 * torch.randn(1, 300)):
        for domain in DOMAINS:
            for name, method in build(domain=domain).items():
                mask = method(wavs, *decide(wavs, spectral, classifier)).mask
                assert mask.isfinite().all(), name
                assert (mask >= 0).all(), name
                assert (mask <= 1).all(), name


def test_without_a_positive_part_nothing_is_kept(spectral, decided):
    class Against(Attribution):
        def attribute(self, x, target, logits):
            return -x

    explanation = Against(spectral)(*decided)
    assert not explanation.mask.any()
    assert not explanation.interpretation.any()


def test_a_mask_is_the_positive_part_over_its_maximum_of_each_clip():
    attribution = torch.tensor([[[-8.0, 2.0]], [[0.5, 0.25]], [[-1.0, 0.0]]])
    expected = torch.tensor([[[0.0, 1.0]], [[1.0, 0.5]], [[0.0, 0.0]]])
    assert torch.equal(positive_over_maximum(attribution), expected)


def test_a_cell_stands_for_the_frames_nearest_to_its_centre(build, decided):
    """Literal: the deepest cells of CNN14, and a grid that is no multiple."""
    method, hop = build("gradcam"), 186
    rep = decided[2].representations[0]
    cells = method.cells_of_frames(rep, 87).tolist()
    assert cells == [min(frame // 32, 1) for frame in range(87)]
    geometry = replace(rep.geometry, hop_samples=700.0, offset_samples=333.0)
    odd = replace(rep, values=torch.zeros(1, 2, 20, 3), geometry=geometry)
    for frame, cell in enumerate(method.cells_of_frames(odd, 87).tolist()):
        distances = [abs(frame * hop - (333 + 700 * j)) for j in range(20)]
        assert distances[cell] == min(distances)


# ------------------------------------------------------------------- other classifiers


def explained_by(method, classifier, wavs, spectral):
    method.check(classifier)
    with torch.no_grad():
        return method(wavs, *decide(wavs, spectral, classifier))


def of_waveforms(**settings):
    """Whose classes differ by more than their biases."""
    torch.manual_seed(2)
    classifier = waveform_classifier(n_classes=4, **settings)
    for parameter in classifier.parameters():
        parameter.mul_(3 if parameter.dim() > 1 else 0)
    return classifier


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


@pytest.mark.parametrize("layer", ["relu3", "relu2"])
def test_gradcam_of_a_layer_that_is_caught_equals_captums(build, spectral, layer):
    """Each entry along time stands for the frames that are nearest to its centre."""
    classifier, wavs = of_waveforms(), bursts(2)
    settings = {"gradcam": {"layer": layer}}
    method = build("gradcam", classifier_input="audio", settings=settings)
    decided = wavs, *decide(wavs, spectral, classifier)
    hop, offset = next(
        (rep.hop_samples, rep.offset_samples)
        for rep in classifier.geometry
        if rep.name == layer
    )
    for clip in range(2):
        x, target, ours = attributed(method, decided, clip)
        logits = clip_logits(method, decided, clip)
        theirs = LayerGradCam(logits, classifier.network.get_submodule(layer))
        cells = theirs.attribute(x.requires_grad_(), target, relu_attributions=True)
        cells = cells[0, 0].detach()
        assert cells.max() > 0
        for frame in range(87):
            nearest = min(
                range(len(cells)),
                key=lambda j: abs(offset + j * hop - frame * spectral.hop_samples),
            )
            expected = cells[nearest].expand(513)
            torch.testing.assert_close(ours[0, frame], expected, rtol=1e-4, atol=1e-7)


def test_a_classifier_of_waveforms_is_given_no_spectrograms(build):
    with pytest.raises(SettingError, match="--classifier_input audio"):
        build("saliency").check(waveform_classifier())
    with pytest.raises(SettingError, match="--domain stft"):
        build("saliency", domain="mel").check(spectrogram_classifier())


class FunctionalReLU(nn.Module):
    """As many write it: no module that a hook could be put on."""

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


class SquareRoot(Classifier):
    """Its gradient at digital silence is not finite: that of a square root of 0."""

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


@pytest.mark.parametrize("name", ["saliency", "integrated_gradients"])
def test_gradients_that_are_not_finite_at_silence_are_mended_by_a_dither(
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
    assert classifier.dither_db is None  # what is measured is measured without it
    # The clip without silence is explained as if alone.
    alone = build(name, classifier_input="audio")
    mask = explained_by(alone, classifier, wavs[1:2], spectral).mask
    torch.testing.assert_close(mask, explanation.mask[1:2], atol=1e-5, rtol=0)
    assert "dither" not in alone.remark


def test_gradients_that_no_dither_mends_are_an_error(build, spectral):
    classifier = SquareRoot(slope=float("inf")).freeze()
    method = build("saliency", classifier_input="audio")
    with pytest.raises(DataError, match=r"SquareRoot is not finite.*occlusion"):
        explained_by(method, classifier, bursts(1), spectral)
    assert classifier.dither_db is None


def loudness(wavs):
    """A black box: the level of the first half, and of the second."""
    halves = np.split(wavs, 2, axis=1)
    return np.stack([10 * np.abs(half).mean(axis=1) for half in halves], axis=1)


def test_a_black_box_is_refused_by_every_method_that_needs_gradients(build):
    classifier = BlackBoxClassifier(loudness, SAMPLE_RATE, 2).freeze()
    for name, method in build(classifier_input="audio").items():
        if name == "occlusion":
            method.check(classifier)
            continue
        with pytest.raises(SettingError, match=r"black box.*occlusion") as error:
            method.check(classifier)
        assert type(method).__name__ in str(error.value), name
        assert "\n" not in str(error.value)


def test_a_black_box_is_explained_by_occlusion(build, spectral):
    classifier = BlackBoxClassifier(loudness, SAMPLE_RATE, 2).freeze()
    time = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = 0.5 * torch.sin(2 * torch.pi * 500 * time)
    wavs = torch.stack([tone * (time < 0.4), tone * (time > 0.6)])
    explanation = explained_by(
        build("occlusion", classifier_input="audio"), classifier, wavs, spectral
    )
    sounding = explanation.mask * spectral(wavs).magnitude
    assert explanation.mask.amax(dim=(1, 2)).tolist() == [1, 1]
    assert sounding[0, :40].sum() > 0.99 * sounding[0].sum()
    assert sounding[1, 47:].sum() > 0.99 * sounding[1].sum()


def test_gradcam_needs_representations(build):
    classifier = waveform_classifier(representations=[])
    with pytest.raises(SettingError, match="representations"):
        build("gradcam", classifier_input="audio").check(classifier)


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


def test_occlusion_asks_for_the_probability_of_a_tag(build, spectral):
    """Sigmoids: the probability is the tag's own, whatever the others are."""
    classifier = of_waveforms(activation="sigmoid")
    wavs = bursts(1)
    features, decision = decide(wavs, spectral, classifier)
    settings = {"occlusion": {"time_segments": 1, "frequency_segments": 1}}
    method = build("occlusion", classifier_input="audio", settings=settings)
    _, target, ours = attributed(method, (wavs, features, decision), 0)
    with torch.no_grad():
        of_silence = classifier.network(torch.zeros_like(wavs))[0, target].sigmoid()
    expected = decision.logits[0, target].sigmoid() - of_silence
    torch.testing.assert_close(ours, expected.expand_as(ours), rtol=1e-4, atol=1e-6)


# -------------------------------------------------------------------------- settings


def test_weights_that_are_loaded_later_are_explained(build, spectral, decided):
    torch.manual_seed(0)
    other = narrow(spectral).freeze()
    decision = replace(decided[2], classifier=other)
    method = build("saliency")
    before = method(*decided[:2], decision).mask
    other.classifier.load_state_dict(nn.Linear(16, 10).state_dict())
    assert not torch.allclose(method(*decided[:2], decision).mask, before)


@pytest.mark.parametrize(
    ("method", "common", "named"),
    [
        ("saliency", {"domain": "wavelet"}, "--domain"),
        ("saliency", {"mask_domain": "db"}, "--mask_domain"),
        ("saliency", {"classifier_input": "no"}, "--classifier_input"),
        (
            "saliency",
            {"domain": "mel", "classifier_input": "audio"},
            "--classifier_input spectrogram",
        ),
        ("lime", {}, "--methods"),
        (
            "smoothgrad",
            {"settings": {"smoothgrad": {"noise_level": -1}}},
            "--noise_level",
        ),
        (
            "smoothgrad",
            {"settings": {"smoothgrad": {"n_samples": 0}}},
            "--smoothgrad_samples",
        ),
        (
            "integrated_gradients",
            {"settings": {"integrated_gradients": {"n_steps": 1.5}}},
            "--n_steps",
        ),
        (
            "occlusion",
            {"settings": {"occlusion": {"time_segments": True}}},
            "--time_segments",
        ),
    ],
)
def test_settings_that_cannot_work_are_named(build, method, common, named):
    with pytest.raises(SettingError, match=named):
        build(method, **common)


def test_a_layer_that_gives_no_representation_is_named(build, classifier):
    method = build("gradcam", settings={"gradcam": {"layer": "fc"}})
    with pytest.raises(SettingError, match="--gradcam_layer one of conv_block6"):
        method.check(classifier)


@pytest.mark.parametrize("methods", ["saliency", [], None])
def test_methods_are_a_list(methods):
    with pytest.raises(SettingError, match="--methods"):
        build_attributions(methods)


@pytest.mark.parametrize("recipe", ["baselines", "baselines_small", "baselines_demo"])
def test_recipes_build_their_rows(recipe):
    small = {"cnn14_channels": [2, 2, 2, 2, 2], "emb_dim": 4}
    path = ROOT / "hparams" / f"{recipe}.yaml"
    hparams = load_recipe(path, small)
    assert list(hparams["interpreters"]) == list(METHODS)
    hparams = load_recipe(
        path, {**small, "domain": "mel", "methods": ["gradcam", "occlusion"]}
    )
    rows = hparams["interpreters"]
    assert list(rows) == ["gradcam (mel)", "occlusion (mel)"]
    for row in rows.values():
        row.check(hparams["classifier"])
    assert "mel" in hparams["experiment_name"]
