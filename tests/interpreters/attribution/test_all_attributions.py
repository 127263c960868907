"""Promises of every attribution method."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from lmac_td.evaluation.batches import decide
from lmac_td.interpreters.attribution import Attribution
from lmac_td.interpreters.attribution.base import positive_over_maximum
from lmac_td.interpreters.baselines import HalfGain
from tests.interpreters.attribution.helpers import (
    DOMAINS,
    clip_logits,
    masks,
    narrow,
)

# Captum warns of hooks, which it removes again.
pytestmark = pytest.mark.filterwarnings("ignore:Setting")


def test_negative_magnitudes_are_replaced_by_silence(build, decided):
    logits = clip_logits(build("saliency"), decided, 0)
    x = decided[1].magnitude[:1]
    torch.testing.assert_close(logits(-x), logits(0 * x))
    assert logits(x - 0.5 * x.max()).isfinite().all()


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_method_gives_another_mask(build, decided, domain):
    found = masks(build(domain=domain), decided)
    names = list(found)
    for one in names:
        assert found[one].amax() == 1, one
        for other in names[: names.index(one)]:
            difference = (found[one] - found[other]).norm()
            scale = min(found[one].norm(), found[other].norm())
            assert difference > 0.05 * scale, (one, other)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_randomised_classifier_changes_every_mask_except_a_constant_one(
    build, classifier, spectral, decided, domain
):
    wavs, features, decision = decided
    other = copy.deepcopy(classifier)
    torch.manual_seed(11)
    for parameter in other.parameters():
        if parameter.dim() == 4:
            nn.init.xavier_uniform_(parameter)
    other.classifier.reset_parameters()
    ours = {**build(domain=domain), "half gain": HalfGain(spectral)}
    before = masks(ours, decided)
    with torch.no_grad():  # of the same classes
        decision = replace(other(decision.inputs), target=decision.target)
    after = masks(ours, (wavs, features, decision))
    for name, mask in before.items():
        change = (after[name] - mask).norm() / mask.norm()
        if name == "half gain":
            assert change == 0
        else:
            assert change > 0.2, name


@pytest.mark.parametrize("domain", DOMAINS)
def test_an_explanation_does_not_depend_on_its_batch(
    build, classifier, spectral, decided, domain
):
    wavs, rows = decided[0], build(domain=domain)
    whole = masks(rows, decided)
    for size in (1, 2):
        parts = [
            masks(rows, (part, *decide(part, spectral, classifier)))
            for part in wavs.split(size)
        ]
        for name, mask in whole.items():
            ours = torch.cat([part[name] for part in parts])
            torch.testing.assert_close(ours, mask, atol=1e-5, rtol=0, msg=name)


def traces(module):
    """List hooks, gradients and attributes that a method might leave behind."""
    return [
        (
            len(m._forward_hooks),
            len(m._forward_pre_hooks),
            len(m._backward_hooks),
            len(m._backward_pre_hooks),
            sorted(vars(m)),
            m.training,
            [p.grad is None and not p.requires_grad for p in m.parameters()],
        )
        for m in module.modules()
    ]


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_hook_and_no_gradient_is_left_behind(build, decided, domain):
    _, features, decision = decided
    classifier = decision.classifier
    rows = build(domain=domain)
    for name, method in rows.items():
        before = traces(classifier), traces(method)
        with torch.no_grad():
            explanation = method(*decided)
        assert (traces(classifier), traces(method)) == before, name
        for given in (features.magnitude, decision.inputs):
            assert not given.requires_grad, name
            assert given.grad is None, name
        for field in vars(explanation).values():
            assert not field.requires_grad, name
        assert not any(p.requires_grad for p in classifier.parameters()), name
        # The classifier is the decision's: no method has weights of its own.
        assert not list(method.parameters()), name


@pytest.mark.parametrize("classifier_input", ["spectrogram", "audio"])
def test_the_classifier_is_given_the_masked_magnitude_or_its_sound(
    build, classifier, spectral, decided, classifier_input
):
    features = decided[1]
    explanation = build("saliency", classifier_input=classifier_input)(*decided)
    masked = classifier.mel(explanation.mask * features.magnitude)
    sound = classifier.mel(spectral(explanation.interpretation).magnitude)
    expected = masked if classifier_input == "spectrogram" else sound
    torch.testing.assert_close(explanation.kept_input, expected, atol=1e-4, rtol=1e-4)
    assert (masked - sound).abs().max() > 1e-2
    both = explanation.interpretation + explanation.residual
    torch.testing.assert_close(both, decided[0], atol=1e-5, rtol=0)


def test_on_mel_bands_the_classifier_is_given_the_masked_mel(build, decided):
    method = build("saliency", domain="mel")
    explanation = method(*decided)
    expected = (explanation.mask * decided[2].inputs.expm1()).log1p()
    torch.testing.assert_close(explanation.kept_input, expected, atol=1e-5, rtol=1e-5)
    assert "no sound of its own" in method.remark
    assert explanation.interpretation.shape == decided[0].shape


def test_silence_and_less_than_a_window_are_explained(build, classifier, spectral):
    for wavs in (torch.zeros(1, 8000), 0.1 * torch.randn(1, 300)):
        for domain in DOMAINS:
            for name, method in build(domain=domain).items():
                mask = method(wavs, *decide(wavs, spectral, classifier)).mask
                assert mask.isfinite().all(), name
                assert (mask >= 0).all(), name
                assert (mask <= 1).all(), name


def test_without_a_positive_part_nothing_is_kept(spectral, decided):
    class Against(Attribution):
        def attribute(self, x, target, logits):
            return -x

    explanation = Against(spectral)(*decided)
    assert not explanation.mask.any()
    assert not explanation.interpretation.any()


def test_a_mask_is_the_positive_part_over_its_maximum_of_each_clip():
    attribution = torch.tensor([[[-8.0, 2.0]], [[0.5, 0.25]], [[-1.0, 0.0]]])
    expected = torch.tensor([[[0.0, 1.0]], [[1.0, 0.5]], [[0.0, 0.0]]])
    assert torch.equal(positive_over_maximum(attribution), expected)


def test_weights_that_are_loaded_later_are_explained(build, spectral, decided):
    torch.manual_seed(0)
    other = narrow(spectral).freeze()
    decision = replace(decided[2], classifier=other)
    method = build("saliency")
    before = method(*decided[:2], decision).mask
    other.classifier.load_state_dict(nn.Linear(16, 10).state_dict())
    assert not torch.allclose(method(*decided[:2], decision).mask, before)
