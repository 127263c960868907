"""The repository's reference classifiers load and decide; no recording is needed."""

import json
import re

import numpy as np
import pytest
import safetensors.torch
import torch

from lmac_td.experiment.build import typed_recipe
from lmac_td.experiment.open import open_experiment
from lmac_td.experiment.shipped import HPARAMS
from lmac_td.experiment.weights import load_classifier
from tests.conftest import ROOT

FOLDERS = sorted((ROOT / "recipes/ESC50/classifiers").iterdir())
NAMES = [folder.name for folder in FOLDERS]
METHODS = ("lmac_td", "lmac", "lmac_mel", "lmac_finetune", "l2i", "baselines")
MOST_BYTES = 2_000_000


def load(folder, tmp_path, method="lmac_td"):
    argv = [str(HPARAMS / f"{method}.yaml"), "--size", "small", "--data_folder", "data"]
    argv += ["--cache_folder", str(tmp_path), "--pretrained_classifier", str(folder)]
    if method == "l2i":
        np.save(tmp_path / "dictionary.npy", np.eye(513, 4))
        argv += ["--nmf_dictionary", str(tmp_path)]
    needs = ("interpreter", "interpreters")
    return load_classifier(open_experiment(argv, "", needs).hparams, "cpu")


def test_there_are_three():
    assert [f"cnn14_small_seed{seed}" for seed in (1, 2, 3)] == NAMES


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_a_folder_holds_small_weights_labels_and_a_card(folder):
    files = {path.name for path in folder.iterdir()}
    assert files == {"model.safetensors", "labels.json", "README.md", "settings.json"}
    assert (folder / "model.safetensors").stat().st_size <= MOST_BYTES
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    assert len(set(labels)) == 10
    state = safetensors.torch.load_file(folder / "model.safetensors")
    assert all(value.isfinite().all() for value in state.values())


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_the_settings_are_those_of_the_command_in_the_card(folder):
    recipe = typed_recipe(HPARAMS / "cnn14.yaml", {"size": "small", "data": "esc10"})
    kept = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    assert kept == {name: recipe[name] for name in kept}
    assert {"sample_rate", "n_fft", "win_length", "hop_length", "activation"} < set(
        kept
    )


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_the_card_names_data_licence_accuracy_and_command(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "Trained on folds 1, 2; the epoch (" in card
    assert "of 110) was chosen on fold 3; tested on fold 4." in card
    for words in ("CC BY 3.0", "Karol J. Piczak", "ESC-10", "WHAM!'s layout"):
        assert words in card
    seed = folder.name[-1]
    assert f"hparams/cnn14.yaml --size small --seed {seed} --data_folder $ESC10" in card
    assert not re.search(r"(^|\s)/\w+/", card)  # no path of a machine
    for fold in ("3 (chose the epoch)", "4 (test)"):
        for condition in ("clean", "in_domain"):
            assert re.search(
                rf"\| {re.escape(fold)} \| {condition} \| 80 \| 0\.\d+ \| 0\.\d+ \|",
                card,
            )


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_it_decides(folder, tmp_path):
    classifier = load(folder, tmp_path)
    noise = torch.randn(4, 80000, generator=torch.Generator().manual_seed(0))
    decision = classifier.decide(noise / noise.abs().amax(dim=1, keepdim=True))
    assert decision.logits.shape == (4, 10)
    assert decision.logits.isfinite().all()
    assert decision.logits.std(dim=1).min() > 0.1  # trained, not constant
    assert "rooster" in classifier.labels


def test_they_are_three_different_classifiers(tmp_path):
    wavs = torch.randn(2, 80000, generator=torch.Generator().manual_seed(0))
    first, second, third = (
        load(folder, tmp_path).decide(wavs).logits for folder in FOLDERS
    )
    for a, b in ((first, second), (first, third), (second, third)):
        assert (a - b).abs().max() > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_one_at_size_small(method, tmp_path):
    assert load(FOLDERS[0], tmp_path, method).n_classes == 10
