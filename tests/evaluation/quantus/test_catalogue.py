"""Names of metrics, and the refusal of those that cannot be run."""

import re

import pytest
import quantus
import torch

from lmac_td.classifiers.black_box import BlackBoxClassifier
from lmac_td.errors import SettingError
from lmac_td.evaluation import quantus as ours
from lmac_td.evaluation.quantus import (
    METRICS,
    REFUSED,
    QuantusModel,
    QuantusScores,
    as_channels,
    find_metrics,
    run_quantus,
    settings,
)
from lmac_td.interpreters.baselines import Identity
from tests.networks import waveform_classifier

RUNNABLE = sorted(set(METRICS) - set(REFUSED))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["Sparseness", "sparseness"], ["Sparseness"]),
        (["Attribution Localisation"], ["AttributionLocalisation"]),
        (["Pixel-Flipping", "AUC"], ["PixelFlipping", "AUC"]),
        (["Region Segmentation"], ["RegionPerturbation"]),
        (["ModelParameterRandomisation"], ["MPRT"]),
        (["Monotonicity-Nguyen"], ["MonotonicityCorrelation"]),
    ],
)  # fmt: skip
def test_names_as_quantus_has_them(given, found):
    assert find_metrics(given) == found


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Sparsness", "give --quantus Sparseness"),
        ("RelevanceRank", "RelevanceRankAccuracy"),
        ("qqqq", "AUC, AttributionLocalisation, .* or TopKIntersection"),
        ("", "AUC, AttributionLocalisation, .* or TopKIntersection"),
    ],
)
def test_unknown_names_list_near_ones(name, near, spectral):
    with pytest.raises(SettingError, match=near) as error:
        QuantusScores([name], spectral)
    assert "\n" not in str(error.value)
    assert not set(re.findall(r"\w+", str(error.value))) & set(REFUSED)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_run_is_refused_in_one_sentence(name, spectral):
    with pytest.raises(SettingError, match=f"{name} cannot be run on sounds") as error:
        QuantusScores(["Sparseness", name], spectral)
    assert "\n" not in str(error.value)
    assert "give " in str(error.value) or "leave it out" in str(error.value)


def test_every_metric_of_quantus_is_known():
    assert set(METRICS) >= set(REFUSED)
    assert set(METRICS) >= set(settings.SETTINGS)
    assert set(METRICS) >= settings.EXPLAIN_AGAIN
    listed = [
        metric for group in quantus.AVAILABLE_METRICS.values() for metric in group
    ]
    assert len(METRICS) == len(listed)


def test_quantus_finds_every_map_monotonous(explained, spectral, classifier):
    """Why Monotonicity is refused."""
    batch = explained(Identity(spectral))
    for attribution in (torch.rand(2, 1, 26, 513), -torch.rand(2, 1, 26, 513)):
        scores = quantus.Monotonicity(
            features_in_step=513 * 13, disable_warnings=True, perturb_baseline=0.0
        )(
            model=QuantusModel(spectral, classifier),
            x_batch=as_channels(batch.features.stft),
            y_batch=batch.decision.target.numpy(),
            a_batch=attribution.abs().numpy(),
            channel_first=True,
        )
        assert scores == [True, True]


def test_sigmoids_are_refused(explained, spectral):
    """Quantus takes a softmax of logits."""
    classifier = waveform_classifier(n_classes=4, activation="sigmoid")
    interpreter = Identity(spectral)
    batch = explained(interpreter, classifier=classifier)
    with pytest.raises(SettingError, match="sigmoids: leave --quantus out"):
        run_quantus(["Sparseness"], spectral, batch, interpreter)


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("MPRT", "randomises weights, and <lambda> has none"),
        ("EfficientMPRT", "randomises weights, and <lambda> has none"),
        ("RelativeRepresentationStability", "representations, and <lambda> gives none"),
    ],
)
def test_what_a_metric_needs_of_a_classifier_is_named(
    explained, spectral, metric, words
):
    black_box = BlackBoxClassifier(lambda wavs: wavs[:, :4], 16000, 4).freeze()
    interpreter = Identity(spectral)
    batch = explained(interpreter, classifier=black_box)
    for refused in (
        lambda: run_quantus([metric], spectral, batch, interpreter),
        lambda: QuantusScores([metric], spectral).check(black_box),
    ):
        with pytest.raises(SettingError, match=f"{words}: leave it out of --quantus"):
            refused()
    QuantusScores(["Sparseness"], spectral).check(black_box)


def test_every_public_name_is_found_and_no_other():
    for name in ours.__all__:
        assert getattr(ours, name)
        assert name in dir(ours)
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        ours.other  # noqa: B018
