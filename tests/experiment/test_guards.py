"""Guards between a run and what it is resumed, measured or begun with."""

import json

import pytest

from lmac_td.errors import SettingError
from lmac_td.experiment import guards, kept
from lmac_td.experiment.settings import is_fixed_when_measured, is_fixed_when_resumed

ROLES = {
    "lr": ("training",),
    "snr": ("evaluation", "mixture"),
    "data_folder": ("training", "evaluation", "mixture"),
    "output_folder": ("run",),
    "classifier_input": ("training",),
}
SETTINGS = {
    "lr": 0.1, "snr": "paper", "data_folder": "a", "output_folder": "b",
    "classifier_input": "audio",
}  # fmt: skip


def check(folder, is_fixed, **changed):
    guards.check_trained_as(folder, SETTINGS | changed, ROLES, is_fixed)


@pytest.fixture
def folder(tmp_path):
    kept.save_settings(tmp_path, SETTINGS, ROLES)
    return tmp_path


def test_a_resumed_run_keeps_what_a_training_reads(folder):
    check(folder, is_fixed_when_resumed)
    check(folder, is_fixed_when_resumed, snr="published", output_folder="c")
    for changed in ({"lr": 0.2}, {"data_folder": "c"}):
        with pytest.raises(SettingError, match=r"trained with .*give --.*as it was"):
            check(folder, is_fixed_when_resumed, **changed)


def test_an_evaluation_chooses_its_mixtures(folder):
    check(folder, is_fixed_when_measured, snr="published", data_folder="c")
    with pytest.raises(SettingError, match=r"trained with lr 0\.1, not 0\.2"):
        check(folder, is_fixed_when_measured, lr=0.2)


def test_roles_are_kept_beside_the_settings(folder):
    assert kept.read_settings(folder) == SETTINGS
    assert kept.read_roles(folder) == ROLES


def test_a_folder_of_the_first_edition_is_read(tmp_path):
    """It has no roles, and ``heard`` in the place of ``classifier_input``."""
    earlier = {"heard": "audio", "lr": 0.1, "data_folder": "a"}
    (tmp_path / "settings.json").write_text(json.dumps(earlier))
    assert kept.read_roles(tmp_path) == {}
    check(tmp_path, is_fixed_when_resumed)
    with pytest.raises(SettingError, match="classifier_input 'audio', not"):
        check(tmp_path, is_fixed_when_resumed, classifier_input="spectrogram")


def test_a_setting_that_is_gone_is_refused_in_a_sentence_unless_its_role_lets_it(
    tmp_path,
):
    roles = {"momentum": ("training",), "threads": ("run",)}
    kept.save_settings(tmp_path, {"threads": 3}, roles)
    check(tmp_path, is_fixed_when_resumed)
    kept.save_settings(tmp_path, {"momentum": 0.9}, roles)
    with pytest.raises(SettingError, match=r"momentum 0\.9, which this recipe"):
        check(tmp_path, is_fixed_when_resumed)


def test_weights_that_were_trained_again_are_refused(tmp_path):
    name = "content of pretrained_classifier"
    kept.save_settings(tmp_path, {name: "abc"}, {})
    check(tmp_path, is_fixed_when_measured, **{name: "abc"})
    check(tmp_path, is_fixed_when_measured, **{name: None})  # not on this disk
    with pytest.raises(SettingError, match="pretrained_classifier was trained again"):
        check(tmp_path, is_fixed_when_measured, **{name: "def"})


@pytest.mark.parametrize("content", ["{", "[1]", "3", '{"roles": [1]}', "\0", ""])
def test_a_damaged_settings_file_is_a_sentence(tmp_path, content):
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(SettingError, match=r"settings\.json cannot be read"):
        check(tmp_path, is_fixed_when_resumed)


def test_a_fine_tuning_agrees_with_what_it_starts_from(folder):
    now = SETTINGS | {"lr": 0.5, "classifier_input": "spectrogram"}
    guards.check_begins_with(str(folder), now, {"snr", "unknown"})
    with pytest.raises(SettingError, match="--classifier_input as it was, or another"):
        guards.check_begins_with(str(folder), now, {"classifier_input"})


@pytest.mark.parametrize("folder", ["", "below", "below/further"])
def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path, monkeypatch, folder):
    guards.check_folder("output_folder", tmp_path / folder)
    # Whoever runs the tests may be allowed everything.
    monkeypatch.setattr(guards.os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(SettingError, match=f"output_folder: {tmp_path} may not be wri"):
        guards.check_folder("output_folder", tmp_path / folder)
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_folder_is_a_folder(tmp_path):
    (tmp_path / "large").mkdir()
    (tmp_path / "link").symlink_to("large")
    guards.check_folder("output_folder", tmp_path / "link" / "below")
    guards.check_folder("output_folder", tmp_path / "link")
