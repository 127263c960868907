"""VIBI: the choice of chunks, their mask, and what the approximator reads."""

import pytest
import torch

from lmac_td.classifiers.black_box import BlackBoxClassifier
from lmac_td.errors import SettingError
from lmac_td.interpreters.vibi import VIBI
from lmac_td.nn.chunks import (
    Approximator,
    ChunkExplainer,
    hard_choice,
    relaxed_choice,
)
from tests.batches import decided_batch
from tests.conftest import N_CLASSES


def build_vibi(spectral, n_classes=N_CLASSES, **settings):
    """A very narrow VIBI, with 4 x 8 chunks of a second."""
    explainer = ChunkExplainer(width=2)
    torch.nn.init.normal_(explainer.layers[-1].weight, std=3.0)  # sure of itself
    approximator = Approximator(spectral.n_bins, n_classes, width=2)
    settings = {"n_chunks": 5, "chunk_ms": 250, "chunk_hz": 1000, **settings}
    return VIBI(spectral, explainer, approximator, **settings)


@pytest.fixture
def model(spectral):
    return build_vibi(spectral).eval()


@pytest.fixture
def decided(wavs, spectral, frozen):
    batch = decided_batch(wavs, spectral, frozen)
    return batch.wavs, batch.features, batch.decision


def test_the_mask_is_the_k_most_probable_chunks(decided, model):
    explanation = model(*decided)
    frames, bins = explanation.mask.shape[1:]
    assert model.grid(frames) == (4, 8)
    assert "A trained network: it chooses a few tiles" in model.about()
    for clip in range(len(explanation.mask)):
        p = explanation.log_probabilities[clip].tolist()
        best = sorted(range(32), key=lambda chunk: -p[chunk])[:5]
        assert explanation.chosen[clip].nonzero().flatten().tolist() == sorted(best)
        for frame in range(frames):
            for b in range(0, bins, 50):
                chunk = frame * 4 // frames * 8 + b * 8 // bins
                assert explanation.mask[clip, frame, b].item() == float(chunk in best)


def test_the_approximator_reads_the_chosen_chunks_alone(decided, model):
    features = decided[1]
    explanation = model(*decided)
    heard = []
    model.approximator.register_forward_pre_hook(lambda _, x: heard.append(x[0]))
    logits = model(*decided).class_logits
    x = torch.log(1 + features.magnitude)
    torch.testing.assert_close(heard[0], explanation.mask * x)
    torch.testing.assert_close(model.class_logits(*decided), logits)


def test_probabilities_add_up(decided, model):
    p = model(*decided).log_probabilities.exp()
    torch.testing.assert_close(p.sum(dim=1), torch.ones(len(p)))


def test_training_draws_and_evaluation_does_not(decided, model):
    first, second = model(*decided), model(*decided)
    assert torch.equal(first.class_logits, second.class_logits)
    model.train()
    torch.manual_seed(3)
    first, second = model(*decided), model(*decided)
    assert not torch.equal(first.class_logits, second.class_logits)
    torch.manual_seed(3)
    assert torch.equal(model(*decided).class_logits, first.class_logits)
    # What a person hears is not drawn.
    assert torch.equal(first.mask, second.mask)


def test_the_explainer_has_a_gradient_in_training_alone(decided, model):
    weight = model.explainer.layers[0].weight
    assert model(*decided).class_logits.requires_grad
    (gradient,) = torch.autograd.grad(
        model(*decided).class_logits.sum(), weight, allow_unused=True
    )
    assert gradient is None
    (gradient,) = torch.autograd.grad(
        model.train()(*decided).class_logits.sum(), weight
    )
    assert gradient.abs().sum() > 0


def literal_relaxed_choice(logits, gumbel, temperature):
    """z_j = max over draws of exp((log p_j + g_j) / T) / sum of exp(...)."""
    p = [v.exp() for v in logits]
    p = [v / sum(p) for v in p]
    draws = []
    for g in gumbel:
        e = [
            ((v.log() + noise) / temperature).exp()
            for v, noise in zip(p, g, strict=True)
        ]
        draws.append([v / sum(e) for v in e])
    return [float(max(draw[j] for draw in draws)) for j in range(len(p))]


def test_the_relaxed_choice_equals_its_literal_twin():
    logits = torch.randn(2, 6)
    torch.manual_seed(1)
    found = relaxed_choice(logits, k=3, temperature=0.5)
    torch.manual_seed(1)
    gumbel = -(-torch.rand(2, 3, 6).log()).log()
    for clip in range(2):
        expected = literal_relaxed_choice(logits[clip], gumbel[clip], 0.5)
        assert found[clip].tolist() == pytest.approx(expected, rel=1e-4)


def test_a_low_temperature_draws_by_the_probabilities():
    logits = torch.tensor([[0.0, 1.0, 2.0]]).expand(4000, -1)
    drawn = relaxed_choice(logits, k=1, temperature=1e-3)
    torch.testing.assert_close(
        drawn.mean(dim=0), logits[0].softmax(dim=0), atol=0.03, rtol=0
    )
    torch.testing.assert_close(drawn.sum(dim=1), torch.ones(4000))


def test_a_clip_with_few_chunks_keeps_all():
    assert hard_choice(torch.randn(2, 3), 8).all()


def test_it_explains_a_black_box_and_clips_of_any_length(spectral):
    box = BlackBoxClassifier(lambda wavs: wavs[:, :2], 16000, ["a", "b"]).freeze()
    model = build_vibi(spectral, n_classes=2).eval()
    model.check(box)
    for n_samples in (300, 16000, 40000):
        wavs = 0.1 * torch.randn(1, n_samples)
        explanation = model(wavs, spectral(wavs), box.decide(wavs))
        assert explanation.class_logits.isfinite().all()
        assert explanation.interpretation.shape == wavs.shape


@pytest.mark.parametrize("name", ["n_chunks", "chunk_hz", "chunk_ms", "temperature"])
def test_a_setting_that_cannot_work_is_refused(spectral, name):
    with pytest.raises(SettingError, match=f"give --{name}"):
        build_vibi(spectral, **{name: 0})
