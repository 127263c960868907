"""The contract that every interpreter keeps, and LMAC-TD against its equations."""

import pytest
import torch

from lmac_td.contracts import Explanation
from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import analyse_sources, decide
from lmac_td.interpreters.baselines import Oracle, reference_interpreters
from lmac_td.metrics import completeness_db, kept_energy_db
from tests.batches import decided_batch, explained_batch
from tests.conftest import with_constant_mask


@pytest.fixture
def decided(wavs, spectral, frozen):
    features, decision = decide(wavs, spectral, frozen)
    return wavs, features, decision


@pytest.fixture
def masking(make_lmac_td, make_lmac):
    """The methods whose mask can be set from outside."""
    return {
        "lmac_td": make_lmac_td().eval(),
        "lmac": make_lmac(),
        "lmac log1p": make_lmac(mask_domain="log1p"),
        "lmac audio": make_lmac(classifier_input="audio"),
        "lmac log1p audio": make_lmac(mask_domain="log1p", classifier_input="audio"),
        "lmac mel": make_lmac("mel"),
        "lmac mel log1p": make_lmac("mel", mask_domain="log1p"),
    }


@pytest.fixture
def interpreters(masking, spectral):
    return {**masking, **reference_interpreters(spectral)}


def explained(interpreter, wavs, features, decision):
    """The Explanation of mixtures whose target is what is above zero."""
    given = {}
    if interpreter.needs_sources:
        positive, negative = wavs.clamp(min=0), wavs.clamp(max=0)
        given["sources"] = analyse_sources(positive, negative, interpreter.features)
    return interpreter(wavs, features, decision, **given)


def literal_lmac_td(model, wavs, features, decision):
    """Eq. 2-5, one line an equation, one clip at a time."""
    kept, removed = [], []
    for clip in range(len(wavs)):
        reps = [rep.values[clip : clip + 1] for rep in decision.representations]
        h_e = model.filterbank.encode(wavs[clip : clip + 1])
        h_d = model.unet(
            reps,
            n_samples=wavs.shape[1],
            n_frames=h_e.shape[2],
            samples_per_frame=4,
        )
        m = model.masknet(model.alpha * h_d + (1 - model.alpha) * h_e)
        kept.append(model.filterbank.decode(m * h_e, wavs.shape[1]))
        removed.append(model.filterbank.decode((1 - m) * h_e, wavs.shape[1]))
    return torch.cat(kept), torch.cat(removed)


@pytest.mark.parametrize("alpha", [0, 0.3, 0.75, 1])
def test_lmac_td_equals_its_literal_twin(decided, make_lmac_td, alpha):
    model = make_lmac_td(alpha).eval()
    explanation = model(*decided)
    kept, removed = literal_lmac_td(model, *decided)
    torch.testing.assert_close(explanation.interpretation, kept, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(explanation.residual, removed, atol=1e-5, rtol=1e-4)


def test_every_interpreter_keeps_the_contract(decided, spectral, frozen, interpreters):
    wavs, features, decision = decided
    for name, interpreter in interpreters.items():
        explanation = explained(interpreter, *decided)
        assert isinstance(explanation, Explanation), name
        assert explanation.interpretation.shape == wavs.shape, name
        assert explanation.residual.shape == wavs.shape, name
        assert explanation.kept_input.shape == decision.inputs.shape, name
        assert explanation.removed_input.shape == decision.inputs.shape, name
        assert explanation.attribution.shape == features.magnitude.shape, name
        assert (explanation.attribution >= 0).all(), name
        assert (explanation.mask >= 0).all(), name
        assert (explanation.mask <= 1).all(), name
        if interpreter.classifier_input == "audio":
            # The classifier is given what a person listens to.
            kept = frozen.inputs_of(explanation.interpretation)
            torch.testing.assert_close(explanation.kept_input, kept)
            removed = frozen.inputs_of(explanation.residual)
            torch.testing.assert_close(explanation.removed_input, removed)
        attribution = torch.log1p(spectral.stft(explanation.interpretation).abs())
        torch.testing.assert_close(explanation.attribution, attribution)


def test_interpretation_and_residual_add_up_to_the_clip(decided, interpreters):
    wavs = decided[0]
    for name, interpreter in interpreters.items():
        if "log1p" in name:  # these do lose something, by their definition
            continue
        explanation = explained(interpreter, *decided)
        completeness = completeness_db(
            wavs, explanation.interpretation, explanation.residual
        )
        # The reconstruction is exact up to rounding, even without training.
        assert (completeness > 80).all(), (name, completeness)


def test_the_result_for_a_clip_does_not_depend_on_its_batch(
    decided, spectral, frozen, interpreters
):
    wavs, features, decision = decided
    for name, interpreter in interpreters.items():
        batch = explained(interpreter, wavs, features, decision)
        for clip in range(len(wavs)):
            alone = wavs[clip : clip + 1]
            single = explained(interpreter, alone, *decide(alone, spectral, frozen))
            for field in ("interpretation", "residual", "kept_input", "mask"):
                torch.testing.assert_close(
                    getattr(single, field)[0],
                    getattr(batch, field)[clip],
                    atol=1e-5,
                    rtol=1e-5,
                    msg=lambda text, name=name: f"{name}: {text}",
                )


@pytest.mark.parametrize(
    ("value", "row"), [(1.0, "identity"), (0.0, "zeros"), (0.5, "half gain")]
)
def test_constant_masks_equal_the_reference_rows(
    wavs, spectral, frozen, masking, interpreters, value, row
):
    decided = decided_batch(wavs, spectral, frozen)
    theirs = explained_batch(interpreters[row], decided)
    for name, interpreter in masking.items():
        if row == "half gain" and "log1p" in name:
            continue
        model = with_constant_mask(interpreter, value)
        ours = explained_batch(model, decided)
        for p, q in (
            (ours.kept_logits, theirs.kept_logits),
            (ours.removed_logits, theirs.removed_logits),
        ):
            # A tie: probabilities that differ by at most 1e-6.
            assert (p.softmax(-1) - q.softmax(-1)).abs().max() <= 1e-6, name


def test_a_mask_of_ones_keeps_every_bit_and_a_mask_of_zeros_none(decided, make_lmac):
    wavs = decided[0]
    model = with_constant_mask(make_lmac(), 1.0)
    explanation = model(*decided)
    assert torch.equal(explanation.interpretation, wavs)
    assert not explanation.residual.any()
    explanation = with_constant_mask(model, 0.0)(*decided)
    assert not explanation.interpretation.any()
    assert torch.equal(explanation.residual, wavs)


def test_the_loss_of_a_resynthesis_stays_visible(decided, make_lmac, monkeypatch):
    """Only rounding errors are added back, not what an inverse STFT loses."""
    model = make_lmac()
    istft = model.features.istft
    monkeypatch.setattr(model.features, "istft", lambda *args: 0.99 * istft(*args))
    wavs = decided[0]
    explanation = model(*decided)
    kept_and_removed = explanation.interpretation + explanation.residual
    torch.testing.assert_close(kept_and_removed, 0.99 * wavs, atol=1e-4, rtol=0)


def test_silence_is_explained_by_silence(spectral, frozen, interpreters):
    wavs = torch.zeros(2, 16000)
    decided = wavs, *decide(wavs, spectral, frozen)
    for name, interpreter in interpreters.items():
        explanation = explained(interpreter, *decided)
        for field in ("interpretation", "residual", "kept_input", "attribution"):
            assert not getattr(explanation, field).any(), (name, field)
        explanation.mask.sum().backward() if explanation.mask.requires_grad else None
        assert explanation.mask.isfinite().all(), name
        for parameter in interpreter.parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all(), name


def test_a_clip_shorter_than_one_window_is_explained(spectral, frozen, interpreters):
    wavs = 0.1 * torch.randn(2, spectral.win_samples - 72)
    features, decision = decide(wavs, spectral, frozen)
    for name, interpreter in interpreters.items():
        explanation = explained(interpreter, wavs, features, decision)
        assert explanation.interpretation.shape == wavs.shape, name
        assert explanation.kept_input.shape == decision.inputs.shape, name
        for logits in frozen.classify(
            explanation.kept_input, explanation.removed_input
        ):
            assert logits.isfinite().all(), name
        if "log1p" not in name:
            sum_of_both = explanation.interpretation + explanation.residual
            torch.testing.assert_close(sum_of_both, wavs, atol=1e-5, rtol=0)


def test_baselines_keep_what_they_say(decided, interpreters):
    wavs = decided[0]
    kept = {
        name: kept_energy_db(wavs, explained(interpreter, *decided).interpretation)
        for name, interpreter in interpreters.items()
    }
    assert (kept["identity"] == 0).all()
    assert (kept["zeros"] == -torch.inf).all()
    torch.testing.assert_close(kept["half gain"], torch.full_like(kept["zeros"], -6.02),
                               atol=0.01, rtol=0)  # fmt: skip
    assert (kept["random mask"] < -3).all()


def test_the_oracle_is_the_ideal_ratio_mask_of_the_sources(decided, spectral):
    wavs = decided[0]
    target, interference = wavs.clamp(min=0), wavs.clamp(max=0)
    explanation = explained(Oracle(spectral), *decided)
    s, n = spectral.stft(target).abs()[1], spectral.stft(interference).abs()[1]
    for frame, bin_ in ((0, 0), (5, 17), (40, 300), (86, 512)):
        s2, n2 = s[frame, bin_].double() ** 2, n[frame, bin_].double() ** 2
        expected = (s2 / (s2 + n2)) ** 0.5
        assert abs(explanation.mask[1, frame, bin_].double() - expected) < 1e-5


def test_the_oracle_keeps_all_of_a_clean_clip_and_nothing_of_noise(decided, spectral):
    wavs, features, decision = decided
    oracle, silence = Oracle(spectral), torch.zeros_like(wavs)
    sources = analyse_sources(wavs, silence, spectral)
    explanation = oracle(wavs, features, decision, sources=sources)
    assert torch.equal(explanation.interpretation, wavs)
    assert torch.equal(explanation.kept_input, decision.inputs)
    sources = analyse_sources(silence, wavs, spectral)
    explanation = oracle(wavs, features, decision, sources=sources)
    assert not explanation.interpretation.any()


def test_only_the_oracle_gets_the_sources(spectral):
    shown = [n for n, i in reference_interpreters(spectral).items() if i.needs_sources]
    assert shown == ["oracle"]
    assert list(reference_interpreters(spectral))[-1] == "oracle"


def test_alpha_0_does_not_run_the_unet_and_alpha_1_uses_only_the_classifier(
    decided, make_lmac_td
):
    model = make_lmac_td(alpha=0)
    model.unet = None
    model(*decided)

    wavs, features, decision = decided
    model = make_lmac_td(alpha=1).eval()
    other = model(wavs.flip(0), features, decision)
    torch.testing.assert_close(other.mask, model(wavs, features, decision).mask)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, "much", None])
def test_alpha_outside_0_to_1_is_refused(make_lmac_td, alpha):
    with pytest.raises(SettingError, match="--alpha"):
        make_lmac_td(alpha)


def test_filterbank_is_frozen_unless_asked(make_lmac_td):
    assert not any(p.requires_grad for p in make_lmac_td().filterbank.parameters())
    trained = make_lmac_td(train_filterbank=True).filterbank
    assert all(p.requires_grad for p in trained.parameters())
