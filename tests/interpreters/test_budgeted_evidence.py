"""The evidence of bin gains: derivatives of the margin, without training."""

import itertools

import pytest
import torch
from torch import nn

from lmac_td.classifiers.modules import ModuleClassifier
from lmac_td.errors import DataError, SettingError
from lmac_td.evaluation.batches import decide
from lmac_td.interpreters.budgeted import BinGains, Budgeted
from lmac_td.targets import TargetChoice
from tests.conftest import SAMPLE_RATE
from tests.interpreters.attribution.helpers import SquareRoot, bursts, of_waveforms
from tests.networks import spectrogram_classifier

KERNELS = [[80, 80]]
GAINS = (0.3, 1.0)


def evidence(spectral, **settings):
    return BinGains(spectral, KERNELS, **{"gains": GAINS, **settings})


def relevance(source, classifier, wavs, target=None):
    features, decision = decide(wavs, source.features, classifier)
    if target is not None:
        decision = TargetChoice(target).choose(decision)[1]
    with torch.no_grad():
        return source.relevance(wavs, features, decision)


def literal(source, classifier, wav, target):
    """One clip, one gain and one draw at a time."""
    stft, total = source.features, 0
    window, hop = stft.window, stft.hop_samples
    settings = (stft.n_fft, hop, len(window), window)
    spectrum = torch.stft(
        wav, *settings, pad_mode="constant", return_complex=True
    )  # (bins, frames)
    for draw, gain in itertools.product(range(source.draws), source.gains):
        noise = torch.randn(
            spectrum.T.shape, generator=torch.Generator().manual_seed(draw)
        )
        g = (gain + gain * source.jitter * noise).requires_grad_()
        sound = torch.istft(spectrum * g.T, *settings, length=len(wav))
        logits = classifier.decide(sound.unsqueeze(0)).logits[0]
        odds = logits[target]
        if classifier.activation == "softmax":
            others = [c for c in range(len(logits)) if c != target]
            odds = odds - logits[others].exp().sum().log()
        odds.backward()
        total = total + g.grad
    return total / (source.draws * len(source.gains))


def close(found, expected):
    torch.testing.assert_close(
        found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
    )


@pytest.fixture
def classifier_of(spectral, frozen):
    """Classifiers of spectrograms and of waveforms, with a softmax and sigmoids."""

    def build(kind):
        if kind == "cnn14":
            return frozen, spectral
        if kind == "images":
            classifier = spectrogram_classifier()
            return classifier, classifier.spectrogram
        activation = "sigmoid" if kind == "tags" else "softmax"
        return of_waveforms(activation=activation), spectral

    return build


KINDS = ["cnn14", "images", "waveforms", "tags"]


@pytest.mark.parametrize("kind", KINDS)
def test_relevance_is_the_mean_derivative_by_the_gain_of_a_bin(classifier_of, kind):
    classifier, stft = classifier_of(kind)
    source, wavs = evidence(stft, draws=2), bursts(2)
    found = relevance(source, classifier, wavs, target=1)
    assert found.abs().amax(dim=(1, 2)).min() > 0
    for clip, wav in enumerate(wavs):
        close(found[clip], literal(source, classifier, wav, target=1))


@pytest.mark.parametrize("at_once", [3, 8, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_passes_at_once_change_nothing(classifier_of, kind, at_once):
    classifier, stft = classifier_of(kind)
    wavs = bursts(2)
    one, several = (
        relevance(BinGains(stft, KERNELS, passes_at_once=n), classifier, wavs)
        for n in (1, at_once)
    )
    close(several, one)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_has_the_same_evidence_alone_as_in_a_batch(classifier_of, kind):
    classifier, stft = classifier_of(kind)
    wavs = bursts(3)
    source = evidence(stft, draws=1, passes_at_once=2)
    batch = relevance(source, classifier, wavs)
    for clip in range(3):
        close(relevance(source, classifier, wavs[clip : clip + 1])[0], batch[clip])


def test_a_batch_limit_is_kept(spectral):
    classifier, wavs, sizes = of_waveforms(), bursts(3), []
    source = evidence(spectral, passes_at_once=4)
    expected = relevance(source, classifier, wavs)
    run = classifier.run
    classifier.run = lambda inputs: sizes.append(len(inputs)) or run(inputs)
    features, decision = decide(wavs, spectral, classifier)
    classifier.batch_limit, sizes[:] = 2, []
    close(source.relevance(wavs, features, decision), expected)
    assert max(sizes) == 2
    assert sum(sizes) == 3 * source.n_passes


def test_the_number_of_gradient_passes(spectral):
    assert BinGains(spectral).n_passes == 8
    assert evidence(spectral, draws=3).n_passes == 6


def test_a_linear_classifier_has_the_relevance_of_the_closed_form(spectral):
    """The margin <v, x> + c has the derivative Re(X conj(V)) of each bin, where V is
    the STFT of v over the sum of squared windows, whatever the gains and draws are."""
    torch.manual_seed(0)
    network = nn.Linear(SAMPLE_RATE, 2)
    classifier = ModuleClassifier(network, SAMPLE_RATE, 2).freeze()
    wavs = bursts(2)
    v = network.weight[0] - network.weight[1]
    n_fft, hop = spectral.n_fft, spectral.hop_samples
    window = torch.zeros(n_fft)
    start = (n_fft - len(spectral.window)) // 2
    window[start : start + len(spectral.window)] = spectral.window
    envelope = torch.zeros(SAMPLE_RATE + 2 * n_fft)
    for frame in range(spectral.n_frames(SAMPLE_RATE)):
        envelope[frame * hop : frame * hop + n_fft] += window**2
    envelope = envelope[n_fft // 2 :][:SAMPLE_RATE]
    spectrum = spectral.stft((v / envelope).unsqueeze(0))
    twice = torch.full((spectral.n_bins,), 2.0)
    twice[0] = twice[-1] = 1
    expected = (spectral.stft(wavs) * spectrum.conj()).real * twice / n_fft
    for settings in ({}, {"jitter": 0, "draws": 1, "gains": [7]}):
        found = relevance(evidence(spectral, **settings), classifier, wavs, target=0)
        close(found, expected)
        against = relevance(evidence(spectral, **settings), classifier, wavs, target=1)
        close(against, -expected)
        # All relevance adds up to what the margin gains by the clip.
        torch.testing.assert_close(
            found.sum(dim=(1, 2)), wavs @ v, atol=1e-4, rtol=1e-3
        )


def test_jitter_0_makes_all_draws_equal(spectral):
    classifier, wavs = of_waveforms(), bursts(2)
    one, three = (
        relevance(evidence(spectral, jitter=0, draws=n), classifier, wavs)
        for n in (1, 3)
    )
    close(three, one)
    jittered = relevance(evidence(spectral, draws=1), classifier, wavs)
    assert (jittered - one).norm() > 0.1 * one.norm()


def test_sigmoids_explain_the_logit_of_each_tag(spectral):
    """Two tags of one clip have different evidence: of their logits alone."""
    classifier, wavs = of_waveforms(activation="sigmoid"), bursts(2)
    source = evidence(spectral, jitter=0, draws=1)
    maps = [relevance(source, classifier, wavs, target=tag) for tag in range(4)]
    assert (maps[0] - maps[1]).norm() > 0.1 * maps[0].norm()
    with torch.no_grad():  # another tag's bias does not matter
        classifier.network.head.bias[1] += 10
    close(relevance(source, classifier, wavs, target=0), maps[0])


def test_no_parameter_of_the_classifier_gets_a_gradient(frozen, spectral):
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    found = relevance(evidence(spectral), frozen, bursts(2))
    assert not found.requires_grad
    assert all(p.grad is None and not p.requires_grad for p in frozen.parameters())
    for name, value in frozen.state_dict().items():
        assert torch.equal(value, before[name])


def test_gradients_are_computed_under_no_grad(frozen, spectral):
    source, wavs = evidence(spectral), bursts(1)
    features, decision = decide(wavs, spectral, frozen)
    expected = source.relevance(wavs, features, decision)
    assert not expected.requires_grad
    with torch.no_grad():
        assert torch.equal(source.relevance(wavs, features, decision), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_does_not_change_the_evidence(classifier_of, kind):
    classifier, stft = classifier_of(kind)
    source, wavs = evidence(stft), bursts(1)
    features, decision = decide(wavs, stft, classifier)
    expected = source(wavs, features, decision)
    source = evidence(stft)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = source(wavs, features, decision)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def with_silence():
    wavs = bursts(3)
    wavs[0, :9000] = 0
    wavs[2, 6000:] = 0
    return wavs


def test_gradients_that_are_not_finite_at_silence_are_computed_with_dither(spectral):
    classifier, wavs = SquareRoot().freeze(), with_silence()
    interpreter = Budgeted(spectral, evidence(spectral), keep=0.5)
    assert "dither" not in interpreter.remark
    features, decision = decide(wavs, spectral, classifier)
    explanation = interpreter(wavs, features, decision)
    for value in vars(explanation).values():
        assert value.isfinite().all()
    assert interpreter.source.n_dithered == 2
    assert "2 gradients were computed with dither" in interpreter.remark
    assert classifier.dither_db is None  # the rest runs without dither
    alone = evidence(spectral)
    features, decision = decide(wavs[1:2], spectral, classifier)
    close(
        alone(wavs[1:2], features, decision)[0],
        interpreter.source._last[1][1],
    )
    assert alone.n_dithered == 0


def test_gradients_that_dither_does_not_make_finite_are_an_error(spectral):
    classifier = SquareRoot(slope=float("inf")).freeze()
    with pytest.raises(
        DataError, match=r"SquareRoot is not finite.*-100 dB.*occlusion"
    ) as error:
        relevance(evidence(spectral), classifier, bursts(1))
    assert "\n" not in str(error.value)
    assert classifier.dither_db is None


def test_black_boxes_are_refused(spectral):
    classifier = of_waveforms()
    classifier.differentiable = False
    with pytest.raises(SettingError, match="is a black box"):
        Budgeted(spectral, evidence(spectral)).check(classifier)


def test_digital_silence_has_relevance_0(frozen, spectral):
    found = relevance(evidence(spectral), frozen, torch.zeros(2, SAMPLE_RATE))
    assert (found == 0).all()


def test_the_target_that_is_chosen_is_explained(frozen, spectral):
    wavs = bursts(2)
    source = evidence(spectral)
    maps = [relevance(source, frozen, wavs, target=c) for c in (0, 3)]
    assert (maps[0] - maps[1]).norm() > 0.1 * maps[0].norm()


def test_fields_hide_parts_of_the_sound(spectral):
    plain = BinGains(spectral, jitter=0.0, gains=[1.0], draws=3)
    fields = BinGains(spectral, jitter=0.0, gains=[1.0], draws=3, fields=[500, 100])
    shape = torch.Size([60, 513])
    assert all((g == 1).all() for g in plain.gains_of_bins(shape))
    gains = list(fields.gains_of_bins(shape))
    assert len(gains) == fields.n_passes == 3
    for field in gains:
        assert 0 < field.min() < 0.2
        assert 0.8 < field.max() < 1
        # Smooth: neighbours differ by far less than entries that are far apart.
        assert field.diff(dim=0).abs().mean() < 0.3 * field.std()
        assert field.diff(dim=1).abs().mean() < 0.3 * field.std()
    assert not torch.allclose(gains[0], gains[1])
    again = list(fields.gains_of_bins(shape))
    assert all(torch.equal(a, b) for a, b in zip(gains, again, strict=True))


def test_a_field_of_no_size_is_refused(spectral):
    with pytest.raises(SettingError, match="a pair of numbers above 0"):
        BinGains(spectral, fields=[0, 100])
