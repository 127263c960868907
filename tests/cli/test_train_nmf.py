"""train_nmf.py, run as a user runs it, and a user's mistakes."""

import json
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from speechbrain.dataio.batch import PaddedBatch

from lmac_td.cli.train_nmf import collect_frames
from lmac_td.data.mixing import CLEAN_DB
from lmac_td.errors import CheckpointError
from lmac_td.features import SpectralFeatures
from lmac_td.nn.dictionary import load_dictionary
from tests.commands import TRAIN, TRAIN_NMF, command, finished, refused, run
from tests.conftest import ROOT, SAMPLE_RATE

SPECTRA = (SAMPLE_RATE, 1024, 23.2199, 11.6099)


@pytest.fixture
def recipe(tiny_recipes):
    """A dictionary of six components of the tiny corpus; results go below it."""
    return tiny_recipes / "nmf.yaml"


def test_a_dictionary_is_learned_and_learned_anew(with_trained):
    trained = with_trained("nmf")
    recipe, folder = trained / "nmf.yaml", trained / "results" / "nmf" / "dictionary"
    said = (trained / "printed" / "nmf.txt").read_text()
    assert f"nmf_dictionary: {folder}" in said
    assert "of 6" in said
    first = load_dictionary(folder, *SPECTRA)
    assert first.shape == (513, 6)
    assert json.loads((folder / "settings.json").read_text())["n_iterations"] == 5
    assert folder.with_suffix(".png").stat().st_size > 10_000
    with pytest.raises(CheckpointError, match="sample_rate 16000, not 44100"):
        load_dictionary(folder, 44100, *SPECTRA[1:])

    run(TRAIN_NMF, recipe)
    np.testing.assert_array_equal(load_dictionary(folder, *SPECTRA), first)
    run(TRAIN_NMF, recipe, n_components=4)
    assert load_dictionary(folder, *SPECTRA).shape == (513, 4)
    assert json.loads((folder / "settings.json").read_text())["n_components"] == 4
    assert sorted(path.name for path in folder.iterdir()) == [
        "dictionary.npy",
        "settings.json",
    ]
    assert [path.name for path in folder.parent.glob(".*")] == [".training.lock"]


@pytest.mark.slow
def test_interrupted_it_leaves_the_dictionary_as_it_was(with_trained):
    trained = with_trained("nmf")
    recipe, folder = trained / "nmf.yaml", trained / "results" / "nmf" / "dictionary"
    before = load_dictionary(folder, *SPECTRA)
    learning = subprocess.Popen(
        command(TRAIN_NMF, recipe, n_iterations=10**6),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said = b""
    deadline = time.monotonic() + 120
    while b"learning" not in said and time.monotonic() < deadline:
        said += learning.stdout.read1()
    learning.send_signal(signal.SIGINT)
    rest = finished(learning, 60).stdout
    assert learning.returncode == 130, rest[-3000:]
    assert b"no dictionary was written" in rest
    assert torch.equal(load_dictionary(folder, *SPECTRA), before)
    assert json.loads((folder / "settings.json").read_text())["n_iterations"] == 5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data_folder": "/nowhere", "generate_corpus": False}, "--data_folder"),
        ({"n_components": 0}, "--n_components"),
        ({"n_iterations": 1.5}, "--n_iterations"),
        ({"sparsity": -1}, "--sparsity"),
        ({"eval_batch_size": 0}, "--eval_batch_size"),
    ],
)
def test_what_cannot_work_leaves_nothing(recipe, tmp_path, settings, words):
    assert words in refused(TRAIN_NMF, recipe, **settings)
    assert not (tmp_path / "results").exists()


def test_more_components_than_frames(recipe, tmp_path):
    sentence = refused(TRAIN_NMF, recipe, n_components=60_000)
    assert "smaller --n_components" in sentence
    assert not (tmp_path / "results" / "nmf" / "dictionary").exists()


def test_a_recipe_and_a_command_that_do_not_belong_together(recipe):
    sentence = refused(TRAIN_NMF, ROOT / "hparams" / "cnn14_demo.yaml")
    assert "hparams/nmf*.yaml to train_nmf.py" in sentence
    assert "another command" in refused(TRAIN, recipe)


def test_frames_are_the_log_magnitudes_of_the_clips_without_silence():
    clips = torch.randn(2, SAMPLE_RATE)
    clips[0, 8000:] = 0
    clips = clips / clips.abs().amax(dim=1, keepdim=True)
    alone = {"interference": torch.zeros(SAMPLE_RATE), "snr_db": CLEAN_DB}
    batch = PaddedBatch([{"id": "", "clip": clip} | alone for clip in clips])
    features = SpectralFeatures(*SPECTRA)
    magnitude = features(clips).magnitude.log1p()
    frames, n_silent = collect_frames(features, [batch], "cpu")
    assert frames.shape == (513, 2 * 87 - n_silent)
    assert 38 <= n_silent <= 44
    torch.testing.assert_close(frames[:, -87:], magnitude[1].T)
    torch.testing.assert_close(frames[:, :-87], magnitude[0, : 87 - n_silent].T)
