"""docs/published_weights.md: its commands convert and explain what was published."""

import shlex

import pytest
import soundfile

from lmac_td.cli import convert, explain
from lmac_td.convert.checkpoints import PLACES
from tests.convert.published import (
    CHECKPOINT,
    save_classifier,
    save_lmac,
    save_lmac_td,
    save_nmf,
)
from tests.networks import noise
from tests.pages import ROOT, command_lines

PAGE = ROOT / "docs" / "published_weights.md"
LINES = [shlex.split(line) for line in command_lines("lmac-td") if "converted/" in line]


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder with the files that the page names; narrow."""
    monkeypatch.chdir(tmp_path)
    save_lmac_td("released/lmac_td")
    save_lmac(tmp_path / "released" / "lmac")
    save_classifier(tmp_path / "released" / "cnn14")
    save_nmf(tmp_path / "released" / "nmf_decoder.ckpt")
    soundfile.write("dog.wav", noise(1, 16000).T.numpy(), 16000)
    return tmp_path


def test_the_page_shows_each_kind():
    assert [line[1:3] for line in LINES] == [
        ["convert", "lmac_td"], ["convert", "lmac"], ["explain", "dog.wav"],
        ["convert", "classifier"], ["explain", "dog.wav"], ["convert", "nmf"],
        ["convert", "lmac_td"],
    ]  # fmt: skip
    assert CHECKPOINT in PAGE.read_text("utf-8")


@pytest.mark.slow
def test_the_commands_of_the_page_run_in_its_order(published):
    for _, verb, *arguments in LINES:
        if verb == "explain":
            assert explain.main([*arguments, "--shares", "0.5", "--device", "cpu"]) == 0
        else:
            convert.main(arguments)
    made = {path.name for path in (published / "converted").iterdir()}
    assert made == {"lmac_td", "lmac", "cnn14", "nmf", "pull_request"}
    assert (published / "explained" / "dog" / "interpretation.wav").is_file()


def test_settings_of_the_page_are_read_from_hyperparams():
    assert {"alpha", "chunk_size", "nhead", "inter_nhead", "n_fft"} <= set(PLACES)
