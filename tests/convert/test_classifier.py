"""CNN14 of the hub: both heads, and the order of the classes."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from speechbrain.inference.classifiers import AudioClassifier
from speechbrain.processing.features import STFT, Filterbank

from lmac_td import AudioInterpreter
from lmac_td.convert import classifier as module
from lmac_td.convert.checkpoints import read_labels
from lmac_td.convert.classifier import WITHOUT_LABELS, convert_classifier
from lmac_td.errors import CheckpointError, SettingError
from lmac_td.experiment.build import load_recipe
from lmac_td.inference.opening import open_classifier
from tests.conftest import ROOT
from tests.convert.published import DIM, LABELS, WIDTHS, save_classifier, save_labels
from tests.networks import noise


def speechbrain_classifier(folder, cosine, sample_rate):
    """SpeechBrain's own interface, with the modules that were saved."""
    torch.manual_seed(1)
    embedding, head = save_classifier(folder, cosine)
    embedding.return_reps = False
    stft = STFT(sample_rate, win_length=23.2199, hop_length=11.6099, n_fft=1024)
    mel = Filterbank(n_mels=80, n_fft=1024, sample_rate=sample_rate, log_mel=cosine)
    fbank = mel if cosine else lambda x: torch.log1p(mel(x))
    return SimpleNamespace(
        device="cpu",
        mods=SimpleNamespace(
            compute_stft=stft, compute_fbank=fbank, embedding_model=embedding,
            classifier=head,
        ),
        hparams=SimpleNamespace(
            spec_mag_power=0.5, use_melspectra=True,
            label_encoder=SimpleNamespace(decode_torch=lambda index: index),
        ),
    )  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(("cosine", "rate"), [(False, 16000), (True, 44100)])
def test_it_decides_as_speechbrain_does(tmp_path, cosine, rate):
    theirs = speechbrain_classifier(tmp_path / "hub", cosine, rate)
    converted = convert_classifier(tmp_path / "hub", tmp_path / "out")
    assert converted.notes == ()
    assert converted.settings.values["sample_rate"] == rate
    wavs = noise(3, rate)
    expected = AudioClassifier.classify_batch(theirs, wavs)[0].flatten(1)
    ours = open_classifier(tmp_path / "out").classifier.freeze()
    scale = 30 if cosine else 1
    logits = ours.decide(wavs).logits
    torch.testing.assert_close(logits, scale * expected, rtol=1e-3, atol=1e-3)
    assert ours.labels == LABELS
    assert ours.sample_rate == rate
    assert logits.std() > 0.01


def test_what_is_written(tmp_path):
    save_classifier(tmp_path / "hub", cosine=True)
    out = tmp_path / "out"
    convert_classifier(tmp_path / "hub", out, given={"logit_scale": "20"})
    assert {path.name for path in out.iterdir()} == {
        "README.md", "labels.json", "model.safetensors", "settings.json"
    }  # fmt: skip
    settings = json.loads((out / "settings.json").read_text("utf-8"))
    assert settings["cnn14_channels"] == list(WIDTHS)
    assert (settings["emb_dim"], settings["head_channels"]) == (DIM, 6)
    assert settings["logit_scale"] == 20
    card = (out / "README.md").read_text("utf-8")
    assert "in the order of the outputs: rain, dog, Türklingel." in card
    assert "| n_mels | 80 | the weights |" in card
    assert "| sample_rate | 44100 | not in the files: the published recipe's |" in card
    assert open_classifier(out).classifier.logit_scale == 20


def test_a_converted_classifier_explains_a_recording(tmp_path):
    save_classifier(tmp_path / "hub", cosine=True)
    convert_classifier(tmp_path / "hub", tmp_path / "out")
    shutil.rmtree(tmp_path / "hub")
    interpreter = AudioInterpreter.from_classifier(
        tmp_path / "out", device="cpu", window_s=1.0
    )
    result = interpreter.interpret_file(noise(1, 44100)[0], sample_rate=44100)
    assert result.target in LABELS
    assert torch.isfinite(result.interpretation).all()


def test_a_recipe_of_a_method_takes_the_cosine_classifier(tmp_path):
    save_classifier(tmp_path / "hub", cosine=True)
    convert_classifier(tmp_path / "hub", tmp_path / "out")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"extends: [{ROOT}/hparams/lmac.yaml, "
        f"{ROOT}/hparams/classifiers/cnn14_cosine.yaml]\n"
        f"cnn14_channels: {list(WIDTHS)}\nemb_dim: {DIM}\nhead_channels: 6\n"
        f"out_n_neurons: 3\nunet_channels: [4, 4, 4, 4]\n"
    )
    built = load_recipe(recipe)
    classifier = built["classifier"]
    classifier.load(tmp_path / "out", tmp_path / "downloads")
    built["interpreter"].check(classifier)
    decision = classifier.freeze().decide(noise(1, 44100))
    wavs = noise(1, 44100)
    made = built["interpreter"](wavs, built["features"](wavs), decision)
    assert made.mask.shape[0] == 1
    assert classifier.labels == LABELS


def test_the_label_encoder_gives_the_order(tmp_path):
    save_classifier(tmp_path / "hub", labels=None)
    converted = convert_classifier(tmp_path / "hub", tmp_path / "numbers")
    assert converted.notes == (WITHOUT_LABELS,)
    assert open_classifier(tmp_path / "numbers").classifier.labels == ("0", "1", "2")
    labels = tmp_path / "label_encoder.txt"
    save_labels(labels, ("dog", "rain", "cat"))
    convert_classifier(tmp_path / "hub", tmp_path / "named", labels)
    found = open_classifier(tmp_path / "named").classifier.labels
    assert found == ("dog", "rain", "cat")
    # Its lines may stand in any order: the index counts.
    first, second, third, *rest = labels.read_text("utf-8").splitlines()
    labels.write_text("\n".join([third, first, second, *rest]), "utf-8")
    assert read_labels(labels, 3) == ("dog", "rain", "cat")
    names = tmp_path / "names.json"
    names.write_text('["a", "b", "c"]', "utf-8")
    assert read_labels(names, 3) == ("a", "b", "c")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("'dog' => 0\n'rain' => 1\n", "has 2 labels, and the classifier has 3"),
        ("'a' => 1\n'b' => 2\n'c' => 3\n", "has 3 labels, and the classifier has 3"),
        ("dog\nrain\ncat\n", "cannot be read as labels: give --labels a label_enc"),
        ("__import__('os').getcwd() => 0\n", "cannot be read as labels"),
        ("'dog' => first\n", "cannot be read as labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, text, says):
    save_classifier(tmp_path / "hub", labels=None)
    labels = tmp_path / "hub" / "label_encoder.txt"
    labels.write_text(f"{text}================\n'starting_index' => 0\n", "utf-8")
    with pytest.raises(CheckpointError, match=says):
        convert_classifier(tmp_path / "hub", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_network_are_refused(tmp_path):
    embedding, head = save_classifier(tmp_path / "hub")
    state = {f"other.{k}": v for k, v in embedding.state_dict().items()}
    torch.save(state, tmp_path / "hub" / "embedding_model.ckpt")
    with pytest.raises(CheckpointError, match=r"embedding_model\.ckpt "):
        convert_classifier(tmp_path / "hub", tmp_path / "out")
    torch.save(head.state_dict(), tmp_path / "hub" / "embedding_model.ckpt")
    with pytest.raises(CheckpointError, match="does not hold the weights of a CNN14"):
        convert_classifier(tmp_path / "hub", tmp_path / "out")
    with pytest.raises(CheckpointError, match="does not exist"):
        convert_classifier(tmp_path / "nowhere" / "at" / "all", tmp_path / "out")


def test_a_setting_that_is_not_of_the_classifier_is_refused(tmp_path):
    save_classifier(tmp_path / "hub")
    with pytest.raises(SettingError, match="no setting named 'sampel_rate'"):
        convert_classifier(
            tmp_path / "hub", tmp_path / "out", given={"sampel_rate": "8000"}
        )


def test_a_hub_id_is_downloaded_with_its_label_encoder(tmp_path, monkeypatch):
    """As `speechbrain/cnn14-esc50`; tests have no network, so nothing is fetched."""
    save_classifier(tmp_path / "hub")
    asked = []

    def locate(name, source, folder, revision=None):
        asked.append((name, source, revision))
        return tmp_path / "hub" / name

    monkeypatch.setattr(module, "locate", locate)
    monkeypatch.setattr("lmac_td.classifiers.cnn14.locate", locate)
    convert_classifier("some/one", tmp_path / "out", given={"revision": "abc"})
    assert ("label_encoder.txt", "some/one", "abc") in asked
    assert open_classifier(tmp_path / "out").classifier.labels == LABELS
