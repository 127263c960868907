"""The model and the ``explain_func`` that Quantus is given."""

import copy

import numpy as np
import pytest
import torch

from lmac_td.evaluation.quantus import (
    QuantusModel,
    as_channels,
    explain_func,
    run_quantus,
)
from lmac_td.interpreters.attribution.saliency import Saliency
from lmac_td.interpreters.baselines import Identity
from tests.evaluation.quantus.conftest import T
from tests.evaluation.quantus.interpreters import Gradient
from tests.networks import waveform_classifier


def test_the_model_decides_as_the_classifier(explained, spectral, classifier):
    batch = explained(Identity(spectral))
    x = torch.from_numpy(as_channels(batch.features.stft)).requires_grad_()
    logits = QuantusModel(spectral, classifier).train()(x)
    torch.testing.assert_close(logits, batch.decision.logits, rtol=1e-5, atol=1e-5)
    logits.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() > 0


def test_the_class_explained_is_the_one_that_quantus_gives(
    spectral, classifier, explained
):
    seen = []

    class Noting(Identity):
        def forward(self, wavs, features, decision):
            seen.append((wavs, decision))
            assert not torch.is_grad_enabled()
            return super().forward(wavs, features, decision)

    batch = explained(Identity(spectral))
    maps = explain_func(Noting(spectral), T)(
        QuantusModel(spectral, classifier),
        as_channels(batch.features.stft),
        np.array([7, 2]),
        device="cpu",
    )
    wavs, decision = seen.pop()
    assert decision.target.tolist() == [7, 2]
    torch.testing.assert_close(wavs, batch.wavs, rtol=0, atol=1e-5)
    want = batch.explanation.attribution.unsqueeze(1).double()
    np.testing.assert_allclose(maps, want, atol=1e-5)
    for mine, theirs in zip(
        decision.representations, batch.decision.representations, strict=True
    ):
        torch.testing.assert_close(mine.values, theirs.values)


def randomised(model):
    other = copy.deepcopy(model)
    for module in other.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return other


def test_another_model_changes_the_explanation(
    explained, spectral, classifier, trained
):
    model = QuantusModel(spectral, classifier)
    x = as_channels(explained(trained).features.stft)
    ask = explain_func(trained, T)
    first, again, other = (
        ask(one, x, np.array([0, 1])) for one in (model, model, randomised(model))
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


def test_a_method_that_runs_the_classifier_runs_that_of_the_model(
    explained, spectral, classifier
):
    interpreter = Gradient(spectral)
    model = QuantusModel(spectral, classifier)
    other = randomised(model)
    x, y = as_channels(explained(interpreter).features.stft), np.array([0, 1])
    state = copy.deepcopy(classifier.state_dict())
    first, followed, after = (
        explain_func(interpreter, T)(m, x, y) for m in (model, other, model)
    )
    magnitude = torch.from_numpy(x).square().sum(dim=1).sqrt().requires_grad_()
    logits = other.classifier(other.classifier.mel(magnitude)).logits
    logits[torch.arange(2), torch.from_numpy(y)].sum().backward()
    want = magnitude.grad.abs().unsqueeze(1)
    np.testing.assert_allclose(followed, want, rtol=1e-3, atol=1e-6 * want.max())
    assert np.abs(first - followed).max() > 1e-3 * np.abs(first).max()
    np.testing.assert_array_equal(first, after)
    assert all(torch.equal(state[k], v) for k, v in classifier.state_dict().items())


def test_weights_stay_when_the_interpreter_fails(explained, spectral, classifier):
    interpreter = Gradient(spectral)
    x = as_channels(explained(interpreter).features.stft)
    other = randomised(QuantusModel(spectral, classifier))
    state = copy.deepcopy(classifier.state_dict())
    with pytest.raises(RuntimeError):
        explain_func(interpreter, T)(other, x, np.array([0, 99]))
    assert all(torch.equal(state[k], v) for k, v in classifier.state_dict().items())


def test_a_classifier_of_waveforms_is_given_the_sound(explained, spectral):
    torch.manual_seed(0)
    classifier = waveform_classifier(n_classes=4)
    interpreter = Saliency(spectral, classifier_input="audio")
    batch = explained(interpreter, classifier=classifier)
    x = torch.from_numpy(as_channels(batch.features.stft)).requires_grad_()
    model = QuantusModel(spectral, classifier)
    logits = model(x)
    length = spectral.hop_samples * (batch.features.stft.shape[1] - 1)
    expected = classifier.decide(spectral.istft(batch.features.stft, length)).logits
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    logits.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() > 0
    names = ["Sparseness", "PixelFlipping", "MPRT", "RelevanceRankAccuracy"]
    for name, values in run_quantus(names, spectral, batch, interpreter).items():
        assert np.isfinite(values).all(), name
