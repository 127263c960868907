"""SmoothGrad and the SHAP methods: what is drawn, and what adds up."""

import random

import numpy as np
import pytest
import torch
from captum.attr import DeepLift
from torch import nn

from lmac_td.classifiers.cnn14 import MaxPlusMean
from lmac_td.classifiers.deeplift_rules import register_deeplift_rules
from lmac_td.interpreters.attribution.clip_logits import ClipLogits
from lmac_td.interpreters.attribution.reference_sounds import reference_sounds
from tests.conftest import SAMPLE_RATE
from tests.interpreters.attribution.helpers import (
    DOMAINS,
    attributed,
    clip_logits,
    literal_logit,
)

# Captum warns of hooks, which it removes again.
pytestmark = pytest.mark.filterwarnings("ignore:Setting")


@pytest.mark.parametrize("domain", DOMAINS)
def test_smoothgrad_draws_new_noise_for_every_sample(build, decided, domain):
    settings = {"smoothgrad": {"n_samples": 6, "noise_level": 0.1, "batch_size": 4}}
    method = build("smoothgrad", domain=domain, settings=settings)
    seen = []

    class Recording(ClipLogits):
        def forward(self, x):
            seen.append(x.detach())
            return super().forward(x)

    logits = Recording(*vars_of(clip_logits(method, decided, 0)))
    x, target, ours = attributed(method, decided, 0)
    method.attribute(x.clone().requires_grad_(), target, logits)
    given = torch.cat(seen)
    assert len(given) == 6
    for one in range(6):
        for other in range(one):
            assert (given[one] - given[other]).abs().mean() > 0.05 * (x.max() - x.min())
    noise = given - x
    expected = 0.1 * (x.max() - x.min())
    assert abs(noise.std() / expected - 1) < 0.02
    gradients = []
    for sample in given:  # and their mean is what is returned
        sample = sample.clamp(min=0)[None].requires_grad_()
        logit = logits(sample)[0, target]
        gradients.append(torch.autograd.grad(logit, sample)[0])
    torch.testing.assert_close(
        ours, torch.cat(gradients).mean(dim=0, keepdim=True).abs(), rtol=1e-3, atol=1e-6
    )


def vars_of(logits):
    return (
        logits.classifier,
        logits.features,
        logits.domain,
        logits.stft,
        logits.n_samples,
    )


@pytest.mark.parametrize("method", ["smoothgrad", "gradient_shap"])
def test_random_numbers_depend_on_the_seed_alone(build, decided, method):
    def state():
        return (
            torch.random.get_rng_state().sum().item(),
            np.random.get_state()[1].sum(),
            np.random.get_state()[2],
            random.getstate(),
        )

    before = state()
    _, _, first = attributed(build(method), decided, 0)
    assert state() == before
    torch.manual_seed(99)
    np.random.seed(99)
    _, _, again = attributed(build(method), decided, 0)
    assert torch.equal(first, again)
    other_seed = {method: {"n_samples": 4, "seed": 1}}
    _, _, other = attributed(build(method, settings=other_seed), decided, 0)
    assert not torch.allclose(first, other)


def test_reference_sounds_are_silence_and_noise_at_their_levels():
    sounds = reference_sounds(SAMPLE_RATE)
    assert not sounds[0].any()
    level_db = 20 * sounds[1:].square().mean(dim=1).sqrt().log10()
    torch.testing.assert_close(
        level_db, torch.tensor([-60.0, -40.0, -20.0]), atol=0.1, rtol=0
    )
    assert torch.equal(sounds, reference_sounds(SAMPLE_RATE))


@pytest.mark.parametrize("domain", DOMAINS)
def test_deeplift_converges(build, classifier, spectral, decided, domain):
    """Also through the logarithm and the pooling over time, with rules of our own."""
    method = build("deeplift_shap", domain=domain)
    references = spectral(reference_sounds(86 * spectral.hop_samples)).magnitude
    if domain == "mel":
        references = (references @ classifier.mel.matrix).log1p()
    for clip in range(3):
        x, target, ours = attributed(method, decided, clip)
        with torch.no_grad():
            difference = literal_logit(classifier, domain, x, target) - sum(
                literal_logit(classifier, domain, reference[None], target) / 4
                for reference in references
            )
        assert difference.abs() > 0.1
        assert (ours.sum() - difference).abs() < 1e-3 * difference.abs()


def test_deeplift_divides_a_maximum_by_its_definition():
    """A rise is due to the maximum of x, a fall to the maximum of the reference."""
    register_deeplift_rules()
    x = torch.tensor([[[1.0, 5.0, 2.0, 0.0]], [[1.0, 0.0, 2.0, 0.0]]])
    reference = torch.tensor([[[3.0, 1.0, 2.0, 0.0]], [[3.0, 1.0, 2.0, 0.0]]])
    with pytest.warns(UserWarning, match="hooks"):
        ours = DeepLift(nn.Sequential(nn.Identity(), MaxPlusMean())).attribute(
            x.requires_grad_(), reference, target=0
        )
    of_max = torch.tensor([[[0.0, 2.0, 0.0, 0.0]], [[-1.0, 0.0, 0.0, 0.0]]])
    torch.testing.assert_close(ours, of_max + (x - reference) / 4)


def test_gradient_shap_respects_the_batch_limit(build, decided, monkeypatch):
    """The same attribution, from batches of at most ``batch_limit`` points."""
    classifier, sizes = decided[2].classifier, []
    method = build("gradient_shap", settings={"gradient_shap": {"n_samples": 7}})
    _, _, expected = attributed(method, decided, 0)
    run = classifier.run

    def recording_run(inputs):
        sizes.append(len(inputs))
        return run(inputs)

    monkeypatch.setattr(classifier, "run", recording_run)
    monkeypatch.setattr(classifier, "batch_limit", 3)
    _, _, ours = attributed(method, decided, 0)
    assert max(sizes) == 3
    scale = expected.abs().max().item()
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6 * scale)
