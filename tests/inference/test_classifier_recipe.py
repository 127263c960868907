"""A classifier that a yaml file builds is opened with what suits it."""

import sys

import pytest
import torch

from lmac_td import AudioInterpreter
from lmac_td.classifiers.modules import ModuleClassifier
from lmac_td.errors import CheckpointError, SettingError
from lmac_td.inference.classifier_recipe import open_recipe
from lmac_td.inference.opening import open_classifier
from tests.networks import noise
from tests.pages import ROOT, importable

CODE = """
from torch import nn

from lmac_td.classifiers.modules import ModuleClassifier


def network():
    return nn.Sequential(
        nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 2, 64, stride=32),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(),
    )


def classifier(labels):
    return ModuleClassifier(network(), 16000, labels)
"""
CLASSIFIER = "classifier: !apply:of_the_recipe.classifier {labels: [dog, rain]}\n"
FEATURES = (
    "features: !new:lmac_td.features.SpectralFeatures\n"
    "    {sample_rate: 16000, n_fft: 512, win_length: 32, hop_length: 16}\n"
)
OPTIONS = "method_options:\n    evidence: {draws: 3, gains: [1.0]}\n"


@pytest.fixture
def write(tmp_path):
    """Write a recipe beside the Python file that it names; return its path."""
    (tmp_path / "of_the_recipe.py").write_text(CODE)

    def written(text, name="mine.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    with importable(tmp_path):
        sys.path.remove(str(tmp_path))  # the recipe's folder is found without it
        yield written
        sys.path.insert(0, str(tmp_path))


def test_a_key_classifier_is_enough(write):
    before = list(sys.path)
    opened = open_classifier(write(CLASSIFIER))
    assert isinstance(opened.classifier, ModuleClassifier)
    assert opened.classifier.labels == ("dog", "rain")
    assert opened.features is None
    assert (opened.framing, opened.method_options) == ({}, {})
    assert sys.path == before


def test_the_stft_and_the_options_of_the_recipe_are_used(write):
    path = write(CLASSIFIER + FEATURES + OPTIONS)
    explainer = AudioInterpreter.from_classifier(path, device="cpu").explainer
    assert explainer.features.n_fft == 512
    assert explainer.interpreter.source.draws == 3
    assert explainer.interpreter.source.gains == (1.0,)
    given = AudioInterpreter.from_classifier(path, draws=1, device="cpu").explainer
    assert given.interpreter.source.draws == 1
    assert given.interpreter.source.gains == (1.0,)
    other = AudioInterpreter.from_classifier(path, "rise", device="cpu").explainer
    assert other.method == "rise"


def test_a_recipe_explains_a_sound(write):
    interpreter = AudioInterpreter.from_classifier(write(CLASSIFIER), device="cpu")
    result = interpreter.interpret_file(noise(1)[0], "rain", 16000)
    assert result.target == "rain"


def test_a_recipe_of_an_experiment_brings_weights_and_the_length_of_its_clips(
    write, tmp_path
):
    with importable(tmp_path):
        from of_the_recipe import network
    trained = network()
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    path = write(
        f"extends: [{ROOT}/hparams/evidence.yaml, "
        f"{ROOT}/hparams/classifiers/modules.yaml]\n"
        "network: !apply:of_the_recipe.network\n"
        "labels: [dog, rain]\n"
        f"pretrained_classifier: {tmp_path}/weights.pt\n"
        "signal_length_s: 1.5\n"
    )
    opened = open_recipe(path)
    for name, value in opened.classifier.network.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name])
    assert opened.framing == {"window_s": 1.5, "pad": True, "normalise": True}
    assert opened.features.sample_rate == 16000
    (tmp_path / "weights.pt").unlink()
    with pytest.raises(CheckpointError, match=r"weights\.pt is not a file"):
        open_recipe(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FEATURES, "has no key classifier: add one"),
        ("classifier: !new:torch.nn.Linear [2, 2]", "builds a Linear as classifier"),
        ("classifier: dog", "builds a str as classifier"),
        ("classifier: !apply:no_such_file.network", "cannot be built"),
        (CLASSIFIER + "method_options: 3", "below the name of a method"),
        (CLASSIFIER + "method_options: {draws: 3}", "below the name of a method"),
        ("- a\n- b\n", "holds no settings"),
    ],
)
def test_other_files_are_refused_with_their_name(write, text, words):
    with pytest.raises(SettingError, match=words) as raised:
        open_recipe(write(text))
    assert "mine.yaml" in str(raised.value)


def test_a_missing_file_and_unknown_options_are_refused(write, tmp_path):
    with pytest.raises(SettingError, match="does not exist"):
        open_classifier("owner/name.yaml")
    path = write(CLASSIFIER)
    with pytest.raises(SettingError, match="is no model of transformers"):
        open_classifier(path, activation="sigmoid")
    path = write(CLASSIFIER + "method_options: {evidence: {drws: 3}}")
    with pytest.raises(SettingError, match="no option 'drws': give draws"):
        AudioInterpreter.from_classifier(path)
