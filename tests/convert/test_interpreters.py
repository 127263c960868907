"""LMAC-TD and L-MAC of the published shapes explain as their own code does."""

import json

import pytest
import safetensors.torch
import torch
from speechbrain.processing.features import STFT, Filterbank, spectral_magnitude

from lmac_td import AudioInterpreter
from lmac_td.convert.interpreters import LMAC, LMAC_TD, convert_interpreter
from lmac_td.errors import CheckpointError, SettingError
from lmac_td.inference.trained import open_trained
from tests.convert.published import (
    LABELS,
    mask_network,
    save,
    save_classifier,
    save_lmac,
    save_lmac_td,
)
from tests.networks import noise

CPU = {"device": "cpu"}


def spectra(wavs):
    """|STFT| and log1p-mel, by SpeechBrain's modules."""
    stft = STFT(sample_rate=16000, n_fft=1024, win_length=23.2199, hop_length=11.6099)
    mel = Filterbank(n_mels=80, n_fft=1024, sample_rate=16000, log_mel=False)
    magnitude = spectral_magnitude(stft(wavs), power=0.5)
    return magnitude, torch.log1p(mel(magnitude))


def explained(folder, wavs):
    """The explanation of a converted folder, and the decision."""
    trained = open_trained(folder)
    classifier = trained.classifier.freeze()
    decision = classifier.decide(wavs)
    with torch.no_grad():
        explanation = trained.interpreter.eval()(wavs, trained.features(wavs), decision)
    return explanation, decision


@pytest.fixture
def lmac_td(tmp_path):
    """A converted LMAC-TD, its checkpoint, and the modules of both networks."""
    checkpoint, modules = save_lmac_td(tmp_path / "released")
    classifier = save_classifier(tmp_path / "released" / "save")
    converted = convert_interpreter(LMAC_TD, checkpoint, tmp_path / "out")
    return converted, checkpoint, modules, classifier


@torch.no_grad()
def test_lmac_td_gives_the_sound_of_the_released_code(lmac_td):
    converted, _, modules, (embedding, head) = lmac_td
    wavs = noise(1, 80000)
    explanation, decision = explained(converted.folder, wavs)

    _, log_mel = spectra(wavs)
    embedded, reps = embedding(log_mel)
    logits = head(embedded).squeeze(1)
    torch.testing.assert_close(decision.logits, logits, rtol=1e-4, atol=1e-4)
    encoded = modules["encoder"](wavs)
    decoded = modules["convt_decoder"](reps).squeeze(1).permute(0, 2, 1)
    decoded = decoded[:, : encoded.shape[1], : encoded.shape[2]]
    mask = modules["masknet"](0.5 * encoded + 0.5 * decoded)[0]
    kept = modules["decoder"](mask * encoded)
    removed = modules["decoder"]((1 - mask) * encoded)
    torch.testing.assert_close(explanation.mask, mask, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(explanation.interpretation, kept, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(explanation.residual, removed, rtol=1e-3, atol=1e-4)
    assert mask.std() > 0.01


def test_what_hyperparams_tell_is_taken(lmac_td):
    converted = lmac_td[0]
    values, origins = converted.settings.values, converted.settings.origins
    assert (values["alpha"], values["chunk_size"]) == (0.5, 100)
    assert (values["nhead"], values["inter_nhead"]) == (2, 4)
    assert converted.settings.assumed == {}
    assert origins["alpha"] == "hyperparams.yaml"
    assert origins["intra_layers"] == "the weights"
    assert values["intra_layers"], values["inter_layers"] == (2, 1)
    card = (converted.folder / "README.md").read_text("utf-8")
    assert "| nhead | 2 | hyperparams.yaml |" in card
    assert "| masknet | masknet.ckpt | " in card


def test_the_folder_is_opened_as_that_of_a_training(lmac_td, tmp_path):
    folder = lmac_td[0].folder
    assert {p.name for p in folder.iterdir()} == {
        "README.md", "interpreter", "labels.json", "pretrained_classifier",
        "recipe.yaml",
    }  # fmt: skip
    assert json.loads((folder / "labels.json").read_text("utf-8")) == list(LABELS)
    moved = folder.rename(tmp_path / "moved")
    interpreter = AudioInterpreter.from_hparams(moved, run_opts=CPU)
    assert interpreter.labels == LABELS
    result = interpreter.interpret_file(noise(1, 70000)[0], sample_rate=16000)
    assert result.target in LABELS
    assert result.interpretation.shape == (70000,)


def test_settings_that_no_file_tells_are_named(tmp_path):
    checkpoint, _ = save_lmac_td(tmp_path / "released")
    (tmp_path / "released" / "hyperparams.yaml").unlink()
    save_classifier(tmp_path / "classifier")
    arguments = LMAC_TD, checkpoint, tmp_path / "out", tmp_path / "classifier"
    converted = convert_interpreter(*arguments, given={"nhead": "2", "alpha": "1"})
    assert converted.settings.assumed == {
        "sample_rate": 16000, "n_fft": 1024, "win_length": 23.2199,
        "hop_length": 11.6099, "signal_length_s": 5, "chunk_size": 250,
        "inter_nhead": None,
    }  # fmt: skip
    assert converted.settings.origins["alpha"] == "the command line"


@torch.no_grad()
@pytest.mark.parametrize("mel", [False, True])
def test_lmac_gives_the_map_of_speechbrain(tmp_path, mel):
    checkpoint, decoder = save_lmac(tmp_path / "released", mel)
    embedding, _ = save_classifier(tmp_path / "classifier")
    source = checkpoint / "psi_model.ckpt"
    out = tmp_path / "out"
    convert_interpreter(LMAC, source, out, tmp_path / "classifier")
    wavs = noise(2, 80000)
    explanation, _ = explained(out, wavs)

    magnitude, log_mel = spectra(wavs)
    _, reps = embedding(log_mel)
    mask = decoder(reps).squeeze(1).sigmoid()
    n_frames = min(mask.shape[1], magnitude.shape[1])
    torch.testing.assert_close(
        explanation.mask[:, :n_frames], mask[:, :n_frames], rtol=1e-3, atol=1e-4
    )
    if not mel:
        kept = torch.log1p(magnitude[:, :n_frames]) * mask[:, :n_frames]
        fbank = Filterbank(n_mels=80, n_fft=1024, sample_rate=16000, log_mel=False)
        expected = torch.log1p(fbank(torch.expm1(kept)))
        torch.testing.assert_close(
            explanation.kept_input[:, :n_frames], expected, rtol=1e-3, atol=1e-3
        )
    recipe = (out / "recipe.yaml").read_text("utf-8")
    assert f"\ndomain: {'mel' if mel else 'stft'}" in recipe
    assert "\nmask_domain: log1p" in recipe


def test_the_weights_are_those_of_the_checkpoint(tmp_path):
    checkpoint, decoder = save_lmac(tmp_path / "released")
    save_classifier(tmp_path / "released" / "save")
    out = tmp_path / "out"
    converted = convert_interpreter(LMAC, checkpoint, out)
    state = safetensors.torch.load_file(out / "interpreter" / "model.safetensors")
    expected = decoder.state_dict()
    assert {f"decoder.{key}" for key in expected} == set(state)
    assert all(torch.equal(state[f"decoder.{k}"], v) for k, v in expected.items())
    assert converted.notes == ()


def changed(path, change):
    state = torch.load(path, weights_only=True)
    torch.save(change(state), path)


def test_weights_are_found_below_what_a_training_puts_around_them(tmp_path):
    checkpoint, decoder = save_lmac(tmp_path / "released")
    save_classifier(tmp_path / "released" / "save")
    path = checkpoint / "psi_model.ckpt"
    changed(path, lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}})
    convert_interpreter(LMAC, checkpoint, tmp_path / "out")
    state = safetensors.torch.load_file(
        tmp_path / "out" / "interpreter" / "model.safetensors"
    )
    expected = decoder.state_dict()
    assert all(torch.equal(state[f"decoder.{k}"], v) for k, v in expected.items())


REFUSED = {
    "missing": (
        lambda s: {k: v for k, v in s.items() if k != "convt3.bias"},
        r"it has no convt3\.bias; give the checkpoint of the method",
    ),
    "extra": (
        lambda s: s | {"vq.weight": torch.zeros(2)},
        r"it has vq\.weight, which the settings do not ask for",
    ),
    "wide": (
        lambda s: s | {"convt1.bias": torch.zeros(20)},
        r"its convt1\.bias is \(20,\), the settings ask for \(16,\)",
    ),
    "list": (lambda s: list(s.values()), "holds a list, not a state dict"),
    "text": (lambda s: s | {"convt1.bias": "none"}, "is a str, not a tensor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_weights_that_do_not_fit_are_refused_in_a_sentence(tmp_path, name):
    change, says = REFUSED[name]
    checkpoint, _ = save_lmac(tmp_path / "released")
    save_classifier(tmp_path / "classifier")
    changed(checkpoint / "psi_model.ckpt", change)
    with pytest.raises(CheckpointError, match=says) as error:
        convert_interpreter(LMAC, checkpoint, tmp_path / "o", tmp_path / "classifier")
    assert "psi_model.ckpt" in str(error.value)
    assert "\n" not in str(error.value)
    assert {p.name for p in tmp_path.iterdir()} == {"released", "classifier"}


class Evil:
    """What a pickle that is not weights can do."""

    def __reduce__(self):
        return (open, ("evil", "w"))


def test_a_pickle_that_runs_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint, _ = save_lmac(tmp_path / "released")
    save_classifier(tmp_path / "classifier")
    for content in (Evil(), {"convt1.weight": Evil()}):
        torch.save(content, checkpoint / "psi_model.ckpt")
        with pytest.raises(CheckpointError, match=r"is corrupt or is not a checkpoint"):
            convert_interpreter(LMAC, checkpoint, "out", tmp_path / "classifier")
    (checkpoint / "psi_model.ckpt").write_bytes(b"no weights at all")
    with pytest.raises(CheckpointError, match="download or copy it again"):
        convert_interpreter(LMAC, checkpoint, "out", tmp_path / "classifier")
    assert not (tmp_path / "evil").exists()


def test_masknets_that_do_not_fit_are_refused(lmac_td, tmp_path):
    _, checkpoint, _, _ = lmac_td
    out = tmp_path / "again"
    save(torch.nn.Linear(2, 2), checkpoint / "masknet.ckpt")
    with pytest.raises(CheckpointError, match=r"masknet\.ckpt .* no conv1d\.weight"):
        convert_interpreter(LMAC_TD, checkpoint, out)
    save(mask_network(), checkpoint / "masknet.ckpt")
    changed(
        checkpoint / "convt_decoder.ckpt", lambda s: {"convt1.bias": s["convt1.bias"]}
    )
    with pytest.raises(CheckpointError, match=r"convt_decoder\.ckpt .* has no convt1"):
        convert_interpreter(LMAC_TD, checkpoint, out)
    (checkpoint / "encoder.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"has no encoder\.ckpt: give the folder"):
        convert_interpreter(LMAC_TD, checkpoint, out)
    with pytest.raises(CheckpointError, match="does not exist: give the folder"):
        convert_interpreter(LMAC_TD, tmp_path / "nowhere", out)


def test_one_of_several_files_stands_for_its_folder(lmac_td, tmp_path):
    converted, checkpoint, _, _ = lmac_td
    again = convert_interpreter(
        LMAC_TD, checkpoint / "masknet.ckpt", tmp_path / "again"
    )
    assert again.settings.values == converted.settings.values


def test_a_classifier_must_be_named_and_fit(tmp_path):
    checkpoint, _ = save_lmac(tmp_path / "released")
    with pytest.raises(SettingError, match=r"give --classifier the folder or the hub"):
        convert_interpreter(LMAC, checkpoint, tmp_path / "out")
    save_classifier(tmp_path / "cosine", cosine=True)
    with pytest.raises(CheckpointError, match="cosine head, which L-MAC was not"):
        convert_interpreter(LMAC, checkpoint, tmp_path / "out", tmp_path / "cosine")


def test_a_folder_that_exists_is_kept(tmp_path):
    checkpoint, _ = save_lmac(tmp_path / "released")
    save_classifier(tmp_path / "classifier")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(SettingError, match="exists: give another --out"):
        convert_interpreter(LMAC, checkpoint, tmp_path / "out", tmp_path / "classifier")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
