"""The table of clips, the manifests, and all mistakes in them."""

import csv
import json
import logging
import os
import shutil

import numpy as np
import pytest
import soundfile
import torch

from lmac_td.data import cache
from lmac_td.data.cache import decode_once, load_decoded
from lmac_td.data.manifests import write_manifests
from lmac_td.data.sources.base import read_source
from lmac_td.data.sources.esc50 import ESC50
from lmac_td.errors import DataError, LoadAudioError, SettingError

RATE = 8000
CATEGORIES = {41: "chainsaw", 0: "dog", 10: "rain"}


def rows_of(folder):
    with open(folder / "meta" / "esc50.csv", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(folder, rows, **kwargs):
    (folder / "meta").mkdir(exist_ok=True)
    with open(folder / "meta" / "esc50.csv", "w", newline="", **kwargs) as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def data_folder(tmp_path):
    """Three classes, four folds, two clips of each; 0.25 s."""
    folder = tmp_path / "ESC"
    (folder / "audio").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for fold in (1, 2, 3, 4):
        for target, category in CATEGORIES.items():
            for take in "AB":
                name = f"{fold}-{take}-{target}.wav"
                samples = rng.uniform(-0.5, 0.5, RATE // 4)
                soundfile.write(folder / "audio" / name, samples, RATE)
                rows.append(
                    dict(filename=name, fold=fold, target=target, category=category)
                )
    write_rows(folder, rows)
    return folder


@pytest.fixture
def prepare(data_folder, tmp_path):
    def call(**changes):
        arguments = dict(
            source=ESC50(data_folder),
            output_folder=tmp_path / "out",
            fold_nums={"train": [1, 2], "valid": [3], "test": [4]},
            n_classes=3,
            sample_rate=16000,
            signal_length_s=0.5,
            cache_folder=tmp_path / "cache",
        )
        return write_manifests(**{**arguments, **changes})[0]

    return call


def spoil(data_folder, name, content=b"no sound"):
    (data_folder / "audio" / name).write_bytes(content)


def snapshot(folder):
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
    }


# ------------------------------------------------------------------ the table


def test_the_table_gives_the_clips(data_folder):
    clips, class_names = read_source(ESC50(data_folder))
    assert len(clips) == 24
    assert clips[0].clip_id == "1-A-41"
    assert clips[0].path == data_folder / "audio" / "1-A-41.wav"
    assert (clips[0].fold, clips[0].labels) == (1, ("chainsaw",))
    assert clips[0].details == {"esc50_target": 41}
    assert class_names == ["dog", "rain", "chainsaw"]  # by target


def test_more_columns_and_a_byte_order_mark_are_allowed(data_folder):
    rows = [{**row, "take": "A"} for row in rows_of(data_folder)]
    write_rows(data_folder, rows, encoding="utf-8-sig")
    assert len(ESC50(data_folder).clips()) == 24


def no_folder(folder):
    shutil.rmtree(folder)


def no_table(folder):
    (folder / "meta" / "esc50.csv").unlink()


def no_audio(folder):
    shutil.rmtree(folder / "audio")


def no_rows(folder):
    (folder / "meta" / "esc50.csv").write_text("filename,fold,target,category\n")


def empty_table(folder):
    (folder / "meta" / "esc50.csv").write_text("")


def binary_table(folder):
    (folder / "meta" / "esc50.csv").write_bytes(b"\xff\xfe\x00\x81")


def no_column(folder):
    rows = rows_of(folder)
    write_rows(folder, [{k: v for k, v in row.items() if k != "fold"} for row in rows])


def change(**values):
    def apply(folder):
        rows = rows_of(folder)
        rows[3].update(values)
        write_rows(folder, rows)

    return apply


def short_row(folder):
    with open(folder / "meta" / "esc50.csv", "a") as file:
        file.write("5-A-0.wav,5\n")


def absent_files(folder):
    for name in ("1-B-0.wav", "2-A-0.wav"):
        (folder / "audio" / name).unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (no_folder, ["data_folder", "--data_folder", "--download True"]),
        (no_table, ["esc50.csv", "--data_folder", "--download True"]),
        (no_audio, ["audio", "--data_folder"]),
        (no_rows, ["lists no clips"]),
        (empty_table, ["no column 'filename'"]),
        (binary_table, ["cannot be read"]),
        (no_column, ["no column 'fold'"]),
        (change(fold="two"), ["line 5", "fold 'two'"]),
        (change(target="1.5"), ["line 5", "target '1.5'"]),
        (short_row, ["line 26", "no target"]),
        (change(category="cat"), ["target 0", "'dog'", "'cat'"]),
        (change(filename="1-A-41.wav"), ["1-A-41 2 times"]),
        (change(filename="../meta/esc50.csv"), ["missing (1 of 24"]),
        (absent_files, ["1-B-0.wav", "missing (2 of 24"]),
    ],
)
def test_a_wrong_table_is_named(data_folder, damage, words):
    damage(data_folder)
    with pytest.raises(DataError) as caught:
        read_source(ESC50(data_folder))
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


# -------------------------------------------------------------- the manifests


def test_manifests(prepare, data_folder, tmp_path):
    manifests = prepare()
    assert manifests["valid"] == tmp_path / "out" / "manifest" / "valid.json"
    contents = {
        split: json.loads(path.read_text()) for split, path in manifests.items()
    }
    assert {split: len(content) for split, content in contents.items()} == {
        "train": 12,
        "valid": 6,
        "test": 6,
    }
    assert {entry["fold"] for entry in contents["train"].values()} == {1, 2}
    entry = contents["test"]["4-B-41"]
    assert entry.pop("wav").endswith(".npy")
    assert entry == {
        "path": str(data_folder / "audio" / "4-B-41.wav"),
        "duration": 0.5,
        "n_samples": 4000,  # the recording has 0.25 s
        "fold": 4,
        "esc50_target": 41,
        "category": "chainsaw",
        "class_index": 2,  # the rank of 41 among 0, 10, 41
    }


def test_class_index_comes_from_the_whole_table(prepare, data_folder):
    """A class that is missing in a split does not change the index of the others."""
    rows = [r for r in rows_of(data_folder) if (r["fold"], r["target"]) != ("4", "10")]
    write_rows(data_folder, rows)
    manifests = prepare(fold_nums={"test": [4]})
    test = json.loads(manifests["test"].read_text())
    assert {entry["class_index"] for entry in test.values()} == {0, 2}


def test_second_call_decodes_nothing(prepare, monkeypatch, data_folder):
    first = prepare()["train"].read_bytes()
    monkeypatch.setattr(cache, "load_audio", None)  # calling it would fail
    assert prepare()["train"].read_bytes() == first
    monkeypatch.undo()

    decoded = []
    monkeypatch.setattr(
        cache,
        "load_audio",
        lambda path, *_, **__: decoded.append(path) or torch.ones(9),
    )
    edited, touched = (data_folder / "audio" / f"1-A-{i}.wav" for i in (0, 10))
    soundfile.write(edited, np.ones(999) / 2, RATE)
    os.utime(touched, ns=(0, touched.stat().st_mtime_ns + 1000))
    prepare()
    assert set(decoded) == {edited, touched}
    prepare(sample_rate=11025)
    assert len(decoded) == 2 + 24


def test_only_needed_files_are_decoded(prepare, data_folder, tmp_path):
    spoil(data_folder, "1-A-0.wav")
    prepare(fold_nums={"test": [4]})
    assert len(list((tmp_path / "cache").glob("*/*.npy"))) == 6


def test_decoded_content(prepare, data_folder):
    entry = json.loads(prepare()["train"].read_text())["1-A-0"]
    wav = load_decoded(entry["wav"])
    assert wav.shape == (8000,)
    assert wav.dtype == torch.float32
    assert wav[:4000].any()
    assert not wav[4100:].any()
    assert torch.equal(wav[10:30], load_decoded(entry["wav"], 10, 20))


def test_nothing_is_written_into_the_data(prepare, data_folder):
    before = snapshot(data_folder)
    prepare()
    assert snapshot(data_folder) == before


def test_a_damaged_cache_is_named(prepare):
    entry = json.loads(prepare()["train"].read_text())["1-A-0"]
    with open(entry["wav"], "wb") as file:
        file.write(b"\x93NUMPY half")
    with pytest.raises(LoadAudioError, match="cache_folder"):
        load_decoded(entry["wav"])


def test_interrupted_decoding_leaves_no_half_file(data_folder, tmp_path, monkeypatch):
    def half(file, array):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", half)
    path = data_folder / "audio" / "1-A-0.wav"
    with pytest.raises(KeyboardInterrupt):
        decode_once(path, 16000, 0.5, tmp_path / "cache")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


# ------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"n_classes": 50}, DataError, ["3 classes", "--out_n_neurons 3", "50"]),
        (
            {"fold_nums": {"train": [1], "test": [4, 5]}},
            DataError,
            ["fold 5", "test_fold_nums", "1, 2, 3, 4"],
        ),
        (
            {"fold_nums": {"train": [1, 2], "test": [2]}},
            SettingError,
            ["fold 2", "train_fold_nums", "test_fold_nums"],
        ),
        ({"fold_nums": {"train": []}}, SettingError, ["train_fold_nums"]),
        ({"fold_nums": {"train": 1}}, SettingError, ["--train_fold_nums [4]"]),
    ],
)
def test_wrong_settings_are_named(prepare, tmp_path, changes, error, words):
    with pytest.raises(error) as caught:
        prepare(**changes)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_valid_and_test_may_share_a_fold(prepare):
    """The papers also score the fold that selected the checkpoint."""
    manifests = prepare(fold_nums={"train": [1], "valid": [3], "test": [3, 4]})
    assert len(json.loads(manifests["test"].read_text())) == 12


# ------------------------------------------------------------------ bad files


def test_a_bad_file_is_an_error(prepare, data_folder, tmp_path):
    spoil(data_folder, "2-A-10.wav")
    with pytest.raises(LoadAudioError, match=r"2-A-10\.wav.*skip_bad_files: True"):
        prepare()
    assert not (tmp_path / "out").exists()


def test_bad_files_are_skipped_with_a_warning(prepare, data_folder, caplog):
    for name in ("2-A-10.wav", "4-A-0.wav"):
        spoil(data_folder, name)
    with caplog.at_level(logging.WARNING):
        manifests = prepare(skip_bad_files=True)
    assert len(json.loads(manifests["train"].read_text())) == 11
    assert len(json.loads(manifests["test"].read_text())) == 5
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 2
    assert "2-A-10.wav" in warned[0]
    assert "4-A-0.wav" in warned[1]


def test_a_class_without_usable_clips_is_refused(prepare, data_folder):
    for fold in (1, 2, 3, 4):
        for take in "AB":
            spoil(data_folder, f"{fold}-{take}-10.wav")
    with pytest.raises(DataError, match="class 'rain'"):
        prepare(skip_bad_files=True)


def test_a_split_without_usable_clips_is_refused(prepare, data_folder):
    for path in (data_folder / "audio").glob("3-*"):
        spoil(data_folder, path.name)
    with pytest.raises(DataError, match="valid_fold_nums"):
        prepare(skip_bad_files=True)
