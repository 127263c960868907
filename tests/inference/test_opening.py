"""A classifier is opened by what its folder, or its hub id, holds."""

import huggingface_hub
import pytest

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.classifiers.huggingface import HuggingFaceClassifier
from lmac_td.errors import CheckpointError, SettingError
from lmac_td.inference.opening import kind_of, open_classifier
from tests.classifiers.huggingface.models import AST, config_of
from tests.classifiers.huggingface.models import save as save_huggingface


def test_a_classifier_that_this_package_trained(with_trained):
    folder = with_trained("cnn14") / "results" / "cnn14" / "classifier"
    opened = open_classifier(folder)
    assert isinstance(opened.classifier, Cnn14Classifier)
    assert "dog" in opened.classifier.labels
    assert opened.framing == {"window_s": 1.0, "pad": True, "normalise": True}


def test_a_model_of_transformers_and_its_tags(tmp_path):
    folder = save_huggingface(tmp_path, config_of(AST))
    opened = open_classifier(folder, activation="sigmoid")
    classifier = opened.classifier
    assert isinstance(classifier, HuggingFaceClassifier)
    assert (classifier.activation, classifier.threshold) == ("sigmoid", 0.5)
    assert opened.framing == {}


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["config.json", "model.safetensors"], "config.json"),
        (["hyperparams.yaml", "label_encoder.txt"], "hyperparams.yaml"),
        (["model.safetensors", "labels.json"], "model.safetensors"),
    ],
)
def test_the_files_of_a_folder_tell_its_kind(tmp_path, files, kind):
    for name in files:
        (tmp_path / name).touch()
    assert kind_of(tmp_path) == kind


def test_a_classifier_of_speechbrain_from_the_hub_must_be_trusted(monkeypatch):
    files = ["hyperparams.yaml", "embedding_model.ckpt"]
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda name: files)
    with pytest.raises(SettingError, match="can run any code: give --trust"):
        open_classifier("speechbrain/some-model")


def test_a_hub_id_without_a_classifier_and_no_network_are_refused(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda name: ["a.txt"])
    with pytest.raises(CheckpointError, match="has neither"):
        open_classifier("some/dataset")

    def offline(name):
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "list_repo_files", offline)
    with pytest.raises(CheckpointError, match="check the name and the network"):
        open_classifier("some/model-that-is-not-kept")


def test_weights_of_another_network_are_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    (tmp_path / "labels.json").write_text("[]")
    with pytest.raises(CheckpointError, match="weights of a CNN14"):
        open_classifier(tmp_path)
