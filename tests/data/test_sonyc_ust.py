"""SONYC-UST's layout: tags from the votes of annotators, and its synthetic stand-in."""

import csv
import json

import numpy as np
import pytest
import soundfile
from speechbrain.dataio.dataloader import make_dataloader

from lmac_td.data.conditions.mixtures import OtherClasses
from lmac_td.data.datasets import make_dataset
from lmac_td.data.demo.street import TAGS, generate_street, make_scene
from lmac_td.data.manifests import write_manifests
from lmac_td.data.sources.base import read_source
from lmac_td.data.sources.sonyc_ust import COARSE_TAGS, COLUMNS, SonycUst
from lmac_td.errors import DataError

RATE = 8000
# Recording, split, annotator and the tags that this annotator found.
VOTES = [
    ("a", "train", 7, ["dog"]),
    ("a", "train", 9, ["dog", "music"]),
    ("a", "train", 12, []),
    ("b", "train", 7, []),
    ("c", "train", -2, ["engine"]),
    ("c", "train", 0, ["powered-saw"]),  # what is agreed on outvotes the others
    ("d", "validate", 7, ["dog"]),  # not agreed on: left out
    ("e", "validate", 7, ["dog"]),
    ("e", "validate", 0, ["human-voice", "engine"]),
    ("f", "test", 0, []),
    ("g", "test", 0, ["alert-signal"]),
]


def write_annotations(folder, votes):
    rows = [
        [split, f"{name}.wav", annotator, *(int(t in tags) for t in COARSE_TAGS)]
        for name, split, annotator, tags in votes
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "annotations.csv", "w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


@pytest.fixture
def street(tmp_path):
    """The table of VOTES, with recordings in two folders, as archives extract them."""
    folder = tmp_path / "SONYC-UST"
    write_annotations(folder, VOTES)
    rng = np.random.default_rng(0)
    for number, name in enumerate("abcdefg"):
        path = folder / f"audio-{number % 2}" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, rng.uniform(-0.5, 0.5, RATE), RATE)
    return folder


def test_the_columns_are_those_of_the_data_set():
    assert COLUMNS[3:5] == ("1_engine_presence", "2_machinery-impact_presence")
    assert COLUMNS[-1] == "8_dog_presence"
    assert tuple(TAGS) == COARSE_TAGS


def test_one_vote_is_enough_unless_the_team_agreed(street):
    clips, names = read_source(SonycUst(street))
    assert names == list(COARSE_TAGS)
    assert {clip.clip_id: (clip.fold, clip.labels) for clip in clips} == {
        "a": (1, ("music", "dog")),
        "b": (1, ()),
        "c": (1, ("powered-saw",)),
        "e": (2, ("engine", "human-voice")),
        "f": (3, ()),
        "g": (3, ("alert-signal",)),
    }
    details = {clip.clip_id: clip.details for clip in clips}
    assert details["a"] == {"n_annotators": 3, "agreed": False}
    assert details["c"] == {"n_annotators": 1, "agreed": True}
    assert clips[0].path == street / "audio-0" / "a.wav"


def test_minus_one_is_no_vote(street):
    table = street / "annotations.csv"
    table.write_text(table.read_text().replace("b.wav,7,0", "b.wav,7,-1"))
    assert read_source(SonycUst(street))[0][1].labels == ()


@pytest.fixture
def manifests(street, tmp_path):
    found, _ = write_manifests(
        SonycUst(street),
        tmp_path / "out",
        {"train": [1], "valid": [2], "test": [3]},
        RATE,
        0.5,
        tmp_path / "cache",
    )
    return found


def test_a_manifest_holds_all_tags_or_none(manifests):
    train = json.loads(manifests["train"].read_text())
    assert train["a"]["labels"] == ["music", "dog"]
    assert train["a"]["class_indices"] == [5, 7]
    assert train["a"]["class_index"] == 5
    assert train["b"]["labels"] == train["b"]["class_indices"] == []
    assert (train["b"]["category"], train["b"]["class_index"]) == ("no label", -1)


def test_a_dataset_gives_tags_as_ones_and_zeros(manifests):
    dataset = make_dataset(manifests["train"], "clean", mixing_seed=0, n_classes=8)
    (batch,) = make_dataloader(dataset, batch_size=3)
    tags = dict(zip(batch.id, batch.tags.data.tolist(), strict=True))
    assert tags["a"] == [0, 0, 0, 0, 0, 1, 0, 1]
    assert tags["b"] == [0] * 8
    assert tags["c"] == [0, 0, 0, 1, 0, 0, 0, 0]


def test_a_clip_without_a_tag_is_never_mixed_with_itself(manifests):
    others = OtherClasses(manifests["train"])
    assert {others.partner("b") for _ in range(20)} == {"a", "c"}
    assert {others.partner("a") for _ in range(20)} == {"b", "c"}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "annotations.csv").unlink(),
         ["annotations.csv is missing", "--data_folder"]),
        (lambda f: (f / "audio-1" / "b.wav").unlink(),
         ["b.wav is listed", "extract all archives"]),
        (lambda f: write_annotations(f, [("a", "eval", 0, [])]),
         ["line 2", "split 'eval'", "validate"]),
        (lambda f: write_annotations(f, [*VOTES, ("a", "test", 0, [])]),
         ["a.wav in several splits"]),
    ],
)  # fmt: skip
def test_mistakes(street, damage, words):
    damage(street)
    with pytest.raises(DataError) as error:
        read_source(SonycUst(street))
    for word in words:
        assert word in str(error.value)


def test_the_generated_scenes_are_the_same_for_the_same_seed(tmp_path):
    n = {"train": 3, "validate": 2, "test": 2}
    first, again, other = (
        generate_street(tmp_path / name, n, seed, duration_s=0.5)
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    files = sorted(path.relative_to(first) for path in first.rglob("*.*"))
    assert len(files) == 8
    for file in files:
        assert (first / file).read_bytes() == (again / file).read_bytes()
    assert any((first / f).read_bytes() != (other / f).read_bytes() for f in files)
    clips, _ = read_source(SonycUst(first))
    assert [clip.fold for clip in clips] == [1, 1, 1, 2, 2, 3, 3]
    agreed = [clip.details["agreed"] for clip in clips]
    assert agreed == [False] * 3 + [True] * 4


@pytest.mark.parametrize("tag", TAGS)
def test_every_tag_is_audible(tag):
    alone = make_scene([tag], np.random.default_rng(0), RATE, RATE)
    background = make_scene([], np.random.default_rng(0), RATE, RATE)
    assert np.isfinite(alone).all()
    # The same background, with an event on it.
    ratio = np.std(alone / np.abs(alone).max() - background / np.abs(background).max())
    assert ratio > 0.01


def test_scenes_are_generated_only_where_nothing_is(tmp_path, street, monkeypatch):
    calls = []
    name = "lmac_td.data.sources.sonyc_ust.street.generate_street"
    monkeypatch.setattr(name, calls.append)
    SonycUst(street, generate_corpus=True).obtain()
    SonycUst(tmp_path / "new").obtain()
    assert calls == []
    SonycUst(tmp_path / "new", generate_corpus=True).obtain()
    assert calls == [tmp_path / "new"]
