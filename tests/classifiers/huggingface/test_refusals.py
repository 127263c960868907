"""What cannot be loaded is refused in one sentence."""

import fnmatch
import json
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest
import torch
import transformers
from hyperpyyaml import load_hyperpyyaml

from lmac_td.classifiers import huggingface_files
from lmac_td.classifiers.huggingface import HuggingFaceClassifier
from lmac_td.classifiers.huggingface_families import (
    FAMILIES,
    REFUSED,
)
from lmac_td.errors import CheckpointError, SettingError
from tests.classifiers.huggingface.models import (
    AST,
    clips,
    config_of,
    save,
)


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def sentence(source, error=CheckpointError, **settings):
    with pytest.raises(error) as caught:
        HuggingFaceClassifier(source, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("family", REFUSED)
def test_families_with_another_front_end_are_refused_before_weights(tmp_path, family):
    transformers.AutoConfig.for_model(family).save_pretrained(tmp_path)
    message = sentence(tmp_path, SettingError)
    assert f"is of the family {family}, which is not supported: it takes" in message
    assert "wav2vec2" in message


def test_a_model_that_classifies_no_audio_is_refused(tmp_path):
    transformers.BertConfig().save_pretrained(tmp_path)
    message = sentence(tmp_path, SettingError)
    assert "bert, which is not supported: it is not an audio classifier" in message


def test_every_audio_classifier_of_transformers_is_supported_or_refused():
    mapping = transformers.models.auto.modeling_auto
    names = mapping.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES
    assert {*names} == {*FAMILIES, *REFUSED}


def test_another_feature_extractor_is_refused(copied):
    transformers.WhisperFeatureExtractor().save_pretrained(copied)
    message = sentence(copied, SettingError)
    assert "WhisperFeatureExtractor, which is not supported" in message
    assert "Wav2Vec2FeatureExtractor" in message


@pytest.mark.parametrize("source", [None, ""])
def test_no_source(source):
    assert "pretrained_classifier is not set" in sentence(source, SettingError)


def test_a_folder_without_a_model(tmp_path):
    assert "has no config.json" in sentence(tmp_path)


def test_a_folder_without_a_feature_extractor(copied):
    (copied / "preprocessor_config.json").unlink()
    assert "has no preprocessor_config.json" in sentence(copied)


def test_a_folder_without_weights(copied):
    (copied / "model.safetensors").unlink()
    assert "has no weights (model.safetensors or pytorch_model.bin)" in sentence(copied)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5])
def test_damaged_weights(copied, share):
    path = copied / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    message = sentence(copied)
    assert "the file of its weights" in message
    assert "cannot be read (SafetensorError" in message


@pytest.mark.parametrize("content", [b"", b"garbage", "list", "code"])
def test_damaged_weights_of_torch(copied, content):
    (copied / "model.safetensors").unlink()
    path = copied / "pytorch_model.bin"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save([1] if content == "list" else os.system, path)
    message = sentence(copied)
    assert "the file of its weights" in message
    assert "save or download the model again" in message


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model_type": "unheard-of"}'])
def test_a_damaged_configuration(copied, content):
    (copied / "config.json").write_text(content)
    message = sentence(copied)
    assert "config.json of" in message
    assert "cannot be read" in message


def test_a_configuration_with_a_wrong_value(copied):
    rewrite(copied / "config.json", hidden_size="wide")
    assert "config.json of" in sentence(copied)


def test_a_damaged_feature_extractor(copied):
    (copied / "preprocessor_config.json").write_text("{")
    assert "preprocessor_config.json of" in sentence(copied)


def test_code_that_comes_with_a_model_is_not_run(copied):
    (copied / "own.py").write_text("raise SystemExit('this code must not run')")
    rewrite(
        copied / "config.json",
        model_type="own",
        auto_map={"AutoConfig": "own.Config"},
    )
    assert "cannot be read" in sentence(copied)


def test_a_model_without_a_trained_head(copied):
    config = transformers.AutoConfig.from_pretrained(copied)
    transformers.AutoModel.from_config(config).save_pretrained(copied)
    message = sentence(copied)
    assert "have no classifier.bias" in message
    assert "Wav2Vec2ForSequenceClassification" in message


def test_weights_of_other_widths(copied):
    rewrite(copied / "config.json", hidden_size=48)
    assert "have another size of" in sentence(copied)


def test_weights_of_more_layers(copied):
    rewrite(copied / "config.json", num_hidden_layers=2)
    assert "have more than config.json describes: wav2vec2.encoder.layers.2" in (
        sentence(copied)
    )


def test_adapters_of_wav2vec2_are_refused_by_transformers(copied):
    rewrite(copied / "config.json", add_adapter=True)
    assert "does not support the use of Wav2Vec2 adapters" in sentence(copied)


def test_model_and_feature_extractor_of_different_models(folders, tmp_path):
    folder = shutil.copytree(folders(AST), tmp_path / "ast")
    transformers.ASTFeatureExtractor(num_mel_bins=64).save_pretrained(folder)
    message = sentence(folder)
    assert "max_length is 128 in its model and 1024 in its feature" in message


@pytest.mark.parametrize(
    "changes",
    [
        {"problem_type": "regression"},
        {"id2label": {"0": "loudness"}, "label2id": {"loudness": 0}},
    ],
)
def test_a_regression_is_refused(copied, changes):
    rewrite(copied / "config.json", **changes)
    assert "does not choose a class" in sentence(copied, SettingError)


def test_classes_that_are_not_numbered_from_zero(copied):
    rewrite(copied / "config.json", id2label={"1": "a", "2": "b"})
    assert "numbers its classes [1, 2]: number them from 0" in sentence(copied)


def test_one_tag_is_a_decision(tmp_path):
    one = {"num_labels": 1, "id2label": {0: "speech"}, "label2id": {"speech": 0}}
    save(tmp_path, config_of("wav2vec2", **one))
    classifier = HuggingFaceClassifier(tmp_path, activation="sigmoid")
    assert classifier.labels == ("speech",)
    assert classifier.decide(clips()).probabilities.shape == (2, 1)


def test_settings_out_of_range(folders):
    message = sentence(folders("wav2vec2"), SettingError, activation="relu")
    assert "activation is 'relu'" in message
    message = sentence(folders("wav2vec2"), SettingError, threshold=1.5)
    assert "tag_threshold is 1.5" in message


def test_transformers_is_not_installed(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    message = sentence(folders("wav2vec2"), SettingError)
    assert 'pip install "lmac-td[huggingface]"' in message


def test_it_takes_waveforms_and_no_spectrograms(folders):
    classifier = HuggingFaceClassifier(folders("wav2vec2"))
    assert not classifier.takes_spectrograms
    with pytest.raises(SettingError, match="takes waveforms, not spectrograms"):
        classifier.inputs_of_spectrogram(torch.zeros(1, 10, 513))


def test_the_recipes_overlay_builds_the_classifier(folders, tmp_path):
    overlay = Path(__file__).parents[3] / "hparams/classifiers/huggingface.yaml"
    recipe = f"cache_folder: {tmp_path}\n{overlay.read_text()}"
    settings = {
        "pretrained_classifier": str(folders("wav2vec2")),
        "activation": "sigmoid",
        "tag_threshold": 0.2,
        "representations": [2, 0],
    }
    classifier = load_hyperpyyaml(recipe, settings)["classifier"]
    assert (classifier.activation, classifier.threshold) == ("sigmoid", 0.2)
    assert [g.name for g in classifier.geometry] == ["layers.2", "layers.0"]
    del settings["representations"]
    assert len(load_hyperpyyaml(recipe, settings)["classifier"].geometry) == 3


def test_a_hub_that_cannot_be_reached(tmp_path, monkeypatch):
    def refuse(*_):
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", refuse)
    constants = huggingface_files.huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert sentence("some/model", download_folder=tmp_path) == (
        "pretrained_classifier: some/model is not a folder and could not be "
        "downloaded from the Hugging Face hub (ConnectError); check the name and the "
        "network, or give a folder that save_pretrained wrote"
    )


@pytest.mark.parametrize("source", ["no/such/folder", "https://huggingface.co/a/b"])
def test_what_is_neither_a_folder_nor_an_id(source):
    message = sentence(source)
    assert f"{source} is not a folder and could not be downloaded" in message


@pytest.fixture
def hub(folders, tmp_path, monkeypatch):
    """A hub whose models are folders; returns the names of the files it has sent."""
    sent = []

    def snapshot(repo_id, revision, cache_dir, allow_patterns, local_files_only=False):
        folder = cache_dir / repo_id.replace("/", "--") / str(revision)
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folders(repo_id.split("/")[1]).iterdir()):
            wanted = any(fnmatch.fnmatch(path.name, p) for p in allow_patterns)
            if wanted and not local_files_only and not (folder / path.name).exists():
                shutil.copy(path, folder)
                sent.append(path.name)
        return str(folder)

    monkeypatch.setattr(
        huggingface_files.huggingface_hub, "snapshot_download", snapshot
    )
    return sent


def test_a_model_of_the_hub_is_kept_in_the_download_folder(hub, folders, tmp_path):
    classifier = HuggingFaceClassifier(
        "some/wav2vec2", download_folder=tmp_path, revision="v1"
    )
    assert hub == ["config.json", "preprocessor_config.json", "model.safetensors"]
    assert (tmp_path / "some--wav2vec2" / "v1" / "model.safetensors").is_file()
    expected = HuggingFaceClassifier(folders("wav2vec2")).decide(clips())
    assert torch.equal(classifier.decide(clips()).logits, expected.logits)


def test_weights_are_not_fetched_for_what_is_refused(hub, tmp_path):
    sentence(
        "some/wav2vec2", SettingError, download_folder=tmp_path, representations=[7]
    )
    assert hub == ["config.json", "preprocessor_config.json"]
