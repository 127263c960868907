"""Guards between a run and what it is resumed, measured or begun with."""

import json
import os
import shutil

import pytest

from lmac_td.data.sources.content import content_of
from lmac_td.data.sources.esc50 import ESC50
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


# The same clips at another place.


def moved_to(place, folder, tmp_path):
    """Return another spelling of a data set's folder."""
    if place == "slash":
        return f"{folder}/"
    if place == "relative":
        return os.path.relpath(folder)
    if place == "dots":
        return f"{folder}/../{folder.name}"
    new = tmp_path / "elsewhere"
    if place == "link":
        new.symlink_to(folder)
    elif place == "link above":
        (tmp_path / "above").symlink_to(folder.parent)
        return tmp_path / "above" / folder.name
    else:
        shutil.copytree(folder, new)
    if place == "renumbered":
        table = new / "meta" / "esc50.csv"
        lines = table.read_text().splitlines()
        rows = [line.split(",") for line in lines]
        fold = rows[0].index("fold")
        for row in rows[1:]:
            row[fold] = {"1": "5", "5": "1"}.get(row[fold], row[fold])
        table.write_text("\n".join(map(",".join, rows)))
    return new


PLACES = ("slash", "relative", "dots", "link", "link above", "copy")


def trained_on(corpus, tmp_path, **more):
    """The folder of a classifier that was trained on folds 1 to 3."""
    folder = tmp_path / "classifier"
    source = ESC50(corpus / "ESC-50")
    settings = {
        "dataset": source.identity,
        "data_folder": str(corpus / "ESC-50"),
        "train_fold_nums": [1, 2, 3],
        guards.CLIPS: content_of(source),
        **more,
    }
    kept.save_settings(folder, settings, {})
    return folder, settings


@pytest.mark.parametrize("place", [*PLACES, "renumbered"])
def test_clips_that_a_classifier_was_trained_on_are_known_at_every_place(
    corpus, tmp_path, place
):
    folder, _ = trained_on(corpus, tmp_path)
    now = ESC50(moved_to(place, corpus / "ESC-50", tmp_path))
    fold = 5 if place == "renumbered" else 1
    hparams = {"weights": str(folder), "dataset": now, "test_fold_nums": [4, fold]}
    with pytest.raises(SettingError, match=f"was trained on fold {fold} of test_fold"):
        guards.check_unseen(hparams, ["weights"], ["test_fold_nums"])
    free = 1 if place == "renumbered" else 5
    guards.check_unseen(
        hparams | {"test_fold_nums": [4, free]}, ["weights"], ["test_fold_nums"]
    )


def test_other_recordings_of_the_same_names_are_another_data_set(corpus, tmp_path):
    folder, _ = trained_on(corpus, tmp_path)
    other = moved_to("copy", corpus / "ESC-50", tmp_path)
    for path in other.glob("audio/*.wav"):
        path.write_bytes(path.read_bytes()[:-1] + b"\1" + path.read_bytes()[:100])
    hparams = {"weights": str(folder), "dataset": ESC50(other), "test_fold_nums": [1]}
    guards.check_unseen(hparams, ["weights"], ["test_fold_nums"])


@pytest.mark.parametrize("place", PLACES)
def test_a_training_resumes_with_its_data_at_another_place(corpus, tmp_path, place):
    now = ESC50(moved_to(place, corpus / "ESC-50", tmp_path))
    (tmp_path / "noise").mkdir()
    (tmp_path / "link to noise").symlink_to(tmp_path / "noise")
    noise = {
        "wham_folder": f"{tmp_path}/noise/",
        guards.TRAINING_MIXTURES: f"InDomain(folder={tmp_path}/noise, snr_db=5)",
        "pretrained_classifier": "old/place",
        "content of pretrained_classifier": "0a1b",
    }
    folder, settings = trained_on(corpus, tmp_path, **noise)
    link = f"{tmp_path}/link to noise"
    settings |= {
        "dataset": now.identity,
        "data_folder": str(now.folder),
        guards.CLIPS: content_of(now),
        "wham_folder": link,
        guards.TRAINING_MIXTURES: f"InDomain(folder={link}, snr_db=5)",
        "pretrained_classifier": "new/place",
    }
    guards.check_trained_as(folder, settings, {}, is_fixed_when_resumed)
    settings[guards.TRAINING_MIXTURES] = f"InDomain(folder={link}, snr_db=6)"
    with pytest.raises(SettingError, match="training mixtures"):
        guards.check_trained_as(folder, settings, {}, is_fixed_when_resumed)


def test_clips_that_changed_at_their_place_are_refused(corpus, tmp_path):
    folder, settings = trained_on(corpus, tmp_path)
    settings[guards.CLIPS] = {**settings[guards.CLIPS], "2": "another"}
    with pytest.raises(SettingError, match="was trained on other clips of"):
        guards.check_trained_as(folder, settings, {}, is_fixed_when_resumed)
    roles = {guards.CLIPS: ("training", "evaluation", "mixture")}
    guards.check_trained_as(folder, settings, roles, is_fixed_when_measured)


def test_a_data_set_is_not_written_into_through_a_link(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    for folder, data in (("link/out", "data"), ("data/out", "link/")):
        with pytest.raises(SettingError, match="lies in the data set"):
            guards.check_folder("out", f"{tmp_path}/{folder}", f"{tmp_path}/{data}")
