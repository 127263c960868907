"""One call from settings to data."""

import json

import pytest

from lmac_td.data.prepare import prepare
from lmac_td.errors import DataError, SettingError


@pytest.fixture
def settings(data_settings):
    return {**data_settings, "fold_nums": {"train": [1], "valid": [4], "test": [4, 5]}}


def test_prepares_the_splits_that_are_asked_for(settings):
    data = prepare(["test"], **settings)
    assert list(data.manifests) == ["test"]
    assert len(data.dataset("test", "clean")) == 20
    assert data.folds == settings["fold_nums"]


def test_a_test_fold_must_not_be_trained_on_whichever_split_is_needed(settings):
    settings["fold_nums"] = {"train": [1, 5], "valid": [4], "test": [5]}
    with pytest.raises(SettingError, match="fold 5"):
        prepare(["test"], **settings)


def test_samples_are_spread_over_the_classes(settings):
    data = prepare(["valid"], **settings)
    manifest = json.loads(data.manifests["valid"].read_text())
    assert data.sample_ids("valid", 99) == set(manifest)
    few = data.sample_ids("valid", 5)
    assert len({manifest[clip_id]["category"] for clip_id in few}) == 5
    assert data.sample_ids("valid", 0) == set()


def test_the_corpus_is_generated_when_asked_for(settings, tmp_path):
    folders = {
        "data_folder": tmp_path / "new" / "ESC-50",
        "wham_folder": tmp_path / "new" / "wham_noise",
    }
    with pytest.raises(DataError, match="--data_folder"):
        prepare(["test"], **{**settings, **folders})
    with pytest.raises(SettingError, match="wham_noise"):
        prepare(
            ["test"],
            generate_corpus=True,
            **{**settings, **folders, "wham_folder": tmp_path / "noise"},
        )
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "results").exists()
    data = prepare(["test"], generate_corpus=True, **{**settings, **folders})
    assert len(data.dataset("test")) == 160


def test_noise_is_looked_at_first_and_only_where_it_is_wanted(settings, tmp_path):
    empty = tmp_path / "noise"
    (empty / "tt").mkdir(parents=True)
    settings["wham_folder"] = empty
    with pytest.raises(DataError, match="no wav or flac"):
        prepare(["test"], **settings)
    assert not (tmp_path / "results").exists()
    data = prepare(["test"], noise=False, **settings)
    assert len(data.dataset("test", "clean")) == 20


def test_a_fold_that_a_later_command_needs_is_looked_for_now(settings):
    settings["fold_nums"]["test"] = [7]
    with pytest.raises(DataError, match="fold 7"):
        prepare(["train"], **settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [("snr_db", "loud"), ("sample_rate", 0), ("signal_length_s", float("nan"))],
)
def test_numbers_that_are_none(settings, name, value):
    with pytest.raises(SettingError, match=name):
        prepare(["test"], **{**settings, name: value})
