"""AUPRC and F1 of tags against literal sweeps over thresholds and scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from lmac_td.evaluation.tag_fidelity import (
    average_precision,
    maximal_f1,
    tag_fidelity,
)


def counts_at(threshold, relevant, scores):
    """How many pairs reach a threshold, and how many of them are relevant."""
    reached = [r for r, s in zip(relevant, scores, strict=True) if s >= threshold]
    return len(reached), sum(reached)


def literal_average_precision(relevant, scores):
    """sum_k (R_k - R_{k-1}) P_k, threshold by threshold."""
    area, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        n, hits = counts_at(threshold, relevant, scores)
        area += (hits / sum(relevant) - recall) * hits / n
        recall = hits / sum(relevant)
    return area


def literal_maximal_f1(relevant, scores):
    best = 0.0
    for threshold in set(scores):
        n, hits = counts_at(threshold, relevant, scores)
        if hits:
            precision, recall = hits / n, hits / sum(relevant)
            best = max(best, 2 * precision * recall / (precision + recall))
    return best


@pytest.fixture(params=["distinct scores", "equal scores"])
def tags(request):
    """30 clips of 4 classes: tags, and scores that follow them roughly."""
    generator = np.random.default_rng(1)
    decided = generator.random((30, 4)) < [0.25, 0.3, 0.5, 0.8]
    scores = 0.4 * decided + generator.random((30, 4))
    return decided, scores.round(1) if request.param == "equal scores" else scores


def test_equals_a_sweep_over_all_thresholds(tags):
    decided, scores = tags
    assert decided.sum(axis=0).min() >= 2
    found = {name: value for name, (value, *_) in tag_fidelity(*tags).items()}
    each = [
        literal_average_precision(decided[:, c].tolist(), scores[:, c].tolist())
        for c in range(4)
    ]
    pairs = decided.ravel().tolist(), scores.ravel().tolist()
    assert found == {
        "macro AUPRC": pytest.approx(sum(each) / 4),
        "micro AUPRC": pytest.approx(literal_average_precision(*pairs)),
        "maximal micro F1": pytest.approx(literal_maximal_f1(*pairs)),
    }
    assert 0.4 < found["macro AUPRC"] < 0.95


def test_equals_scikit_learn(tags):
    decided, scores = tags
    found = tag_fidelity(*tags)
    for average in ("macro", "micro"):
        expected = average_precision_score(decided, scores, average=average)
        assert found[f"{average} AUPRC"][0] == pytest.approx(expected)
    f1 = [f1_score(decided, scores >= t, average="micro") for t in np.unique(scores)]
    assert found["maximal micro F1"][0] == pytest.approx(max(f1))


@pytest.mark.parametrize("function", [average_precision, maximal_f1])
def test_a_weight_is_a_repetition(tags, function):
    decided, scores = (part[:, 1] for part in tags)
    weights = np.random.default_rng(2).integers(0, 4, (5, 30))
    for row, found in zip(weights, function(decided, scores, weights), strict=True):
        repeated = decided.repeat(row), scores.repeat(row)
        (expected,) = function(*repeated, np.ones((1, row.sum())))
        assert found == pytest.approx(expected)


def test_intervals_are_those_of_drawing_clips(tags):
    decided, scores = tags
    found = tag_fidelity(decided, scores, n_resamples=50, seed=3)
    generator = np.random.default_rng(3)
    drawn = {name: [] for name in found}
    rows = generator.integers(0, 30, (50, 30))
    for clips in rows:
        pairs = decided[clips].ravel().tolist(), scores[clips].ravel().tolist()
        each = [
            literal_average_precision(decided[clips, c].tolist(), scores[clips, c])
            for c in range(4)
            if decided[clips, c].any()
        ]
        drawn["macro AUPRC"].append(sum(each) / len(each))
        drawn["micro AUPRC"].append(literal_average_precision(*pairs))
        drawn["maximal micro F1"].append(literal_maximal_f1(*pairs))
    for name, (value, low, high) in found.items():
        assert [low, high] == pytest.approx(np.percentile(drawn[name], [2.5, 97.5]))
        assert low < value < high


def test_perfect_agreement_is_one_and_chance_is_the_share_of_tags():
    decided = np.random.default_rng(0).random((2000, 3)) < 0.25
    for value, low, high in tag_fidelity(
        decided, decided + 0.0, n_resamples=9
    ).values():
        assert value == low == high == 1
    scores = np.random.default_rng(1).random(decided.shape)
    found = tag_fidelity(decided, scores, n_resamples=9)
    for name in ("macro AUPRC", "micro AUPRC"):
        assert found[name][0] == pytest.approx(0.25, abs=0.03)


def test_a_class_that_is_decided_once_counts_only_among_all_pairs():
    """Parekh et al., section 4.4."""
    decided = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 0], [1, 0, 0]], dtype=bool)
    scores = np.array([[0.9, 0.2, 0.1], [0.8, 0.3, 0.2], [0.1, 0.4, 0.3], [0.7, 0, 1]])
    found = tag_fidelity(decided, scores)
    assert found["macro AUPRC"][0] == 1
    pairs = decided.ravel().tolist(), scores.ravel().tolist()
    expected = literal_average_precision(*pairs)
    assert found["micro AUPRC"][0] == pytest.approx(expected)
    assert expected < 0.9


def test_without_tags_or_with_one_clip_there_is_no_number_or_no_interval():
    nothing = tag_fidelity(np.zeros((4, 2), dtype=bool), np.random.rand(4, 2))
    assert np.isnan(list(nothing.values())).all()
    one = tag_fidelity(np.array([[True, False]]), np.array([[0.2, 0.1]]))
    assert math.isnan(one["macro AUPRC"][0])
    assert one["micro AUPRC"][0] == one["maximal micro F1"][0] == 1
    assert all(math.isnan(low) for _, low, _ in one.values())
