"""The file of an NMF dictionary: it is saved as a whole, loaded and checked."""

import json

import numpy as np
import pytest
import torch

from lmac_td.errors import CheckpointError
from lmac_td.nn.dictionary import load_dictionary, save_dictionary

SPECTRA = {"sample_rate": 16000, "n_fft": 8, "win_length": 20.0, "hop_length": 10.0}


def unit_columns(n_bins=5, n_components=3):
    dictionary = np.random.default_rng(0).random((n_bins, n_components)) + 0.1
    return dictionary / np.linalg.norm(dictionary, axis=0)


def test_a_dictionary_is_loaded(tmp_path):
    np.save(tmp_path / "dictionary.npy", unit_columns())
    (tmp_path / "settings.json").write_text(json.dumps(SPECTRA | {"n_mels": 80}))
    loaded = load_dictionary(tmp_path, **SPECTRA)
    assert loaded.dtype == torch.float32
    np.testing.assert_allclose(loaded.numpy(), unit_columns(), rtol=1e-6)


def test_a_dictionary_without_settings_is_loaded(tmp_path):
    np.save(tmp_path / "dictionary.npy", unit_columns())
    assert load_dictionary(tmp_path, **SPECTRA).shape == (5, 3)


@pytest.mark.parametrize("name", list(SPECTRA))
def test_a_dictionary_of_other_spectra_is_refused(tmp_path, name):
    np.save(tmp_path / "dictionary.npy", unit_columns())
    (tmp_path / "settings.json").write_text(json.dumps(SPECTRA | {name: 44100}))
    with pytest.raises(CheckpointError, match=f"{name} 44100, not") as refusal:
        load_dictionary(tmp_path, **SPECTRA)
    assert f"--{name}" in str(refusal.value)


@pytest.mark.parametrize("folder", ["nowhere", "dictionary.npy"])
def test_a_missing_dictionary_names_the_remedy(tmp_path, folder):
    np.save(tmp_path / "dictionary.npy", unit_columns())
    with pytest.raises(CheckpointError, match="does not exist") as refusal:
        load_dictionary(tmp_path / folder, **SPECTRA)
    assert "nmf_dictionary" in str(refusal.value)
    assert "recipes/ESC50/train_nmf.py hparams/nmf.yaml" in str(refusal.value)


def with_entry(value):
    dictionary = unit_columns()
    dictionary[0, 1] = value
    return dictionary


@pytest.mark.parametrize(
    ("dictionary", "words"),
    [
        (unit_columns(n_bins=6), r"shape \(6, 3\)"),
        (unit_columns().T, r"shape \(3, 5\)"),
        (unit_columns()[:, 0], r"shape \(5,\)"),
        (unit_columns()[:, :0], r"shape \(5, 0\)"),
        (2 * unit_columns(), "unit norm"),
        (with_entry(np.nan), "unit norm"),
        (with_entry(np.inf), "unit norm"),
        (-unit_columns(), "non-negative"),
        (np.eye(5, dtype=int), "not floats"),
        (np.full((5, 3), "loud"), "not floats"),
    ],
)
def test_an_array_that_is_no_dictionary_is_refused(tmp_path, dictionary, words):
    np.save(tmp_path / "dictionary.npy", dictionary)
    with pytest.raises(CheckpointError, match=words):
        load_dictionary(tmp_path, **SPECTRA)


@pytest.mark.parametrize("n_bytes", [0, 60, 150])
def test_half_a_file_is_refused(tmp_path, n_bytes):
    path = tmp_path / "dictionary.npy"
    np.save(path, unit_columns())
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(CheckpointError, match="corrupt"):
        load_dictionary(tmp_path, **SPECTRA)


def test_a_pickle_is_never_run(tmp_path):
    np.save(tmp_path / "dictionary.npy", np.array([{}], dtype=object))
    with pytest.raises(CheckpointError, match="not an array of numbers"):
        load_dictionary(tmp_path, **SPECTRA)


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_settings_that_cannot_be_read_are_refused(tmp_path, text):
    np.save(tmp_path / "dictionary.npy", unit_columns())
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"settings\.json cannot be .* again"):
        load_dictionary(tmp_path, **SPECTRA)


def write_settings(folder):
    (folder / "settings.json").write_text(json.dumps(SPECTRA))


def test_a_saved_dictionary_is_loaded(tmp_path):
    for shift in (1, 2):  # the second one replaces the first
        dictionary = np.roll(unit_columns(), shift, axis=1)
        save_dictionary(tmp_path / "dictionary", dictionary, write_settings)
        loaded = load_dictionary(tmp_path / "dictionary", **SPECTRA)
        np.testing.assert_allclose(loaded.numpy(), dictionary, rtol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["dictionary"]


def test_a_failed_save_keeps_the_old_dictionary(tmp_path):
    def fail(folder):
        raise OSError("the disk is full")

    folder = tmp_path / "dictionary"
    save_dictionary(folder, unit_columns(), write_settings)
    with pytest.raises(OSError, match="full"):
        save_dictionary(folder, unit_columns(n_components=2), fail)
    assert load_dictionary(folder, **SPECTRA).shape == (5, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["dictionary"]
