"""A trained classifier is exported with labels and a model card, and loads again."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import safetensors.torch
import torch

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.errors import CheckpointError, TrainingError
from lmac_td.features import SpectralFeatures
from lmac_td.training.export import export, model_card
from lmac_td.training.export_interpreter import add_measured_table

CLASSES = ("dog", "rain", "Türklingel")


def classifier(**settings):
    return Cnn14Classifier(
        SpectralFeatures(16000, 1024, 23.2199, 11.6099),
        **{"n_mels": 40, "channels": (2, 4, 4, 8, 8), "emb_dim": 8, "n_classes": 3}
        | settings,
    )


@pytest.fixture
def trained():
    made = classifier(labels=CLASSES)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("half_precision", [False, True])
def test_what_is_exported_loads_again(trained, tmp_path, half_precision):
    export(trained, tmp_path, half_precision)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "labels.json",
        "model.safetensors",
    ]
    again = classifier()
    again.load(tmp_path, tmp_path / "downloads")
    assert again.labels == CLASSES
    expected = trained.trained_modules().state_dict()
    for key, value in again.trained_modules().state_dict().items():
        is_half = half_precision and value.ndim > 1
        assert torch.equal(
            value, expected[key].half().float() if is_half else expected[key]
        )
        assert value.dtype == expected[key].dtype


def test_keys_and_types_of_the_file(trained, tmp_path):
    export(trained, tmp_path, half_precision=True)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert {key.split(".")[0] for key in state} == {"embedding_model", "classifier"}
    for key, value in state.items():
        if value.ndim > 1:
            assert value.dtype == torch.float16, key
        elif value.is_floating_point():
            assert value.dtype == torch.float32, key


def test_the_folder_of_two_checkpoints_loads_as_before(trained, tmp_path):
    for name in ("embedding_model", "classifier"):
        state = getattr(trained, name).state_dict()
        torch.save(state, tmp_path / f"{name}.ckpt")
    again = classifier()
    again.load(tmp_path, tmp_path / "downloads")
    for key, value in again.trained_modules().state_dict().items():
        assert torch.equal(value, trained.trained_modules().state_dict()[key])


def test_weights_of_other_widths_are_refused(trained, tmp_path):
    export(trained, tmp_path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*cnn14_channels"):
        classifier(emb_dim=16).load(tmp_path, tmp_path / "downloads")


def test_a_folder_without_weights_names_both_formats(tmp_path):
    with pytest.raises(CheckpointError, match=r"model\.safetensors, or embedding_mod"):
        classifier().load(tmp_path, tmp_path / "downloads")


def test_the_model_card_of_a_training(with_trained):
    folder = with_trained("cnn14") / "results" / "cnn14"
    card = (folder / "classifier" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# cnn14, seed ")
    assert "Trained on folds 1, 2, 3; the epoch (" in card
    assert "of 2) was chosen on fold 4; tested on fold 5." in card
    assert "python recipes/ESC50/train_classifier.py " in card
    assert "The licence of the recordings: none; the recordings are generated" in card
    measured = json.loads((folder / "accuracy.json").read_text(encoding="utf-8"))
    for condition in ("in_domain", "clean"):
        accuracy = measured[condition]["accuracy"]["5"]
        confidence = measured[condition]["confidence"]["5"]
        row = f"| 5 (test) | {condition} | 10 | {accuracy:.3f} | {confidence:.3f} |"
        assert row in card
        assert f"\n| 4 (chose the epoch) | {condition} | 10 | " in card
    for name in measured["class_names"]:
        assert name in card


def test_a_card_without_a_licence_says_so(trained):
    hparams = {
        "classifier": trained, "experiment_name": "mine", "seed": 1, "n_mels": 40,
        "cnn14_channels": [2, 4, 4, 8, 8], "emb_dim": 8, "signal_length_s": 5,
        "sample_rate": 16000, "training_condition": "hum", "number_of_epochs": 3,
        "conditions": {"hum": type("Hum", (), {"snr_db": 3})}, "data_licence": None,
        "train_fold_nums": [1, 2], "valid_fold_nums": [3], "test_fold_nums": [4],
        "snr_range_db": [-1, 2], "clean_probability": 0.25,
    }  # fmt: skip
    card = model_card(hparams, CLASSES, "", 2, "python train.py")
    assert "hum, at 2 to 5 dB; a share of 0.25 of the clips had no noise" in card
    assert "folds 1, 2; the epoch (2 of 3) was chosen on fold 3" in card
    assert "not stated (`data_licence` of the recipe)" in card


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_that_are_not_finite_are_not_exported(trained, tmp_path, value):
    """Also those that are too large for float16."""
    export(trained, tmp_path, half_precision=True)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    trained.classifier.weight.data[0, 0] = value
    with pytest.raises(TrainingError, match="of the classifier is not finite"):
        export(trained, tmp_path, half_precision=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_weights_that_are_not_finite_are_not_loaded(trained, tmp_path):
    export(trained, tmp_path)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    state["classifier.weight"].fill_(torch.nan)
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="is not finite"):
        classifier().load(tmp_path, tmp_path / "downloads")


def test_a_damaged_card_does_not_end_an_evaluation(tmp_path, caplog):
    (tmp_path / "README.md").write_bytes(b"# lmac \xff")
    add_measured_table(tmp_path, "evaluation", "table")
    assert "README.md cannot be read" in caplog.text
    assert (tmp_path / "README.md").read_bytes() == b"# lmac \xff"


def test_two_evaluations_that_end_at_once_write_both_tables(tmp_path):
    (tmp_path / "README.md").write_text("# lmac\n")
    with ThreadPoolExecutor(8) as pool:
        names = [f"evaluation {i}" for i in range(8)]
        list(pool.map(lambda name: add_measured_table(tmp_path, name, name), names))
    card = (tmp_path / "README.md").read_text()
    assert card.count("## Measured: ") == 8
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md", ".model_card.lock"
    }  # fmt: skip
