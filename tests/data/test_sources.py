"""Data sources: the clips that they list, and a clear error for every mistake."""

import csv
import json
import logging
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from speechbrain.dataio.dataloader import make_dataloader

from lmac_td.data.conditions.white_noise import GaussianNoise
from lmac_td.data.datasets import make_dataset
from lmac_td.data.manifests import write_manifests
from lmac_td.data.mixing import make_mixtures
from lmac_td.data.sources import csv_manifest, urbansound8k
from lmac_td.data.sources.base import Clip, DataSource, read_source
from lmac_td.data.sources.csv_manifest import CsvManifest
from lmac_td.data.sources.esc50 import ESC50
from lmac_td.data.sources.urbansound8k import UrbanSound8K
from lmac_td.errors import DataError, LoadAudioError, SettingError

RATE = 8000
STREET = {3: "dog_bark", 8: "siren", 1: "car_horn"}


def write_sound(path, seconds, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    soundfile.write(path, rng.uniform(-0.5, 0.5, round(seconds * RATE)), RATE)


def write_csv(path, columns, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def prepare(tmp_path):
    def call(source, **changes):
        arguments = dict(
            output_folder=tmp_path / "out",
            fold_nums={"train": [1], "valid": [2], "test": [3]},
            sample_rate=RATE,
            signal_length_s=0.5,
            cache_folder=tmp_path / "cache",
        )
        return write_manifests(source, **{**arguments, **changes})

    return call


def manifest_of(manifests, split):
    return json.loads(manifests[split].read_text())


# --------------------------------------------------------------- UrbanSound8K


@pytest.fixture
def street(tmp_path):
    """Three folds of three classes, with the same file names in each fold."""
    folder, rows = tmp_path / "UrbanSound8K", []
    for fold in (1, 2, 3):
        for class_id, name in STREET.items():
            file = f"1000-{class_id}-0-0.wav"
            seconds = 0.1 * class_id
            path = folder / "audio" / f"fold{fold}" / file
            write_sound(path, seconds, seed=10 * fold + class_id)
            rows.append([file, 1000, 0.0, seconds, 1, fold, class_id, name])
    write_csv(folder / "metadata" / "UrbanSound8K.csv", urbansound8k.COLUMNS, rows)
    return folder


def test_urbansound8k_lists_its_subfolders(street):
    clips, class_names = read_source(UrbanSound8K(street))
    assert class_names == ["car_horn", "dog_bark", "siren"]  # by classID
    assert len({clip.clip_id for clip in clips}) == 9
    clip = clips[4]
    assert clip.clip_id == "fold2-1000-8-0-0"
    assert clip.path == street / "audio" / "fold2" / "1000-8-0-0.wav"
    assert (clip.fold, clip.labels) == (2, ("siren",))


def test_urbansound8k_gives_manifests(street, prepare):
    manifests, class_names = prepare(UrbanSound8K(street))
    entry = manifest_of(manifests, "test")["fold3-1000-1-0-0"]
    assert np.load(entry.pop("wav")).shape == (RATE // 2,)
    assert entry["category"] == "car_horn"
    assert class_names[entry["class_index"]] == "car_horn"
    assert (entry["classID"], entry["fsID"], entry["salience"]) == (1, 1000, 1)
    assert "labels" not in entry


def test_the_ratio_of_short_clips_is_over_their_recorded_length(street, prepare):
    """Padded clips are mixed at the ratio over their recorded length."""
    manifests, _ = prepare(UrbanSound8K(street))
    dataset = make_dataset(
        manifests["test"], "white_noise", GaussianNoise(RATE // 2), 5.0, mixing_seed=0
    )
    (batch,) = make_dataloader(dataset, batch_size=3)
    # 0.3, 0.8 and 0.1 s, of which 0.5 s are kept.
    expected = {"fold3-1000-3-0-0": 2400, "fold3-1000-8-0-0": 4000}
    expected["fold3-1000-1-0-0"] = 800
    mixed = make_mixtures(batch, "cpu")
    assert dict(zip(batch.id, mixed.n_samples.tolist(), strict=True)) == expected
    for i, n in enumerate(mixed.n_samples.tolist()):
        own, other = (part[i].double().square() for part in mixed[1:3])
        assert not mixed.mixture[i, n:].any()
        ratio = 10 * (own[:n].sum() / other[:n].sum()).log10()
        assert float(ratio) == pytest.approx(5, abs=1e-3)


def change_street(**cells):
    def apply(folder):
        table = folder / "metadata" / "UrbanSound8K.csv"
        rows = [list(row.values()) for row in read_csv(table)]
        for column, value in cells.items():
            rows[1][urbansound8k.COLUMNS.index(column)] = value
        write_csv(table, urbansound8k.COLUMNS, rows)

    return apply


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "metadata" / "UrbanSound8K.csv").unlink(),
         ["UrbanSound8K.csv is missing", "`folder` of dataset"]),
        (lambda folder: (folder / "audio").rename(folder / "sound"),
         ["audio is missing", "`folder` of dataset"]),
        (lambda folder: (folder / "audio/fold2/1000-8-0-0.wav").unlink(),
         ["fold2/1000-8-0-0.wav", "missing (1 of 9"]),
        (change_street(fold=4), ["fold4/1000-8-0-0.wav", "missing (1 of 9"]),
        (change_street(fold="two"), ["line 3", "fold 'two'"]),
        (change_street(salience=""), ["line 3", "no salience"]),
        (change_street(**{"class": "cat"}), ["classID 8", "'cat'", "'siren'"]),
        (change_street(slice_file_name="1000-3-0-0.wav"),
         ["lists fold1-1000-3-0-0 2 times"]),
    ],
)  # fmt: skip
def test_a_wrong_urbansound8k_is_named(street, damage, words):
    damage(street)
    with pytest.raises(DataError) as caught:
        read_source(UrbanSound8K(street))
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------ csv tables


@pytest.fixture
def listed(tmp_path):
    """Write a csv of clips with one or two labels, in and outside of its folder."""
    folder, elsewhere = tmp_path / "mine", tmp_path / "elsewhere" / "c.wav"
    write_sound(folder / "a" / "1.wav", 0.3, 1)
    write_sound(folder / "b" / "1.wav", 0.4, 2)
    write_sound(folder / "b" / "2.wav", 0.5, 3)
    write_sound(elsewhere, 0.6, 4)
    rows = [
        ["a/1.wav", "siren", 1],
        ["b/1.wav", "siren; dog", 2],
        ["b/../b/2.wav", "rain", 3],
        [elsewhere, "dog;rain", 3],
    ]
    write_csv(folder / "clips.csv", csv_manifest.COLUMNS, rows)
    return folder / "clips.csv"


def test_a_csv_lists_clips_with_several_labels(listed, tmp_path):
    clips, class_names = read_source(CsvManifest(listed))
    assert class_names == ["dog", "rain", "siren"]
    assert [clip.clip_id for clip in clips[:3]] == ["a-1", "b-1", "b-2"]
    assert clips[3].clip_id.endswith("-elsewhere-c")
    assert clips[1].labels == ("siren", "dog")
    assert clips[2].path == tmp_path / "mine" / "b" / "2.wav"
    assert clips[3].path == tmp_path / "elsewhere" / "c.wav"


def test_ids_do_not_depend_on_the_folder_of_the_data_set(listed, tmp_path):
    """The interference of a clip depends on its id."""
    rows = [["../mine/a/1.wav", "siren", 1]]
    for folder in (tmp_path / "meta", tmp_path / "other"):
        write_csv(folder / "clips.csv", csv_manifest.COLUMNS, rows)
        assert CsvManifest(folder / "clips.csv").clips()[0].clip_id == "mine-a-1"


def test_manifests_have_all_labels(listed, prepare):
    manifests, class_names = prepare(CsvManifest(listed))
    entry = manifest_of(manifests, "valid")["b-1"]
    assert entry["labels"] == ["siren", "dog"]
    assert entry["category"] == "siren"
    assert entry["class_index"] == class_names.index("siren")
    assert manifest_of(manifests, "train")["a-1"]["labels"] == ["siren"]


def test_another_separator(listed):
    listed.write_text(listed.read_text().replace(";", "|"))
    clips, _ = read_source(CsvManifest(listed, separator="|"))
    assert clips[3].labels == ("dog", "rain")
    for wrong in ("", 3, None):
        with pytest.raises(SettingError, match="separator"):
            CsvManifest(listed, separator=wrong)


def test_more_columns_are_allowed(listed):
    rows = [[*row.values(), "note"] for row in read_csv(listed)]
    write_csv(listed, [*csv_manifest.COLUMNS, "remark"], rows)
    assert len(CsvManifest(listed).clips()) == 4


def change_row(number, **cells):
    def apply(table):
        rows = read_csv(table)
        rows[number].update(cells)
        write_csv(table, csv_manifest.COLUMNS, [list(row.values()) for row in rows])

    return apply


def without_column(column):
    def apply(table):
        rows = [
            {k: v for k, v in row.items() if k != column} for row in read_csv(table)
        ]
        write_csv(table, list(rows[0]), [list(row.values()) for row in rows])

    return apply


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda table: table.unlink(), ["clips.csv does not exist", "`table`"]),
        (without_column("labels"), ["no column 'labels'", "path, labels, fold"]),
        (without_column("fold"), ["no column 'fold'"]),
        (change_row(0, path="a/9.wav"), ["9.wav", "missing (1 of 4"]),
        (change_row(0, path="q/1.wav"), ["1.wav", "missing (1 of 4"]),
        (change_row(0, path=""), ["line 2, has no path"]),
        (change_row(1, labels=" "), ["line 3, has no labels"]),
        (change_row(1, labels="siren;;dog"), ["line 3", "empty label"]),
        (change_row(1, labels="siren;dog;"), ["line 3", "empty label"]),
        (change_row(1, labels="dog;siren;dog"), ["line 3", "'dog' twice"]),
        (change_row(2, fold="three"), ["line 4", "fold 'three'", "whole number"]),
        (change_row(2, path="b/1.wav"), ["lists b-1 2 times"]),
    ],
)
def test_a_wrong_csv_is_named(listed, damage, words):
    damage(listed)
    with pytest.raises(DataError) as caught:
        read_source(CsvManifest(listed))
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_fold_that_no_clip_has_is_named(listed, prepare, tmp_path):
    with pytest.raises(DataError, match=r"clips\.csv has no clips in fold 4 of test"):
        prepare(CsvManifest(listed), fold_nums={"train": [1], "test": [4]})
    assert not (tmp_path / "out").exists()


def test_a_label_without_usable_clips_is_named(listed, prepare, caplog):
    (listed.parent / "a" / "1.wav").write_bytes(b"no sound")
    (listed.parent / "b" / "1.wav").write_bytes(b"no sound")
    folds = {"train": [1, 3], "test": [2]}
    with pytest.raises(LoadAudioError, match=r"1\.wav"):
        prepare(CsvManifest(listed), fold_nums=folds)
    rows = [list(row.values()) for row in read_csv(listed)]
    rows.append(["b/2.wav", "rain", 2])
    del rows[2]
    write_csv(listed, csv_manifest.COLUMNS, rows)
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(DataError, match="no usable clip of class 'siren'"),
    ):
        prepare(CsvManifest(listed), fold_nums=folds, skip_bad_files=True)


# --------------------------------------------------------------- another source


class Given(DataSource):
    """Lists the given clips."""

    def __init__(self, clips, names=None):
        super().__init__("somewhere")
        self.given, self.names = clips, names

    def clips(self):
        return self.given

    def class_names(self, clips):
        return self.names or super().class_names(clips)


def clip(clip_id="a", labels=("dog",)):
    return Clip(clip_id, Path("a.wav"), 1, labels)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Given([]), "somewhere lists no clips"),
        (Given([clip(), clip("b"), clip()]), "lists a 2 times"),
        (Given([clip(labels=())]), "gives a no label"),
        (Given([clip()], names=["cat"]), "label 'dog', which is not a class name"),
        (Given([clip("fold1/a")]), "id 'fold1/a'"),
        (Given([clip("")]), "id ''"),
    ],
)
def test_the_clips_of_a_source_are_checked(source, words):
    with pytest.raises(DataError, match=words):
        read_source(source)


def test_the_identity_of_a_source():
    assert (
        ESC50("data/ESC-50").identity
        == "lmac_td.data.sources.esc50.ESC50(data/ESC-50/meta/esc50.csv)"
    )
    assert CsvManifest("a.csv").identity != CsvManifest("b.csv").identity
    with pytest.raises(NotImplementedError):
        DataSource("data").clips()


def test_only_a_classifier_in_training_needs_the_same_classes(listed, prepare):
    prepare(CsvManifest(listed))
    prepare(CsvManifest(listed), n_classes=3)
    with pytest.raises(DataError, match=r"3 classes.*--out_n_neurons 3"):
        prepare(CsvManifest(listed), n_classes=527)


def test_two_commands_that_obtain_the_corpus_at_once_generate_it_once(
    tmp_path, monkeypatch
):
    """As the first two commands of the demo, which start at the same time."""
    calls, both_started = [], threading.Barrier(2)

    def generate(root):
        calls.append(root)
        time.sleep(0.2)
        (root / "ESC-50" / "audio").mkdir(parents=True)

    monkeypatch.setattr("lmac_td.data.demo.corpus.generate_corpus", generate)

    def obtain():
        source = ESC50(
            tmp_path / "ESC-50",
            generate_corpus=True,
            wham_folder=tmp_path / "wham_noise",
        )
        both_started.wait(60)
        source.obtain()

    threads = [threading.Thread(target=obtain) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert calls == [tmp_path]
