"""The masking loss against a literal twin of eq. 6 and 7."""

import math

import pytest
import torch

from lmac_td.errors import SettingError
from lmac_td.evaluation import decide, explain
from lmac_td.interpreters.baselines import Identity
from lmac_td.objectives import MaskingLoss


def cross_entropy(logits, decided):
    return math.log(sum(math.exp(z) for z in logits)) - logits[decided]


def literal_loss(wav, kept, logits, logits_in, logits_out, spectral, relative):
    """Eq. 6 for one clip with d the cross-entropy, and R(i) of eq. 7 as a mean."""
    decided = max(range(len(logits)), key=lambda c: logits[c])
    magnitude = spectral.stft(kept[None])[0].abs()
    regulariser = sum(map(sum, magnitude.tolist())) / magnitude.numel()
    if relative:
        input_magnitude = spectral.stft(wav[None])[0].abs()
        mean = sum(map(sum, input_magnitude.tolist())) / input_magnitude.numel()
        regulariser = regulariser / mean
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


@pytest.mark.parametrize("regulariser", ["mean", "relative"])
def test_equals_its_literal_twin(heard, wavs, spectral, regulariser):
    terms = terms_of(MaskingLoss(5, 0.2, 6, regulariser), heard)
    for clip in range(len(wavs)):
        expected = literal_loss(
            wavs[clip],
            heard.explanation.interpretation[clip].detach(),
            heard.decision.logits[clip].tolist(),
            heard.logits_in[clip].tolist(),
            heard.logits_out[clip].tolist(),
            spectral,
            relative=regulariser == "relative",
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
