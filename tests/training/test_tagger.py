"""A classifier of tags: its loss, its targets, and the scores of its test."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from sklearn.metrics import average_precision_score
from speechbrain import Stage

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.errors import SettingError
from lmac_td.training import tagger
from lmac_td.training.classifier import ClassifierBrain, tag_losses
from lmac_td.training.state import EpochState

NAMES = ["engine", "music", "dog"]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_binary_cross_entropy_of_the_tags(smoothing):
    logits, targets = torch.randn(4, 3), torch.randint(0, 2, (4, 3)).float()
    for i, found in enumerate(tag_losses(logits, targets, smoothing).tolist()):
        terms = []
        for logit, target in zip(logits[i].tolist(), targets[i].tolist(), strict=True):
            target = target + smoothing * (0.5 - target)
            p = 1 / (1 + math.exp(-logit))
            terms.append(-target * math.log(p) - (1 - target) * math.log(1 - p))
        assert found == pytest.approx(sum(terms) / 3, rel=1e-5)


def brain_of(classifier):
    brain = SimpleNamespace(
        raw_modules={"classifier": classifier},
        device="cpu",
        state=EpochState(),
        hparams=SimpleNamespace(label_smoothing=0.0),
    )
    brain.targets = lambda batch: ClassifierBrain.targets(brain, batch)
    return brain


def classifier_of(spectral, **settings):
    return Cnn14Classifier(spectral, 80, (2, 4, 4, 8, 8), 8, 3, NAMES, **settings)


BATCH = SimpleNamespace(
    class_index=torch.tensor([1, -1]),
    tags=SimpleNamespace(data=torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])),
)


def test_sigmoids_learn_all_labels_or_none(spectral):
    brain = brain_of(classifier_of(spectral, activation="sigmoid"))
    assert brain.targets(BATCH).tolist() == [[0, 1, 1], [0, 0, 0]]
    one_label_each = SimpleNamespace(class_index=torch.tensor([2, 0]))
    assert brain.targets(one_label_each).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_a_softmax_learns_the_first_label(spectral):
    batch = SimpleNamespace(class_index=torch.tensor([1, 0]), tags=BATCH.tags)
    brain = brain_of(classifier_of(spectral))
    assert brain.targets(batch).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_a_hit_is_a_tag_that_is_decided_correctly(spectral):
    brain = brain_of(classifier_of(spectral, activation="sigmoid", threshold=0.9))
    logits = torch.tensor([[3.0, 1.0, -1.0]])  # probabilities 0.95, 0.73, 0.27
    targets = torch.tensor([[1.0, 1.0, 0.0]])
    ClassifierBrain.compute_objectives(brain, (logits, targets), None, Stage.VALID)
    means = brain.state.means()
    assert means["accuracy"] == pytest.approx(2 / 3)
    p = torch.sigmoid(logits)
    expected = (p[0, 0] + p[0, 1] + 1 - p[0, 2]) / 3
    assert means["confidence"] == pytest.approx(expected.item())


def test_another_activation_is_refused(spectral):
    with pytest.raises(SettingError, match="activation"):
        classifier_of(spectral, activation="tanh")


@pytest.fixture
def tested(spectral, monkeypatch):
    """The result of a test on random scores, with one clip of the last tag."""
    labels = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0]])
    logits = torch.randn(5, 3)
    monkeypatch.setattr(tagger, "make_dataloader", lambda data, **_: [0, 1])
    brain = SimpleNamespace(
        modules=torch.nn.ModuleDict(),
        raw_modules={"classifier": classifier_of(spectral, activation="sigmoid")},
        compute_forward=lambda i, _: (
            logits[3 * i : 3 * i + 3],
            labels[3 * i : 3 * i + 3].float(),
        ),
    )
    data = SimpleNamespace(
        dataset=lambda *_: None, class_names=NAMES, folds={"test": [3]}
    )
    return tagger.test(brain, data, "test", "clean", {}), labels, logits.sigmoid()


def test_the_scores_are_those_of_scikit_learn(tested):
    result, labels, tags = tested
    assert (result["clips"], result["folds"]) == (5, [3])
    own = [average_precision_score(labels[:, c], tags[:, c]) for c in range(3)]
    for name, value, n in zip(NAMES, own, (3, 3, 1), strict=True):
        assert result["classes"][name]["AUPRC"] == pytest.approx(value)
        assert result["classes"][name]["clips"] == n
    # The tag of a single clip is left out of the mean.
    assert result["scores"]["macro AUPRC"][0] == pytest.approx((own[0] + own[1]) / 2)
    micro = average_precision_score(labels.ravel(), tags.ravel())
    assert result["scores"]["micro AUPRC"][0] == pytest.approx(micro)


def test_the_tables_name_what_is_left_out(tested, tmp_path):
    result, *_ = tested
    text = tagger.scores_table({"clean": result})
    assert "which macro AUPRC leaves out: dog." in text
    assert "| clean | 3 | 5 | " in text
    assert (
        f"| engine | clean | 3 | {result['classes']['engine']['AUPRC']:.3f} |" in text
    )
    card = tagger.quality({"valid": {"clean": result}, "test": {"clean": result}})
    assert "## Tags, on the test clips" in card
    tagger.save_test({"clean": result}, tmp_path)
    assert json.loads((tmp_path / "tags.json").read_text()) == {"clean": result}
