"""L-MAC against its equations, and its published decoder against SpeechBrain's."""

import cmath
import math

import pytest
import torch
from speechbrain.lobes.models.Cnn14 import CNN14PSI, CNN14PSI_stft

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import decide
from lmac_td.features import LogMel, SpectralFeatures
from lmac_td.interpreters.lmac import LMAC
from lmac_td.nn.decoders import build_mask_unet


@pytest.fixture
def decided(wavs, spectral, frozen):
    wavs = wavs[:2, :6000]
    return wavs, *decide(wavs, spectral, frozen)


def build_for_cnn14(geometry, domain, emb_dim, channels, n_mels=80, n_fft=1024):
    """L-MAC's decoder for a CNN14 of these widths."""
    features = SpectralFeatures(16000, n_fft, 23.2199, 11.6099)
    classifier = Cnn14Classifier(features, n_mels, channels, emb_dim, n_classes=10)
    return build_mask_unet(geometry, domain, classifier, features, None)


def literal_masked(stft, mask, domain):
    """Bin by bin: M |X| exp(j phase) (eq. 2, 3), or the same on log(1 + |X|)."""
    out = []
    for frame, mask_frame in zip(stft.tolist(), mask.tolist(), strict=True):
        row = []
        for x, m in zip(frame, mask_frame, strict=True):
            magnitude, phase = abs(x), cmath.phase(x)
            if domain == "magnitude":
                magnitude = m * magnitude
            else:
                magnitude = math.exp(m * math.log(1 + magnitude)) - 1
            row.append(cmath.rect(magnitude, phase))
        out.append(row)
    return torch.tensor(out, dtype=torch.complex64)


def literal_log_mel(magnitude, mel_matrix):
    """log(1 + sum_f mel_bf |X|_f)."""
    return (1 + magnitude @ mel_matrix).log()


@pytest.mark.parametrize("mask_domain", ["magnitude", "log1p"])
def test_stft_mask_equals_its_literal_twin(
    decided, spectral, frozen, make_lmac, mask_domain
):
    wavs, features, _ = decided
    explanation = make_lmac(mask_domain=mask_domain)(*decided)
    assert explanation.mask.std() > 1e-3  # no constant mask
    for clip in range(len(wavs)):
        mask = explanation.mask[clip].detach()
        for m, sound, given in (
            (mask, explanation.interpretation, explanation.kept_input),
            (1 - mask, explanation.residual, explanation.removed_input),
        ):
            stft = literal_masked(features.stft[clip], m, mask_domain)
            expected = spectral.istft(stft[None], wavs.shape[1])[0]
            torch.testing.assert_close(sound[clip], expected, atol=1e-5, rtol=1e-4)
            expected = literal_log_mel(stft.abs(), frozen.mel.matrix)
            torch.testing.assert_close(given[clip], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("mask_domain", ["magnitude", "log1p"])
def test_mel_mask_equals_its_literal_twin(decided, frozen, make_lmac, mask_domain):
    _, features, decision = decided
    explanation = make_lmac("mel", mask_domain=mask_domain)(*decided)
    assert explanation.mask.shape == decision.inputs.shape
    mel = features.magnitude @ frozen.mel.matrix
    for m, given in (
        (explanation.mask, explanation.kept_input),
        (1 - explanation.mask, explanation.removed_input),
    ):
        if mask_domain == "magnitude":
            expected = (1 + m * mel).log()
        else:
            expected = m * (1 + mel).log()
        torch.testing.assert_close(given, expected, atol=1e-5, rtol=1e-4)


def test_the_sound_of_a_mel_mask_uses_the_bins_of_its_bands(
    decided, spectral, frozen, make_lmac
):
    """In the sound, the mask of a bin is the mean over the bands that cover it."""
    wavs, features, _ = decided
    explanation = make_lmac("mel")(*decided)
    mel, bins = frozen.mel.matrix, 513
    gain = torch.zeros_like(features.magnitude)
    covered = [f for f in range(bins) if mel[f].sum() > 0]
    for f in covered:
        gain[..., f] = explanation.mask @ mel[f] / mel[f].sum()
    for f in set(range(bins)) - set(covered):
        nearest = min(covered, key=lambda g, f=f: abs(f - g))
        gain[..., f] = gain[..., nearest]
    expected = spectral.istft(gain * features.stft, wavs.shape[1])
    torch.testing.assert_close(
        explanation.interpretation, expected, atol=1e-4, rtol=1e-3
    )
    assert "no sound of its own" in make_lmac("mel").remark
    assert not make_lmac().remark


@pytest.mark.parametrize("classifier_input", ["spectrogram", "audio"])
def test_a_mask_next_to_zero_has_a_finite_gradient(
    decided, spectral, frozen, make_lmac, classifier_input
):
    """M X can be a subnormal number of float32, whose gradient must be finite."""
    wavs = 1e-5 * decided[0]
    features, decision = decide(wavs, spectral, frozen)
    model = make_lmac(classifier_input=classifier_input)
    logits = torch.full_like(features.magnitude, -86.0).requires_grad_()  # M = 4e-38
    explanation = model.explain_mask(logits.sigmoid(), wavs, features, decision)
    (explanation.kept_input.sum() + explanation.attribution.sum()).backward()
    assert logits.grad.isfinite().all()


def test_bins_take_their_gain_from_the_bands_that_cover_them():
    for n_mels in (32, 80, 200):  # 200: gaps, and filters that meet no bin
        bands = LogMel(16000, 1024, n_mels).bands_of_bins
        assert bands.shape == (n_mels, 513)
        assert bands.isfinite().all()
        assert (bands >= 0).all()
        torch.testing.assert_close(bands.sum(dim=0), torch.ones(513))


def test_the_decoder_does_not_depend_on_how_strong_a_representation_is(
    spectral, frozen
):
    unet = build_mask_unet("aligned", "stft", frozen, spectral, (4,) * 4)
    reps = [torch.rand(2, c, 100 // p, 80 // p)
            for c, p in ((8, 32), (8, 32), (8, 16), (4, 8))]  # fmt: skip
    sizes = {"n_samples": 99 * 186, "n_frames": 100, "samples_per_frame": 186}
    expected = unet(reps, **sizes)
    louder = unet([10 * rep for rep in reps], **sizes)
    torch.testing.assert_close(louder, expected, atol=1e-3, rtol=1e-3)


def test_the_mask_comes_from_the_representations_alone(decided, make_lmac):
    wavs, features, decision = decided
    model = make_lmac()
    mask = model(wavs, features, decision).mask
    other = model(wavs.flip(0), features, decision).mask
    torch.testing.assert_close(other, mask)


@pytest.mark.parametrize(
    ("domain", "theirs"), [("stft", CNN14PSI_stft), ("mel", CNN14PSI)]
)
def test_published_decoder_takes_speechbrains_weights(domain, theirs):
    theirs = theirs(32)
    ours = build_for_cnn14("published", domain, 32, (1, 2, 4, 8, 16))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    reps = [
        torch.rand(2, 32 // d, 431 // p, 80 // p)
        for d, p in ((1, 32), (2, 32), (4, 16), (8, 8))
    ]
    expected = theirs(reps).squeeze(1)
    n_frames = expected.shape[1]
    assert n_frames == 425
    out = ours(reps, n_frames=431)
    assert out.shape == (2, 513 if domain == "stft" else 80, 431)
    torch.testing.assert_close(out[..., :n_frames].transpose(1, 2), expected)
    torch.testing.assert_close(out[..., n_frames:], out[..., 424:425].expand(-1, -1, 6))


def test_published_decoder_explains(spectral):
    classifier = Cnn14Classifier(spectral, 80, (1, 1, 1, 2, 4), 8, n_classes=10)
    decoder = build_mask_unet("published", "stft", classifier, spectral, None)
    wav = 0.1 * torch.randn(1, 80000)
    features, decision = decide(wav, spectral, classifier.freeze())
    explanation = LMAC(spectral, decoder)(wav, features, decision)
    assert explanation.mask.shape == features.magnitude.shape


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"domain": "stfd"}, "--domain stft or mel"),
        ({"mask_domain": "power"}, "--mask_domain magnitude or log1p"),
        ({"classifier_input": "both"}, "--classifier_input spectrogram or audio"),
        (
            {"domain": "mel", "classifier_input": "audio"},
            "--classifier_input spectrogram",
        ),
    ],
)
def test_settings_that_cannot_work_are_named(spectral, settings, words):
    with pytest.raises(SettingError, match=words):
        LMAC(spectral, None, **settings)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("wide", "stft", 32, (1, 2, 4, 8, 16)), "--geometry"),
        (("published", "both", 32, (1, 2, 4, 8, 16)), "--domain"),
        (("published", "stft", 32, (1, 2, 4, 8, 8)), "half the channels"),
        (("published", "stft", 32, (1, 2, 4, 8, 16), 64), "n_mels is 64"),
        (("published", "stft", 32, (1, 2, 4, 8, 16), 80, 512), "n_fft is 512"),
    ],
)
def test_decoders_that_cannot_be_built_are_named(arguments, words):
    with pytest.raises(SettingError, match=words):
        build_for_cnn14(*arguments)


def test_other_errors_of_the_published_decoder_are_not_replaced(monkeypatch):
    def out_of_memory(self, reps):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(CNN14PSI_stft, "forward", out_of_memory)
    decoder = build_for_cnn14("published", "stft", 8, (1, 1, 1, 2, 4))
    with pytest.raises(RuntimeError, match="out of memory"):
        decoder([], n_frames=40)


def test_published_decoder_refuses_a_length_it_was_not_made_for():
    decoder = build_for_cnn14("published", "stft", 8, (1, 1, 1, 2, 4))
    reps = [torch.rand(1, 8 // d, max(1, 48 // p), 80 // p)
            for d, p in ((1, 32), (2, 32), (4, 16), (8, 8))]  # fmt: skip
    with pytest.raises(SettingError, match="--geometry aligned"):
        decoder(reps, n_frames=48)
