"""Attributions against slow twins, and each against the others that it may become."""

import copy
import random

import numpy as np
import pytest
import torch
from captum.attr import DeepLift
from torch import nn

from lmac_td.classifier import Cnn14, FrozenClassifier, MaxPlusMean
from lmac_td.errors import SettingError
from lmac_td.evaluation import decide
from lmac_td.hparams import load_recipe
from lmac_td.interpreters.attribution import (
    METHODS,
    Attribution,
    backgrounds,
    build_attributions,
    lay_over,
    positive_over_maximum,
)
from lmac_td.interpreters.baselines import HalfGain
from tests.conftest import ROOT, SAMPLE_RATE

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
def pair(spectral):
    """A narrow CNN14 that has learned, in seconds, to tell tones: of random weights
    the representations are faint, and the way from silence to a sound is rough."""
    torch.manual_seed(5)
    net = Cnn14(mel_bins=80, emb_dim=16, channels=(4, 8, 8, 8, 16), dropout=0.0)
    head = nn.Linear(16, 10)
    adam = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=0.01)
    for step in range(40):
        wavs, labels = labelled_bursts(16, seed=100 + step)
        logits = head(net(spectral(wavs).log_mel)[0])
        adam.zero_grad()
        nn.functional.cross_entropy(logits, labels).backward()
        adam.step()
    for parameter in (*net.parameters(), *head.parameters()):
        parameter.grad = None
    return net.eval(), head


@pytest.fixture(scope="module")
def decided(pair, spectral):
    """Three clips, their features, and the classifier's decision."""
    wavs = bursts(3)
    return wavs, *decide(wavs, spectral, FrozenClassifier(*pair))


@pytest.fixture
def build(pair, spectral):
    """Build one method, or all of them, for the narrow classifier."""

    def build(*methods, settings=QUICK, pair=pair, **common):
        common = {
            "features": spectral,
            "embedding_model": pair[0],
            "classifier": pair[1],
            **common,
        }
        rows = build_attributions(list(methods or METHODS), settings=settings, **common)
        return rows if len(methods) != 1 else next(iter(rows.values()))

    return build


def attributed(method, decided, clip):
    """The attribution of one clip, as ``forward`` asks for it."""
    _, features, decision = decided
    x = features.magnitude if method.domain == "stft" else features.log_mel
    x = x[clip : clip + 1].clone().requires_grad_()
    target = int(decision.predicted[clip])
    return x.detach(), target, method.attribute(x, target).detach()


def literal_logit(pair, spectral, domain, x, target):
    log_mel = spectral.log_mel(x) if domain == "stft" else x
    embedding, _ = pair[0](log_mel)
    return pair[1](embedding)[0, target]


def masks(rows, decided):
    with torch.no_grad():
        return {name: method(*decided).mask for name, method in rows.items()}


# ---------------------------------------------------------------- no test is vacuous


def test_the_classifier_of_these_tests_is_not_faint(pair, decided):
    _, _, decision = decided
    assert decision.logits.std() > 0.1
    for representation in decision.representations:
        assert representation.amax() > 0.5


# ------------------------------------------------------------------------------ twins


@pytest.mark.parametrize("domain", DOMAINS)
def test_saliency_is_the_magnitude_of_the_gradient(
    build, pair, spectral, decided, domain
):
    x, target, ours = attributed(build("saliency", domain=domain), decided, 1)
    x.requires_grad_()
    literal_logit(pair, spectral, domain, x, target).backward()
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
    build, pair, spectral, decided, domain
):
    x, target, ours = attributed(build("guided_backprop", domain=domain), decided, 0)
    guided = copy.deepcopy(pair[0])
    for block in (m for m in guided.modules() if hasattr(m, "relu1")):
        block.relu1, block.relu2 = LiteralGuidedReLU(), LiteralGuidedReLU()
    x.requires_grad_()
    literal_logit((guided, pair[1]), spectral, domain, x, target).backward()
    torch.testing.assert_close(ours, x.grad, rtol=1e-4, atol=1e-6 * x.grad.abs().max())
    _, _, plain = attributed(build("saliency", domain=domain), decided, 0)
    assert (ours.abs() - plain).norm() > 0.3 * plain.norm()


@pytest.mark.parametrize("layer", ["conv_block6", "conv_block3"])
@pytest.mark.parametrize("domain", DOMAINS)
def test_gradcam_equals_its_literal_twin(build, pair, spectral, decided, layer, domain):
    settings = {"gradcam": {"layer": layer}}
    method = build("gradcam", domain=domain, settings=settings)
    _, target, ours = attributed(method, decided, 0)
    log_mel = decided[1].log_mel[:1].clone().requires_grad_()
    embedding, reps = pair[0](log_mel)
    activation, span = {"conv_block6": (reps[0], 32), "conv_block3": (reps[3], 8)}[
        layer
    ]
    logit = pair[1](embedding)[0, target]
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
        shares = spectral.bands_of_bins
        bands = torch.stack([bands @ shares[:, column] for column in range(513)], dim=1)
    torch.testing.assert_close(ours[0], bands, rtol=1e-4, atol=1e-6)


def test_gradcam_lights_the_time_and_the_band_of_an_event(build, spectral):
    """Of a classifier whose cells hear the loudness of their own frames and bands."""
    net = Cnn14(mel_bins=80, emb_dim=4, channels=(2, 2, 2, 2, 2)).requires_grad_(False)
    head = nn.Linear(4, 2, bias=False).requires_grad_(False)
    for kernel in (p for p in net.parameters() if p.dim() == 4):
        kernel.zero_()
        kernel[:, :, 1, 1] = 1 / kernel.shape[1]
    head.weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 4))
    # Frames 70 to 90 are in the third cell of six; 500 Hz is in the first of two.
    wavs = torch.zeros(1, 2 * SAMPLE_RATE)
    first, last = 70 * spectral.hop_samples, 90 * spectral.hop_samples
    time = torch.arange(first, last) / SAMPLE_RATE
    wavs[0, first:last] = torch.sin(2 * torch.pi * 500 * time)
    features, decision = decide(wavs, spectral, FrozenClassifier(net, head))
    for domain, column in (("stft", 32), ("mel", 10)):  # both of 500 Hz
        method = build("gradcam", pair=(net, head), domain=domain)
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
def test_occlusion_equals_its_literal_twin(build, pair, spectral, decided, domain):
    settings = {"occlusion": {"time_segments": 3, "frequency_segments": 2}}
    method = build("occlusion", domain=domain, settings=settings)
    x, target, ours = attributed(method, decided, 1)

    def probability(x):
        log_mel = spectral.log_mel(x) if domain == "stft" else x
        return pair[1](pair[0](log_mel)[0]).softmax(-1)[0, target]

    loudest = spectral.bands_of_bins.argmax(dim=0)
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
def test_integrated_gradients_are_complete(build, pair, spectral, decided, domain):
    settings = {"integrated_gradients": {"n_steps": 256}}
    method = build("integrated_gradients", domain=domain, settings=settings)
    for clip in range(3):
        x, target, ours = attributed(method, decided, clip)
        with torch.no_grad():
            at_x, at_silence = (
                literal_logit(pair, spectral, domain, point, target)
                for point in (x, torch.zeros_like(x))
            )
        difference = at_x - at_silence
        assert difference.abs() > 0.1
        assert (ours.sum() - difference).abs() < 0.01 * difference.abs()


@pytest.mark.parametrize("domain", DOMAINS)
def test_deeplift_converges(build, pair, spectral, decided, domain):
    """Through the logarithm and the pooling over time, which Captum does not know."""
    method = build("deeplift_shap", domain=domain)
    sounds = spectral(backgrounds(86 * spectral.hop_samples))
    references = sounds.magnitude if domain == "stft" else sounds.log_mel
    for clip in range(3):
        x, target, ours = attributed(method, decided, clip)
        with torch.no_grad():
            difference = literal_logit(pair, spectral, domain, x, target) - sum(
                literal_logit(pair, spectral, domain, reference[None], target) / 4
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
    heard = []
    hook = method.logits.register_forward_pre_hook(lambda _, x: heard.append(x[0]))
    x, target, ours = attributed(method, decided, 0)
    hook.remove()
    heard = torch.cat(heard).detach()
    assert len(heard) == 6
    for one in range(6):
        for other in range(one):
            assert (heard[one] - heard[other]).abs().mean() > 0.05 * (x.max() - x.min())
    noise = heard - x
    expected = 0.1 * (x.max() - x.min())
    assert abs(noise.std() / expected - 1) < 0.02
    gradients = []
    for sample in heard:  # and their mean is what is returned
        sample = sample.clamp(min=0)[None].requires_grad_()
        logit = method.logits(sample)[0, target]
        gradients.append(torch.autograd.grad(logit, sample)[0])
    torch.testing.assert_close(
        ours, torch.cat(gradients).mean(dim=0, keepdim=True).abs(), rtol=1e-3, atol=1e-6
    )


def test_noise_below_silence_is_heard_as_silence(build, decided):
    logits = build("saliency").logits
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
    build, pair, spectral, decided, domain
):
    wavs, features, decision = decided
    other = copy.deepcopy(pair)
    torch.manual_seed(11)
    for parameter in other[0].parameters():
        if parameter.dim() == 4:
            nn.init.xavier_uniform_(parameter)
    other[1].reset_parameters()
    ours = {**build(domain=domain), "half gain": HalfGain(spectral)}
    before = masks(ours, decided)
    ours = {**build(domain=domain, pair=other), "half gain": HalfGain(spectral)}
    after = masks(ours, (wavs, features, decision))  # of the same classes
    for name, mask in before.items():
        change = (after[name] - mask).norm() / mask.norm()
        if name == "half gain":
            assert change == 0
        else:
            assert change > 0.2, name


@pytest.mark.parametrize("domain", DOMAINS)
def test_an_explanation_does_not_depend_on_its_batch(build, pair, spectral, domain):
    wavs, frozen, rows = bursts(8), FrozenClassifier(*pair), build(domain=domain)
    whole = masks(rows, (wavs, *decide(wavs, spectral, frozen)))
    for size in (1, 3):
        parts = [
            masks(rows, (part, *decide(part, spectral, frozen)))
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
    features = decided[1]
    rows = build(domain=domain)
    for name, method in rows.items():
        before = traces(method)
        with torch.no_grad():
            explanation = method(*decided)
        assert traces(method) == before, name
        assert not features.magnitude.requires_grad, name
        assert not features.log_mel.requires_grad, name
        assert features.magnitude.grad is None, name
        for field in vars(explanation).values():
            assert not field.requires_grad, name
        assert not any(p.requires_grad for p in method.train().parameters()), name


@pytest.mark.parametrize("heard", ["spectrogram", "audio"])
def test_the_classifier_hears_the_masked_magnitude_or_its_sound(
    build, spectral, decided, heard
):
    features = decided[1]
    explanation = build("saliency", heard=heard)(*decided)
    masked = spectral.log_mel(explanation.mask * features.magnitude)
    sound = spectral(explanation.interpretation).log_mel
    expected = masked if heard == "spectrogram" else sound
    torch.testing.assert_close(explanation.heard_in, expected, atol=1e-4, rtol=1e-4)
    assert (masked - sound).abs().max() > 1e-2
    both = explanation.interpretation + explanation.residual
    torch.testing.assert_close(both, decided[0], atol=1e-5, rtol=0)


def test_on_mel_bands_the_classifier_hears_the_masked_mel(build, spectral, decided):
    features = decided[1]
    method = build("saliency", domain="mel")
    explanation = method(*decided)
    expected = (explanation.mask * features.log_mel.expm1()).log1p()
    torch.testing.assert_close(explanation.heard_in, expected, atol=1e-5, rtol=1e-5)
    assert "no sound of its own" in method.remark
    assert explanation.interpretation.shape == decided[0].shape


def test_silence_and_less_than_a_window_are_explained(build, pair, spectral):
    frozen = FrozenClassifier(*pair)
    for wavs in (torch.zeros(1, 8000), 0.1 * torch.randn(1, 300)):
        for domain in DOMAINS:
            for name, method in build(domain=domain).items():
                mask = method(wavs, *decide(wavs, spectral, frozen)).mask
                assert mask.isfinite().all(), name
                assert (mask >= 0).all(), name
                assert (mask <= 1).all(), name


def test_without_a_positive_part_nothing_is_kept(build, pair, spectral, decided):
    class Against(Attribution):
        def attribute(self, x, target):
            return -x

    explanation = Against(spectral, *pair)(*decided)
    assert not explanation.mask.any()
    assert not explanation.interpretation.any()


def test_a_mask_is_the_positive_part_over_its_maximum_of_each_clip():
    attribution = torch.tensor([[[-8.0, 2.0]], [[0.5, 0.25]], [[-1.0, 0.0]]])
    expected = torch.tensor([[[0.0, 1.0]], [[1.0, 0.5]], [[0.0, 0.0]]])
    assert torch.equal(positive_over_maximum(attribution), expected)


def test_cells_lie_over_the_frames_that_they_were_pooled_from():
    cells = torch.rand(2, 2, 2)
    laid = lay_over(cells, 87, 80, 32)
    for frame, row in ((0, 0), (31, 0), (32, 1), (63, 1), (86, 1)):
        for band, column in ((0, 0), (31, 0), (32, 1), (79, 1)):
            assert torch.equal(laid[:, frame, band], cells[:, row, column])


# -------------------------------------------------------------------------- settings


def test_weights_that_are_loaded_later_are_explained(build, decided):
    torch.manual_seed(0)
    pair = Cnn14(80, 16, channels=(4, 8, 8, 8, 16)), nn.Linear(16, 10)
    method = build("saliency", pair=pair)
    before = method(*decided).mask
    pair[1].load_state_dict(nn.Linear(16, 10).state_dict())
    assert not torch.allclose(method(*decided).mask, before)


@pytest.mark.parametrize(
    ("method", "common", "named"),
    [
        ("saliency", {"domain": "wavelet"}, "--domain"),
        ("saliency", {"mask_domain": "db"}, "--mask_domain"),
        ("saliency", {"heard": "no"}, "--heard"),
        ("saliency", {"domain": "mel", "heard": "audio"}, "--heard spectrogram"),
        ("lime", {}, "--methods"),
        ("gradcam", {"settings": {"gradcam": {"layer": "fc"}}}, "--gradcam_layer"),
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
    explained = rows["gradcam (mel)"].logits.frozen
    assert explained.embedding_model is hparams["embedding_model"]
    assert explained.classifier is hparams["classifier"]
    assert "mel" in hparams["experiment_name"]
