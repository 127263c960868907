"""The masking loss and L-MAC's guidance against literal twins of their equations."""

import math
from dataclasses import replace

import pytest
import torch

from lmac_td.errors import SettingError
from lmac_td.interpreters.baselines import Identity
from lmac_td.training.objectives import (
    GuidedMaskingLoss,
    MaskingLoss,
    target_loss,
    total_variation,
)
from tests.batches import decided_batch, explained_batch


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
def explain(wavs, spectral, frozen):
    """Explain by a given interpreter."""

    def run(interpreter, sounds=wavs):
        return explained_batch(interpreter, decided_batch(sounds, spectral, frozen))

    return run


@pytest.fixture
def explained(explain, make_lmac_td):
    return explain(make_lmac_td())


def terms_of(loss, explained):
    return loss(explained, clean=None)


@pytest.mark.parametrize("regulariser", ["mean", "relative", "mask"])
def test_equals_its_literal_twin(explained, wavs, spectral, regulariser):
    terms = terms_of(MaskingLoss(5, 0.2, 6, regulariser), explained)
    for clip in range(len(wavs)):
        expected = literal_loss(
            wavs[clip],
            explained.explanation.interpretation[clip].detach(),
            explained.explanation.mask[clip].detach(),
            explained.decision.logits[clip].tolist(),
            explained.kept_logits[clip].tolist(),
            explained.removed_logits[clip].tolist(),
            spectral,
            regulariser,
        )
        assert terms.loss[clip].item() == pytest.approx(expected, rel=1e-4)


def test_the_target_is_the_decision_and_only_the_interpreter_gets_gradients(
    explain, frozen, make_lmac_td
):
    interpreter = make_lmac_td()
    terms_of(MaskingLoss(), explain(interpreter)).loss.mean().backward()
    trained = [p for p in interpreter.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    assert all(p.grad is None for p in frozen.parameters())


def test_relative_regulariser_does_not_depend_on_the_level(explain, wavs, make_lmac_td):
    def reg(regulariser, gain):
        # The mask does not depend on the level either.
        explained = explain(make_lmac_td(alpha=0), gain * wavs)
        return terms_of(MaskingLoss(regulariser=regulariser), explained).parts["reg"]

    torch.manual_seed(1)
    loud = reg("relative", 1.0)
    torch.manual_seed(1)
    torch.testing.assert_close(reg("relative", 0.1), loud, rtol=1e-3, atol=0)
    torch.manual_seed(1)
    assert (reg("mean", 0.1) < 0.2 * reg("mean", 1.0)).all()


def test_regulariser_depends_neither_on_batch_nor_on_length(explain, spectral):
    # A steady tone, so that a second half equals the first.
    seconds = torch.arange(64000) / 16000
    tone = 0.3 * torch.sin(2 * math.pi * 440 * seconds)[None]
    identity = Identity(spectral)

    def reg(wavs):
        return terms_of(MaskingLoss(), explain(identity, wavs)).parts["reg"]

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


def test_total_variation_is_added_with_its_weight(explained):
    plain = terms_of(MaskingLoss(), explained)
    terms = terms_of(MaskingLoss(reg_w_tv=3), explained)
    assert "tv" not in plain.parts
    expected = plain.loss + 3 * total_variation(explained.explanation.mask)
    torch.testing.assert_close(terms.loss, expected)


def literal_similarity(interpretation, target, spectral):
    """Return the cosine of log(1 + |STFT|) of two sounds, bin by bin."""
    a, b = (
        [v for row in (1 + spectral.stft(w[None])[0].abs()).log().tolist() for v in row]
        for w in (interpretation, target)
    )
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.mark.parametrize("domain", ["stft", "mel"])
def test_binary_guidance_equals_its_literal_twin(
    explain, wavs, spectral, frozen, make_lmac, domain
):
    explained = explain(make_lmac(domain))
    # Half of the targets are the mixture itself, half are another noise.
    target = wavs.clone()
    target[2:] = torch.randn_like(target[2:]) * torch.linspace(0, 1, 16000) ** 8
    similarity = [
        literal_similarity(kept, clean, spectral)
        for kept, clean in zip(
            explained.explanation.interpretation, target, strict=True
        )
    ]
    cct = (min(similarity[:2]) + max(similarity[2:])) / 2
    plain = MaskingLoss()(explained, target)
    loss = GuidedMaskingLoss(spectral, g_w=4, cct=cct, bin_th=0.35)
    terms = loss(explained, target)
    assert terms.parts["guided"].tolist() == [1, 1, 0, 0]
    clean = spectral(target)
    spectrum = (
        clean.magnitude.log1p() if domain == "stft" else frozen.mel(clean.magnitude)
    )
    for clip in range(4):
        guide, mask = 0.0, explained.explanation.mask[clip].tolist()
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
    explain, wavs, spectral, make_lmac_td
):
    explained = explain(make_lmac_td())  # its mask lies on no spectrogram
    terms = GuidedMaskingLoss(spectral, cct=0.0, guidance="spectrogram")(
        explained, wavs
    )
    for clip in range(4):
        kept = explained.explanation.interpretation[clip : clip + 1].detach()
        a = (1 + spectral.stft(kept)[0].abs()).log()
        b = (1 + spectral.stft(wavs[clip : clip + 1])[0].abs()).log()
        expected = mean_of((a - b) ** 2)
        assert terms.parts["guide"][clip].item() == pytest.approx(expected, rel=1e-4)


def test_guidance_changes_only_the_masks_of_guided_clips(explain, spectral, make_lmac):
    interpreter = make_lmac()
    explained = explain(interpreter)
    silence = torch.zeros_like(explained.wavs)
    terms = GuidedMaskingLoss(spectral, cct=0.1)(explained, silence)
    assert not terms.parts["guided"].any()
    torch.testing.assert_close(terms.loss, MaskingLoss()(explained, silence).loss)
    terms = GuidedMaskingLoss(spectral, cct=0.0)(explained, explained.wavs)
    assert terms.parts["guided"].all()
    terms.parts["guide"].sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in interpreter.decoder.parameters())


def test_binary_guidance_needs_a_mask_on_a_spectrogram(
    explain, wavs, spectral, make_lmac_td
):
    loss = GuidedMaskingLoss(spectral, cct=0.0)
    with pytest.raises(SettingError, match="--guidance spectrogram"):
        loss(explain(make_lmac_td()), wavs)


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
def test_wrong_settings_of_guidance_are_refused(spectral, settings, words):
    with pytest.raises(SettingError, match=words):
        GuidedMaskingLoss(spectral, **settings)


def test_guidance_does_not_select_the_checkpoint(explain, wavs, spectral, make_lmac):
    """The selection loss must not rise when a clip becomes guided."""
    explained = explain(make_lmac())
    for cct in (0.0, 1.0):
        terms = GuidedMaskingLoss(spectral, cct=cct)(explained, wavs)
        torch.testing.assert_close(terms.selection, MaskingLoss()(explained, wavs).loss)
    assert MaskingLoss()(explained, wavs).selection is None


@pytest.mark.parametrize("which", ["guided", "mask"])
def test_the_loss_of_a_clip_does_not_depend_on_its_batch(
    explain, wavs, spectral, make_lmac, which
):
    if which == "guided":
        loss = GuidedMaskingLoss(spectral, cct=0.5, regulariser="mask", reg_w_tv=1)
    else:
        loss = MaskingLoss(regulariser="mask", reg_w_tv=1)
    interpreter = make_lmac()
    batch = loss(explain(interpreter), wavs).loss
    for clip in range(len(wavs)):
        alone = wavs[clip : clip + 1]
        single = loss(explain(interpreter, alone), alone).loss
        torch.testing.assert_close(single[0], batch[clip], atol=1e-5, rtol=1e-5)


def literal_target_loss(logits, target, activation):
    """Return -log p of the target, for the logits of one clip."""
    if activation == "softmax":
        return cross_entropy(logits, target)
    return -math.log(1 / (1 + math.exp(-logits[target])))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_target_loss_and_its_gradient_equal_their_literal_twins(activation):
    """For a tag, the gradient is p - 1 at the tag and 0 at the others."""
    logits = (4 * torch.randn(5, 6, dtype=torch.float64)).float().requires_grad_()
    target = torch.tensor([0, 5, 2, 2, 3])
    loss = target_loss(logits, target, activation)
    loss.sum().backward()
    for clip, (z, c) in enumerate(zip(logits.tolist(), target.tolist(), strict=True)):
        expected = literal_target_loss(z, c, activation)
        assert loss[clip].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
        if activation == "softmax":
            total = sum(map(math.exp, z))
            gradient = [math.exp(x) / total - (k == c) for k, x in enumerate(z)]
        else:
            p = 1 / (1 + math.exp(-z[c]))
            gradient = [p - 1 if k == c else 0.0 for k in range(len(z))]
        assert logits.grad[clip].tolist() == pytest.approx(gradient, abs=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_target_loss_is_finite_for_a_probability_of_zero(activation):
    """If p rounds to 0, the loss is minus the logit, with slope -1."""
    logits = torch.tensor([[-200.0, 0.0], [200.0, 0.0]], requires_grad=True)
    loss = target_loss(logits, torch.tensor([0, 0]), activation)
    loss.sum().backward()
    assert loss.tolist() == [200.0, 0.0]
    assert logits.grad[0, 0] == -1
    assert logits.grad[1, 0] == 0


def test_target_loss_is_computed_in_float32():
    logits = torch.tensor([[0.5, -2.0]], dtype=torch.bfloat16)
    for activation in ("softmax", "sigmoid"):
        loss = target_loss(logits, torch.tensor([1]), activation)
        assert loss.dtype == torch.float32
        expected = literal_target_loss([0.5, -2.0], 1, activation)
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_tags_have_the_masking_loss_of_their_sigmoids(
    wavs, spectral, frozen, make_lmac
):
    """Eq. 6 with d = -log sigmoid of the tag, two tags of the first clip."""
    frozen.activation = "sigmoid"
    decided = decided_batch(wavs, spectral, frozen)
    decision = replace(
        decided.decision.select(torch.tensor([0, 0, 2])),
        target=torch.tensor([1, 7, 4]),
    )
    decided = decided.select(torch.tensor([0, 0, 2]), decision)
    explained = explained_batch(make_lmac(), decided)
    terms = terms_of(MaskingLoss(5, 0.2, 6, "mask"), explained)
    for entry, tag in enumerate((1, 7, 4)):
        loss_in, loss_out = (
            literal_target_loss(logits[entry].tolist(), tag, "sigmoid")
            for logits in (explained.kept_logits, explained.removed_logits)
        )
        mask = explained.explanation.mask[entry].detach()
        expected = 5 * loss_in - 0.2 * loss_out + 6 * mean_of(mask)
        assert terms.parts["loss_in"][entry].item() == pytest.approx(loss_in, rel=1e-4)
        assert terms.loss[entry].item() == pytest.approx(expected, rel=1e-4)
    assert terms.loss[0] != terms.loss[1]
