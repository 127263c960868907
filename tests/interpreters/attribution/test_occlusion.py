"""Occlusion equals its literal twin, and explains black boxes and tags."""

import numpy as np
import pytest
import torch

from lmac_td.classifiers.black_box import BlackBoxClassifier
from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import decide
from tests.conftest import SAMPLE_RATE
from tests.interpreters.attribution.helpers import (
    DOMAINS,
    attributed,
    bursts,
    explained_by,
    of_waveforms,
)


@pytest.mark.parametrize("domain", DOMAINS)
def test_occlusion_equals_its_literal_twin(build, classifier, decided, domain):
    settings = {"occlusion": {"time_segments": 3, "frequency_segments": 2}}
    method = build("occlusion", domain=domain, settings=settings)
    x, target, ours = attributed(method, decided, 1)

    def probability(x):
        log_mel = (x @ classifier.mel.matrix).log1p() if domain == "stft" else x
        embedding, _ = classifier.embedding_model(log_mel)
        return classifier.classifier(embedding).softmax(-1)[0, target]

    loudest = classifier.mel.bands_of_bins.argmax(dim=0)
    with torch.no_grad():
        expected = torch.zeros_like(x)
        for rows in (slice(0, 29), slice(29, 58), slice(58, 87)):
            for bands in (range(40), range(40, 80)):
                columns = [
                    column
                    for column in range(x.shape[2])
                    if (loudest[column] if domain == "stft" else column) in bands
                ]
                silenced = x.clone()
                silenced[:, rows, columns] = 0
                expected[:, rows, columns] = probability(x) - probability(silenced)
    assert expected.max() > 1e-3
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


def loudness(wavs):
    """A black box: the level of the first half, and of the second."""
    halves = np.split(wavs, 2, axis=1)
    return np.stack([10 * np.abs(half).mean(axis=1) for half in halves], axis=1)


def test_a_black_box_is_refused_by_every_method_that_needs_gradients(build):
    classifier = BlackBoxClassifier(loudness, SAMPLE_RATE, 2).freeze()
    for name, method in build(classifier_input="audio").items():
        if name == "occlusion":
            method.check(classifier)
            continue
        with pytest.raises(SettingError, match=r"black box.*occlusion") as error:
            method.check(classifier)
        assert type(method).__name__ in str(error.value), name
        assert "\n" not in str(error.value)


def test_a_black_box_is_explained_by_occlusion(build, spectral):
    classifier = BlackBoxClassifier(loudness, SAMPLE_RATE, 2).freeze()
    time = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = 0.5 * torch.sin(2 * torch.pi * 500 * time)
    wavs = torch.stack([tone * (time < 0.4), tone * (time > 0.6)])
    explanation = explained_by(
        build("occlusion", classifier_input="audio"), classifier, wavs, spectral
    )
    sounding = explanation.mask * spectral(wavs).magnitude
    assert explanation.mask.amax(dim=(1, 2)).tolist() == [1, 1]
    assert sounding[0, :40].sum() > 0.99 * sounding[0].sum()
    assert sounding[1, 47:].sum() > 0.99 * sounding[1].sum()


def test_occlusion_asks_for_the_probability_of_a_tag(build, spectral):
    """Sigmoids: the probability is the tag's own, whatever the others are."""
    classifier = of_waveforms(activation="sigmoid")
    wavs = bursts(1)
    features, decision = decide(wavs, spectral, classifier)
    settings = {"occlusion": {"time_segments": 1, "frequency_segments": 1}}
    method = build("occlusion", classifier_input="audio", settings=settings)
    _, target, ours = attributed(method, (wavs, features, decision), 0)
    with torch.no_grad():
        of_silence = classifier.network(torch.zeros_like(wavs))[0, target].sigmoid()
    expected = decision.logits[0, target].sigmoid() - of_silence
    torch.testing.assert_close(ours, expected.expand_as(ours), rtol=1e-4, atol=1e-6)
