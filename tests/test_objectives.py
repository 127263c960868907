"""The masking loss and L-MAC's guidance against literal twins of their equations."""

import math

import pytest
import torch

from lmac_td.errors import SettingError
from lmac_td.evaluation import decide, explain
from lmac_td.interpreters.baselines import Identity
from lmac_td.objectives import GuidedMaskingLoss, MaskingLoss, total_variation


def cross_entropy(logits, decided):
    return math.log(sum(math.exp(z) for z in logits)) - logits[decided]


def mean_of(matrix):
    """Mean of a matrix, entry by entry."""
    return sum(map(sum, matrix.tolist())) / matrix.numel()


def literal_loss(wav, kept, mask, logits, logits_in, logits_out, spectral, which):
    """Eq. 6 for one clip with d the cross-entropy, and R of eq. 7 or of L-MAC."""
    decided = max(range(len(logits)), key=lambda c: logits[c])
    if which == "mask":
        regulariser = mean_of(mask)
    else:
        regulariser = mean_of(spectral.stft(kept[None])[0].abs())
    if which == "relative":
        regulariser = regulariser / mean_of(spectral.stft(wav[None])[0].abs())
    return (
        5 * cross_entropy(logits_in, decided)
        - 0.2 * cross_entropy(logits_out, decided)
        + 6 * regulariser
    )


@pytest.fixture
def heard(wavs, spectral, frozen, make_lmac_td):
    features, decision = decide(wavs, spectral, frozen)
    return explain(wavs, features, decision, make_lmac_td(), frozen)


def terms_of(loss, heard):
    return loss(heard, target=None)


@pytest.mark.parametrize("regulariser", ["mean", "relative", "mask"])
def test_equals_its_literal_twin(heard, wavs, spectral, regulariser):
    terms = terms_of(MaskingLoss(5, 0.2, 6, regulariser), heard)
    for clip in range(len(wavs)):
        expected = literal_loss(
            wavs[clip],
            heard.explanation.interpretation[clip].detach(),
            heard.explanation.mask[clip].detach(),
            heard.decision.logits[clip].tolist(),
            heard.logits_in[clip].tolist(),
            heard.logits_out[clip].tolist(),
            spectral,
            regulariser,
        )
        assert terms.loss[clip].item() == pytest.approx(expected, rel=1e-4)


def test_target_is_the_decision_and_gradients_reach_the_interpreter_alone(
    wavs, spectral, frozen, make_lmac_td
):
    interpreter = make_lmac_td()
    features, decision = decide(wavs, spectral, frozen)
    heard = explain(wavs, features, decision, interpreter, frozen)
    terms_of(MaskingLoss(), heard).loss.mean().backward()
    trained = [p for p in interpreter.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    assert all(p.grad is None for p in frozen.parameters())


def test_relative_regulariser_does_not_hear_the_level(
    wavs, spectral, frozen, make_lmac_td
):
    def reg(regulariser, gain):
        features, decision = decide(gain * wavs, spectral, frozen)
        interpreter = make_lmac_td(alpha=0)  # its mask does not hear level either
        heard = explain(gain * wavs, features, decision, interpreter, frozen)
        return terms_of(MaskingLoss(regulariser=regulariser), heard).parts["reg"]

    torch.manual_seed(1)
    loud = reg("relative", 1.0)
    torch.manual_seed(1)
    torch.testing.assert_close(reg("relative", 0.1), loud, rtol=1e-3, atol=0)
    torch.manual_seed(1)
    assert (reg("mean", 0.1) < 0.2 * reg("mean", 1.0)).all()


def test_regulariser_depends_neither_on_batch_nor_on_length(
    spectral, frozen, make_lmac_td
):
    # A steady tone, so that twice the length holds twice the same.
    seconds = torch.arange(64000) / 16000
    tone = 0.3 * torch.sin(2 * math.pi * 440 * seconds)[None]
    identity = Identity(spectral)

    def reg(wavs):
        features, decision = decide(wavs, spectral, frozen)
        heard = explain(wavs, features, decision, identity, frozen)
        return terms_of(MaskingLoss(), heard).parts["reg"]

    one = reg(tone[:, :32000])
    torch.testing.assert_close(reg(tone), one, rtol=0.02, atol=0)
    four = reg(tone[:, :32000].expand(4, -1))
    torch.testing.assert_close(four, one.expand(4))


def test_unknown_regulariser_is_refused():
    with pytest.raises(SettingError, match="--regulariser"):
        MaskingLoss(regulariser="sum")


def test_total_variation_equals_its_literal_twin():
    mask = torch.rand(3, 5, 4)
    for clip in range(3):
        m = mask[clip].tolist()
        down = [abs(m[t + 1][f] - m[t][f]) for t in range(4) for f in range(4)]
        right = [abs(m[t][f + 1] - m[t][f]) for t in range(5) for f in range(3)]
        expected = sum(down) / len(down) + sum(right) / len(right)
        assert total_variation(mask)[clip].item() == pytest.approx(expected)


def test_total_variation_is_added_with_its_weight(heard):
    plain = terms_of(MaskingLoss(), heard)
    terms = terms_of(MaskingLoss(reg_w_tv=3), heard)
    assert "tv" not in plain.parts
    expected = plain.loss + 3 * total_variation(heard.explanation.mask)
    torch.testing.assert_close(terms.loss, expected)


@pytest.fixture
def explained(wavs, spectral, frozen):
    """Explain by a given interpreter."""

    def run(interpreter, sounds=wavs):
        features, decision = decide(sounds, spectral, frozen)
        return explain(sounds, features, decision, interpreter, frozen)

    return run


def literal_similarity(interpretation, target, spectral):
    """Cosine of log(1 + |STFT|) of the two, bin by bin."""
    a, b = (
        [v for row in (1 + spectral.stft(w[None])[0].abs()).log().tolist() for v in row]
        for w in (interpretation, target)
    )
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.mark.parametrize("domain", ["stft", "mel"])
def test_binary_guidance_equals_its_literal_twin(
    explained, wavs, spectral, make_lmac, domain
):
    heard = explained(make_lmac(domain))
    # Half of the targets are the mixture itself, half are another noise.
    target = wavs.clone()
    target[2:] = torch.randn_like(target[2:]) * torch.linspace(0, 1, 16000) ** 8
    similarity = [
        literal_similarity(kept, clean, spectral)
        for kept, clean in zip(heard.explanation.interpretation, target, strict=True)
    ]
    cct = (min(similarity[:2]) + max(similarity[2:])) / 2
    plain = MaskingLoss()(heard, target)
    loss = GuidedMaskingLoss(spectral, g_w=4, cct=cct, bin_th=0.35)
    terms = loss(heard, target)
    assert terms.parts["guided"].tolist() == [1, 1, 0, 0]
    clean = spectral(target)
    spectrum = clean.magnitude.log1p() if domain == "stft" else clean.log_mel
    for clip in range(4):
        guide, mask = 0.0, heard.explanation.mask[clip].tolist()
        x = spectrum[clip].tolist()
        loudest = max(map(max, x))
        for frame in range(len(x)):
            for f in range(len(x[0])):
                m = mask[frame][f]
                inside = x[frame][f] >= 0.35 * loudest
                guide -= math.log(m) if inside else math.log(1 - m)
        guide = guide / spectrum[clip].numel() if clip < 2 else 0.0
        assert terms.parts["guide"][clip].item() == pytest.approx(guide, rel=1e-4)
        expected = plain.loss[clip].item() + 4 * guide
        assert terms.loss[clip].item() == pytest.approx(expected, rel=1e-4)


def test_spectrogram_guidance_equals_its_literal_twin(
    explained, wavs, spectral, make_lmac_td
):
    heard = explained(make_lmac_td())  # its mask lies on no spectrogram
    terms = GuidedMaskingLoss(spectral, cct=0.0, guidance="spectrogram")(heard, wavs)
    for clip in range(4):
        kept = heard.explanation.interpretation[clip : clip + 1].detach()
        a = (1 + spectral.stft(kept)[0].abs()).log()
        b = (1 + spectral.stft(wavs[clip : clip + 1])[0].abs()).log()
        expected = mean_of((a - b) ** 2)
        assert terms.parts["guide"][clip].item() == pytest.approx(expected, rel=1e-4)


def test_guidance_draws_the_mask_of_guided_clips_alone(explained, spectral, make_lmac):
    interpreter = make_lmac()
    heard = explained(interpreter)
    silence = torch.zeros_like(heard.wavs)
    terms = GuidedMaskingLoss(spectral, cct=0.1)(heard, silence)
    assert not terms.parts["guided"].any()
    torch.testing.assert_close(terms.loss, MaskingLoss()(heard, silence).loss)
    terms = GuidedMaskingLoss(spectral, cct=0.0)(heard, heard.wavs)
    assert terms.parts["guided"].all()
    terms.parts["guide"].sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in interpreter.decoder.parameters())


def test_binary_guidance_needs_a_mask_on_a_spectrogram(
    explained, wavs, spectral, make_lmac_td
):
    loss = GuidedMaskingLoss(spectral, cct=0.0)
    with pytest.raises(SettingError, match="--guidance spectrogram"):
        loss(explained(make_lmac_td()), wavs)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"guidance": "soft"}, "--guidance"),
        ({"cct": 60}, "--cct a number from 0 to 1"),
        ({"cct": "high"}, "--cct"),
        ({"bin_th": 35}, "--bin_th a number from 0 to 1"),
        ({"g_w": -4}, "--g_w a number from 0"),
        ({"reg_w_tv": -3}, "--reg_w_tv"),
    ],
)
def test_guidance_that_cannot_work_is_refused(spectral, settings, words):
    with pytest.raises(SettingError, match=words):
        GuidedMaskingLoss(spectral, **settings)


def test_guidance_does_not_choose_the_checkpoint(explained, wavs, spectral, make_lmac):
    """A mask that becomes good enough to be guided must not seem worse for it."""
    heard = explained(make_lmac())
    for cct in (0.0, 1.0):
        terms = GuidedMaskingLoss(spectral, cct=cct)(heard, wavs)
        torch.testing.assert_close(terms.chooses, MaskingLoss()(heard, wavs).loss)
    assert MaskingLoss()(heard, wavs).chooses is None


@pytest.mark.parametrize("which", ["guided", "mask"])
def test_a_clip_alone_has_the_loss_that_it_has_in_a_batch(
    explained, wavs, spectral, make_lmac, which
):
    if which == "guided":
        loss = GuidedMaskingLoss(spectral, cct=0.5, regulariser="mask", reg_w_tv=1)
    else:
        loss = MaskingLoss(regulariser="mask", reg_w_tv=1)
    interpreter = make_lmac()
    batch = loss(explained(interpreter), wavs).loss
    for clip in range(len(wavs)):
        alone = wavs[clip : clip + 1]
        single = loss(explained(interpreter, alone), alone).loss
        torch.testing.assert_close(single[0], batch[clip], atol=1e-5, rtol=1e-5)
