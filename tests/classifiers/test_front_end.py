"""A classifier is used with the spectrograms that it was trained with."""

import json

import pytest
import torch

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.errors import CheckpointError
from lmac_td.features import SpectralFeatures
from lmac_td.training.export import export

TRAINED = {
    "sample_rate": 16000, "n_fft": 1024, "win_length": 23.2199, "hop_length": 11.6099,
    "n_mels": 80, "activation": "softmax",
}  # fmt: skip


def build(n_mels=80, activation="softmax", **changed):
    spectra = {k: v for k, v in TRAINED.items() if k not in ("n_mels", "activation")}
    features = SpectralFeatures(**{**spectra, **changed})
    widths = {"channels": (2, 4, 4, 8, 8), "emb_dim": 8, "n_classes": 3}
    return Cnn14Classifier(features, n_mels, activation=activation, **widths)


@pytest.fixture
def folder(tmp_path):
    export(build(), tmp_path)
    (tmp_path / "settings.json").write_text(json.dumps(TRAINED))
    return tmp_path


def test_the_same_front_end_loads(folder):
    build().load(folder, folder)
    # The same number of samples, written with fewer digits.
    build(win_length=23.22, hop_length=11.61).load(folder, folder)


@pytest.mark.parametrize(
    "changed",
    [
        {"sample_rate": 22050},
        {"n_fft": 2048},
        {"win_length": 32},
        {"hop_length": 8},
        {"activation": "sigmoid"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_front_end_is_refused(folder, changed):
    name = next(iter(changed))
    with pytest.raises(
        CheckpointError, match=f"was trained with {name} .*give --{name}"
    ):
        build(**changed).load(folder, folder)


def test_other_mel_bands_do_not_fit(folder):
    with pytest.raises(CheckpointError, match="n_mels"):
        build(n_mels=64).load(folder, folder)


@pytest.mark.parametrize("content", ["{", "[1]", "3", ""])
def test_damaged_settings_are_a_sentence(folder, content):
    (folder / "settings.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"settings\.json cannot be read"):
        build().load(folder, folder)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_not_loaded(tmp_path, value):
    broken = build()
    broken.classifier.weight.data[0, 0] = value
    for name, module in broken.trained_modules().items():
        torch.save(module.state_dict(), tmp_path / f"{name}.ckpt")
    with pytest.raises(CheckpointError, match="not finite"):
        build().load(tmp_path, tmp_path)
