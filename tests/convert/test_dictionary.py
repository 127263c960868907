"""SpeechBrain's NMF: W, with unit norms, at its own sample rate."""

import json

import pytest
import torch

from lmac_td.convert.dictionary import convert_dictionary
from lmac_td.errors import CheckpointError, SettingError
from lmac_td.nn.dictionary import load_dictionary
from tests.convert.published import save_nmf

STFT = {"n_fft": 1024, "win_length": 23.2199, "hop_length": 11.6099}


@pytest.mark.parametrize("name", ["nmf_decoder.ckpt", "nmf_dictionary.pt"])
def test_the_patterns_are_those_of_speechbrain(tmp_path, name):
    decoder = save_nmf(tmp_path / "nmf_decoder.ckpt")
    if name == "nmf_dictionary.pt":  # as train_nmf.py saves it
        (tmp_path / "nmf_decoder.ckpt").unlink()
        torch.save(decoder.return_W(), tmp_path / name)
    converted = convert_dictionary(tmp_path, tmp_path / "out")
    assert converted.notes == ("1 of 7 patterns are 0 everywhere and left out.",)
    ours = load_dictionary(tmp_path / "out", 44100, **STFT)
    theirs = decoder.return_W().detach()[:, [0, 1, 3, 4, 5, 6]]
    expected = theirs / theirs.pow(2).sum(dim=0).sqrt()
    torch.testing.assert_close(ours, expected)


def test_it_is_not_used_at_another_sample_rate(tmp_path):
    """The published L2I takes it at 16 kHz, where it is 2.76 times too low."""
    save_nmf(tmp_path / "nmf_decoder.ckpt")
    convert_dictionary(tmp_path / "nmf_decoder.ckpt", tmp_path / "out")
    with pytest.raises(CheckpointError, match="learned with sample_rate 44100, not 16"):
        load_dictionary(tmp_path / "out", 16000, **STFT)


def test_settings_beside_it_or_given_are_kept(tmp_path):
    save_nmf(tmp_path / "save" / "CKPT+1" / "nmf_decoder.ckpt")
    (tmp_path / "hyperparams.yaml").write_text(
        "sample_rate: 16000\ncompute_stft: !new:a.B\n  win_length: 32\n"
    )
    source = tmp_path / "save" / "CKPT+1"
    out = tmp_path / "out"
    converted = convert_dictionary(source, out, given={"hop_length": "8"})
    settings = json.loads((out / "settings.json").read_text())
    assert settings["sample_rate"] == 16000
    assert (settings["win_length"], settings["hop_length"]) == (32, 8)
    assert settings["n_components"] == 6
    assert converted.settings.assumed == {"n_fft": 1024}
    assert "| W | nmf_decoder.ckpt |" in (out / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ({"V": torch.ones(3, 2)}, "holds no dictionary: give nmf_decoder.ckpt"),
        ({"W": torch.ones(3)}, "holds no dictionary"),
        ([1, 2], "holds no dictionary"),
        ({"W": -torch.ones(513, 2)}, "that is 0, NaN or infinite"),
        ({"W": torch.full((513, 2), torch.nan)}, "that is 0, NaN or infinite"),
        ({"W": torch.ones(100, 2)}, r"has shape \(100, 2\), but n_fft 1024 needs"),
    ],
)
def test_what_is_no_dictionary_is_refused(tmp_path, held, says):
    torch.save(held, tmp_path / "nmf_decoder.ckpt")
    with pytest.raises(CheckpointError, match=says):
        convert_dictionary(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_setting_that_is_wrong_is_refused(tmp_path):
    save_nmf(tmp_path / "nmf_decoder.ckpt")
    with pytest.raises(SettingError, match="sample_rate is 'many'"):
        convert_dictionary(tmp_path, tmp_path / "out", {"sample_rate": "many"})
