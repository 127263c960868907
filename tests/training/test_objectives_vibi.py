"""VIBI's loss equals literal twins of its terms."""

import math
from dataclasses import replace

import pytest
import torch

from lmac_td.errors import SettingError
from lmac_td.evaluation.explaining import explain
from lmac_td.training.objectives import VIBILoss
from tests.batches import decided_batch
from tests.interpreters.test_vibi import build_vibi

K = 5


@pytest.fixture
def explained(wavs, spectral, frozen):
    decided = decided_batch(wavs, spectral, frozen)
    return explain(decided, build_vibi(spectral, n_chunks=K))


def literal_kl(p):
    """sum p_j log(p_j / (1 / N))."""
    return sum(x * math.log(x / (1 / len(p))) for x in p)


def test_equals_its_literal_twin_for_one_class(explained):
    terms = VIBILoss(0.1, task="multiclass")(explained, None)
    for clip, logits in enumerate(explained.explanation.class_logits.tolist()):
        decided = explained.decision.logits[clip].tolist()
        y = max(range(len(decided)), key=lambda c: decided[c])
        fidelity = -math.log(math.exp(logits[y]) / sum(map(math.exp, logits)))
        p = explained.explanation.log_probabilities[clip].exp().double().tolist()
        kl = K * literal_kl(p)
        assert terms.parts["fidelity"][clip].item() == pytest.approx(fidelity, rel=1e-4)
        assert terms.parts["kl"][clip].item() == pytest.approx(kl, rel=1e-3, abs=1e-4)
        loss = fidelity + 0.1 * kl
        assert terms.loss[clip].item() == pytest.approx(loss, rel=1e-3)


def test_equals_its_literal_twin_for_tags(explained, frozen):
    frozen.activation = "sigmoid"
    terms = VIBILoss()(explained, None)
    for clip, logits in enumerate(explained.explanation.class_logits.tolist()):
        expected = 0.0
        for c, logit in enumerate(logits):
            p = 1 / (1 + math.exp(-explained.decision.logits[clip, c].item()))
            q = 1 / (1 + math.exp(-logit))
            expected -= math.log(q if p >= frozen.threshold else 1 - q)
        found = terms.parts["fidelity"][clip].item()
        assert found == pytest.approx(expected, rel=1e-4)


def test_the_decided_class_counts_and_not_the_explained_one(explained):
    asked = replace(
        explained,
        decision=replace(explained.decision, target=1 - explained.decision.target * 0),
    )
    torch.testing.assert_close(
        VIBILoss()(asked, None).loss, VIBILoss()(explained, None).loss
    )


def test_the_divergence_is_zero_if_all_chunks_are_alike(explained):
    n = explained.explanation.log_probabilities.shape[1]

    def kl(log_p):
        explanation = replace(explained.explanation, log_probabilities=log_p)
        return VIBILoss()(replace(explained, explanation=explanation), None).parts["kl"]

    alike = torch.full((4, n), -math.log(n))
    torch.testing.assert_close(kl(alike), torch.zeros(4), atol=1e-5, rtol=0)
    sure = torch.full((4, n), -1e4)
    sure[:, 0] = 0.0
    torch.testing.assert_close(kl(sure), torch.full((4,), K * math.log(n)))


def test_both_networks_are_trained_and_the_classifier_is_not_run(
    wavs, spectral, frozen, monkeypatch
):
    model = build_vibi(spectral).train()
    explained = explain(decided_batch(wavs, spectral, frozen), model)

    def run(inputs):
        raise AssertionError("the loss ran the classifier")

    monkeypatch.setattr(frozen, "run", run)
    assert not VIBILoss.needs_answers
    VIBILoss()(explained, None).loss.mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if not name.endswith("6.bias"):  # a constant added to all chunks' logits
            assert parameter.grad.any(), name


def test_what_cannot_work_is_refused():
    with pytest.raises(SettingError, match="--bottleneck_w a number from 0"):
        VIBILoss(bottleneck_w=-1)
    with pytest.raises(SettingError, match="--task auto, multiclass or multilabel"):
        VIBILoss(task="regression")
