"""Saliency, Guided Backprop and Integrated Gradients equal their literal twins."""

import copy

import pytest
import torch
from torch import nn

from tests.interpreters.attribution.helpers import DOMAINS, attributed, literal_logit

# Captum warns of hooks, which it removes again.
pytestmark = pytest.mark.filterwarnings("ignore:Setting")


def test_the_classifier_of_these_tests_has_clear_logits_and_representations(decided):
    _, _, decision = decided
    assert decision.logits.std() > 0.1
    for representation in decision.representations:
        assert representation.values.amax() > 0.5


@pytest.mark.parametrize("domain", DOMAINS)
def test_saliency_is_the_magnitude_of_the_gradient(build, classifier, decided, domain):
    x, target, ours = attributed(build("saliency", domain=domain), decided, 1)
    x.requires_grad_()
    literal_logit(classifier, domain, x, target).backward()
    assert x.grad.abs().max() > 0
    torch.testing.assert_close(ours, x.grad.abs())


class LiteralGuidedReLU(nn.Module):
    """Springenberg et al., fig. 1: negative gradients do not pass backwards either."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            return (x > 0) * (gradient > 0) * gradient

    def forward(self, x):
        return self.Function.apply(x)


@pytest.mark.parametrize("domain", DOMAINS)
def test_guided_backprop_masks_negative_gradients_at_every_relu(
    build, classifier, decided, domain
):
    x, target, ours = attributed(build("guided_backprop", domain=domain), decided, 0)
    guided = copy.deepcopy(classifier)
    for block in (m for m in guided.modules() if hasattr(m, "relu1")):
        block.relu1, block.relu2 = LiteralGuidedReLU(), LiteralGuidedReLU()
    x.requires_grad_()
    literal_logit(guided, domain, x, target).backward()
    torch.testing.assert_close(ours, x.grad, rtol=1e-4, atol=1e-6 * x.grad.abs().max())
    _, _, plain = attributed(build("saliency", domain=domain), decided, 0)
    assert (ours.abs() - plain).norm() > 0.3 * plain.norm()


@pytest.mark.parametrize("domain", DOMAINS)
def test_integrated_gradients_are_complete(build, classifier, decided, domain):
    settings = {"integrated_gradients": {"n_steps": 256}}
    method = build("integrated_gradients", domain=domain, settings=settings)
    for clip in (0, 2):
        x, target, ours = attributed(method, decided, clip)
        with torch.no_grad():
            at_x, at_silence = (
                literal_logit(classifier, domain, point, target)
                for point in (x, torch.zeros_like(x))
            )
        difference = at_x - at_silence
        assert difference.abs() > 0.1
        assert (ours.sum() - difference).abs() < 0.01 * difference.abs()
