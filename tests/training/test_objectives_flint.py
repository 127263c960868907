"""FLINT's loss equals literal twins of its terms."""

import math
from dataclasses import replace

import pytest
import torch

from lmac_td.errors import SettingError
from lmac_td.evaluation.explaining import explain
from lmac_td.training.objectives import FLINTLoss
from tests.batches import decided_batch
from tests.interpreters.test_flint import build_flint
from tests.training.test_objectives_l2i import literal_fidelity


@pytest.fixture
def explained(wavs, spectral, frozen):
    model = build_flint(spectral, frozen)
    return explain(decided_batch(wavs, spectral, frozen), model)


def literal_entropy(v):
    """E(v) = -sum p_i log p_i with p_i = exp(v_i) / sum_l exp(v_l)."""
    total = sum(math.exp(x) for x in v)
    return -sum(math.exp(x) / total * math.log(math.exp(x) / total) for x in v)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_equals_its_literal_twin(explained, spectral, task):
    loss = FLINTLoss(0.6, 2.0, 0.2, 0.15, task=task)
    terms = loss(explained, None)
    explanation = explained.explanation
    attributes = explanation.attributes.tolist()
    n = len(attributes)
    mean = [sum(phi[j] for phi in attributes) / n for j in range(len(attributes[0]))]
    for clip, phi in enumerate(attributes):
        x = torch.log(1 + spectral.stft(explained.wavs[clip : clip + 1]).abs())[0]
        decoded = explanation.reconstruction[clip]
        error = sum((a - b) ** 2 for a, b in zip(
            x.flatten().tolist(), decoded.flatten().tolist(), strict=True
        )) / x.numel()  # fmt: skip
        expected = {
            "fidelity": literal_fidelity(
                explained.decision.logits[clip].tolist(),
                explanation.class_logits[clip].tolist(),
                task,
            ),
            "reconstruction": error,
            "conciseness": literal_entropy(phi),
            "diversity": literal_entropy(mean),
            "l1": sum(map(abs, phi)) / len(phi),
        }
        for name, value in expected.items():
            assert terms.parts[name][clip].item() == pytest.approx(value, rel=1e-4)
        total = (
            0.6 * expected["fidelity"]
            + 2.0 * expected["reconstruction"]
            + 0.2 * (expected["conciseness"] - expected["diversity"])
            + 0.15 * expected["l1"]
        )
        assert terms.loss[clip].item() == pytest.approx(total, rel=1e-4)
        selection = total + 0.2 * expected["diversity"]
        assert terms.selection[clip].item() == pytest.approx(selection, rel=1e-4)


def test_few_attributes_of_their_own_are_concise_and_diverse(explained):
    """One attribute a clip, another one for each clip: small entropy, large entropy."""

    def parts(attributes):
        explanation = replace(explained.explanation, attributes=attributes)
        return FLINTLoss()(replace(explained, explanation=explanation), None).parts

    own, same = 10 * torch.eye(6)[:4], 10 * torch.eye(6)[:1].expand(4, -1)
    all_of_them = torch.ones(4, 6)
    assert (parts(own)["conciseness"] < parts(all_of_them)["conciseness"]).all()
    assert (parts(own)["diversity"] > parts(same)["diversity"]).all()
    torch.testing.assert_close(parts(same)["diversity"], parts(same)["conciseness"])


def test_every_weight_weights_its_term(explained):
    zero = {"output_w": 0, "input_w": 0, "entropy_w": 0, "reg_w_l1": 0}
    whole = FLINTLoss()(explained, None)
    for name, part in (
        ("output_w", whole.parts["fidelity"]),
        ("input_w", whole.parts["reconstruction"]),
        ("entropy_w", whole.parts["conciseness"] - whole.parts["diversity"]),
        ("reg_w_l1", whole.parts["l1"]),
    ):
        found = FLINTLoss(**{**zero, name: 3.0})(explained, None).loss
        torch.testing.assert_close(found, 3 * part)


def test_every_network_is_trained_and_the_classifier_is_not_run(
    wavs, spectral, frozen, monkeypatch
):
    model = build_flint(spectral, frozen)
    explained = explain(decided_batch(wavs, spectral, frozen), model)

    def run(inputs):
        raise AssertionError("the loss ran the classifier")

    monkeypatch.setattr(frozen, "run", run)
    assert not FLINTLoss.needs_answers
    FLINTLoss()(explained, None).loss.mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("name", ["output_w", "input_w", "entropy_w", "reg_w_l1"])
def test_a_negative_weight_is_refused(name):
    with pytest.raises(SettingError, match=f"give --{name} a number from 0"):
        FLINTLoss(**{name: -1})


def test_an_unknown_task_is_refused():
    with pytest.raises(SettingError, match="--task auto, multiclass or multilabel"):
        FLINTLoss(task="regression")
