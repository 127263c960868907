"""Stability: the noise that is added, which clips count, and what moves."""

import math

import pytest
import torch

from lmac_td.interpreters.attribution.saliency import Saliency
from lmac_td.interpreters.baselines import HalfGain, Identity
from lmac_td.sanity.comparison import (
    ANOTHER_CLIP,
    RANDOM_MASK,
    stages_to_markdown,
    summarise_stages,
)
from lmac_td.sanity.similarity import MEASURES
from lmac_td.sanity.stability import Stability
from tests.networks import waveform_classifier
from tests.sanity.test_randomisation import batches_of, records

LEVELS = (-60, -30, 0)


class Watching(Identity):
    """Keeps everything, and remembers what it was asked to explain."""

    def __init__(self, features):
        super().__init__(features)
        self.seen = []

    def forward(self, wavs, features, decision):
        self.seen.append((wavs, features, decision))
        return super().forward(wavs, features, decision)


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return waveform_classifier(n_classes=4)


@pytest.fixture
def stability(classifier, spectral):
    methods = {
        "saliency": Saliency(spectral, classifier_input="audio"),
        "half gain": HalfGain(spectral),
        "watching": Watching(spectral),
    }
    comparison = Stability(methods, batches_of(), spectral, classifier)
    for level in LEVELS:
        comparison.add(level)
    return comparison


def test_the_noise_has_its_level_and_the_features_are_of_the_noisy_clip(
    stability, spectral
):
    seen = stability.interpreters["watching"].seen
    for i, intact in enumerate(stability.decided):
        for k, level in enumerate(LEVELS):
            wavs, features, decision = seen[2 * (k + 1) + i]
            noise = 10 ** (level / 20) * stability.noise[i]
            assert torch.allclose(wavs, intact.wavs + noise)
            assert torch.equal(features.magnitude, spectral(wavs).magnitude)
            assert torch.equal(decision.target, intact.decision.target)
            expected = stability.classifier.decide(wavs).logits
            assert torch.allclose(decision.logits, expected, atol=1e-6)


def test_rows_and_ratios(stability):
    rows = [f"{level} dB" for level in LEVELS]
    summary = summarise_stages(stability.scores)
    assert list(summary["saliency"]) == [*rows, ANOTHER_CLIP, RANDOM_MASK]
    snr = [summary["saliency"][row]["SNR (dB)"][0] for row in rows]
    assert snr[0] - snr[1] == pytest.approx(30, abs=1e-3)
    assert snr[1] - snr[2] == pytest.approx(30, abs=1e-3)
    assert math.isnan(summary["saliency"][ANOTHER_CLIP]["SNR (dB)"][0])
    text = stages_to_markdown(summary, "noise")
    assert text.count("\n| 0 dB ") == 3
    assert " – " in text


def test_more_noise_moves_maps_further(stability):
    summary = summarise_stages(stability.scores)
    rank = [
        summary["saliency"][f"{level} dB"]["rank correlation"][0] for level in LEVELS
    ]
    assert 1 > rank[0] > rank[1] > rank[2] > 0
    for level in LEVELS:
        assert summary["half gain"][f"{level} dB"]["SSIM"][0] == pytest.approx(1)
    input_itself = summary["watching"]["0 dB"]["rank correlation (attribution)"][0]
    assert 0 < input_itself < 1


def test_a_clip_whose_decision_changes_does_not_count(classifier, spectral):
    methods = {"identity": Identity(spectral)}
    comparison = Stability(methods, batches_of(), spectral, classifier)
    # As if the classifier had decided the first clip for another class.
    decision = comparison.decided[0].decision
    decision.target[0] = (decision.target[0] + 1) % 4
    comparison.add(-60)
    first, *others = (r for r in records(comparison) if r["stage"] == "-60 dB")
    assert first["decision unchanged"] == 0
    assert all(math.isnan(first[measure]) for measure in MEASURES)
    for record in others:
        assert record["decision unchanged"] == 1
        assert record["rank correlation (attribution)"] > 0.9


def test_each_clip_and_seed_has_its_own_noise(classifier, spectral):
    def noise(seed):
        made = Stability({}, batches_of(1), spectral, classifier, seed=seed)
        return made.noise[0]

    torch.manual_seed(3)
    first = noise(0)
    torch.manual_seed(3)
    other = noise(1)
    assert not torch.allclose(first, other, atol=1e-3)
    assert not torch.allclose(first[0], first[1], atol=1e-3)
