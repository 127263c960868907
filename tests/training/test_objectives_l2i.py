"""L2I's loss equals literal twins of eqs. 1 to 4."""

import math
from dataclasses import replace

import pytest
import torch

from lmac_td.errors import SettingError
from lmac_td.evaluation.explaining import explain
from lmac_td.training.objectives import L2ILoss
from tests.batches import decided_batch
from tests.interpreters.test_l2i import build_l2i


@pytest.fixture
def model(spectral, frozen):
    return build_l2i(spectral, frozen)


@pytest.fixture
def explained(wavs, spectral, frozen, model):
    return explain(decided_batch(wavs, spectral, frozen), model)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def literal_fidelity(f, theta, task):
    """Return eq. 1 or eq. 2 for the logits of one clip."""
    if task == "multiclass":
        p = [math.exp(x) / sum(map(math.exp, f)) for x in f]
        q = [math.exp(x) / sum(map(math.exp, theta)) for x in theta]
        return -sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    return -sum(
        sigmoid(a) * math.log(sigmoid(b)) + sigmoid(-a) * math.log(sigmoid(-b))
        for a, b in zip(f, theta, strict=True)
    )


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_equals_its_literal_twin(explained, spectral, model, task):
    terms = L2ILoss(nmf_w=10, reg_w_l1=0.8, task=task)(explained, None)
    w = model.dictionary
    for clip in range(len(explained.wavs)):
        h = explained.explanation.activations[clip]
        x = torch.log(1 + spectral.stft(explained.wavs[clip : clip + 1]).abs())[0].T
        nmf = sum((a - b) ** 2 for a, b in zip(
            x.flatten().tolist(), (w @ h).flatten().tolist(), strict=True
        )) / x.numel()  # fmt: skip
        l1 = sum(map(abs, h.flatten().tolist())) / h.numel()
        fidelity = literal_fidelity(
            explained.decision.logits[clip].tolist(),
            explained.explanation.class_logits[clip].tolist(),
            task,
        )
        expected = {"fidelity": fidelity, "nmf": nmf, "l1": l1}
        for name, value in expected.items():
            assert terms.parts[name][clip].item() == pytest.approx(value, rel=1e-4)
        loss = fidelity + 10 * nmf + 0.8 * l1
        assert terms.loss[clip].item() == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_fidelity_is_smallest_if_theta_equals_the_classifier(explained, task):
    loss = L2ILoss(task=task)

    def fidelity(class_logits):
        explanation = replace(explained.explanation, class_logits=class_logits)
        return loss(replace(explained, explanation=explanation), None).parts["fidelity"]

    logits = explained.decision.logits
    assert (fidelity(logits) < fidelity(logits + torch.randn_like(logits))).all()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_auto_takes_the_task_from_the_classifier(explained, frozen, activation):
    frozen.activation = activation
    task = "multiclass" if activation == "softmax" else "multilabel"
    terms, expected = L2ILoss()(explained, None), L2ILoss(task=task)(explained, None)
    torch.testing.assert_close(terms.loss, expected.loss, rtol=0, atol=0)


def test_the_classifier_is_not_run(explained, frozen, monkeypatch):
    def run(inputs):
        raise AssertionError("the loss ran the classifier")

    monkeypatch.setattr(frozen, "run", run)
    assert not L2ILoss.needs_answers
    assert explained.kept_logits is None
    L2ILoss()(explained, None)


def test_means_depend_neither_on_batch_nor_on_length(spectral, frozen, model):
    tone = 0.3 * torch.sin(2 * math.pi * 440 * torch.arange(64000) / 16000)[None]

    def parts(wavs):
        explained = explain(decided_batch(wavs, spectral, frozen), model)
        return L2ILoss()(explained, None).parts

    one, long = parts(tone[:, :32000]), parts(tone)
    four = parts(tone[:, :32000].expand(4, -1))
    for name in ("nmf", "l1"):
        torch.testing.assert_close(long[name], one[name], rtol=0.1, atol=0)
        torch.testing.assert_close(four[name], one[name].expand(4))


def test_an_unknown_task_is_refused():
    with pytest.raises(SettingError, match="--task auto, multiclass or multilabel"):
        L2ILoss(task="regression")
