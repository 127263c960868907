"""Prepare data in one call, and check the mixtures of every condition."""

import csv
import hashlib
import json
import math
import shutil

import numpy as np
import pytest
import torch
from speechbrain.dataio.dataloader import make_dataloader

from lmac_td.audio import save_audio
from lmac_td.data.conditions.speech import Speech
from lmac_td.data.mixing import make_mixtures
from lmac_td.data.prepare import prepare
from lmac_td.data.sources.esc50 import ESC50
from lmac_td.errors import DataError, SettingError
from tests.conftest import CONDITIONS, conditions_on


@pytest.fixture
def settings(data_settings):
    return {**data_settings, "fold_nums": {"train": [1], "valid": [4], "test": [4, 5]}}


def test_only_the_requested_splits_are_prepared(settings):
    data = prepare(["test"], **settings)
    assert list(data.manifests) == ["test"]
    assert len(data.dataset("test", "clean")) == 20
    assert data.folds == settings["fold_nums"]


def test_a_test_fold_in_training_is_refused_for_any_split(settings):
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


@pytest.mark.slow
def test_the_corpus_is_generated_when_asked_for(settings, corpus, tmp_path):
    new = tmp_path / "new"

    def source(wham_folder, **asked_for):
        return {
            "dataset": ESC50(new / "ESC-50", wham_folder=wham_folder, **asked_for),
            "all_conditions": conditions_on(corpus, wham_folder=wham_folder),
        }

    with pytest.raises(DataError, match="--data_folder"):
        prepare(["test"], **{**settings, **source(new / "wham_noise")})
    with pytest.raises(SettingError, match="wham_noise"):
        prepare(
            ["test"],
            **{**settings, **source(tmp_path / "noise", generate_corpus=True)},
        )
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "results").exists()
    made = source(new / "wham_noise", generate_corpus=True)
    data = prepare(["test"], **{**settings, **made})
    assert len(data.dataset("test")) == 160


def test_noise_is_checked_first_and_only_if_it_is_needed(settings, corpus, tmp_path):
    empty = tmp_path / "noise"
    (empty / "tt").mkdir(parents=True)
    settings["all_conditions"] = conditions_on(corpus, wham_folder=empty)
    with pytest.raises(DataError, match="no wav or flac"):
        prepare(["test"], **settings)
    assert not (tmp_path / "results").exists()
    data = prepare(["test"], conditions=["clean"], **settings)
    assert len(data.dataset("test", "clean")) == 20


def test_a_missing_fold_of_a_later_command_is_reported_now(settings):
    settings["fold_nums"]["test"] = [7]
    with pytest.raises(DataError, match="fold 7"):
        prepare(["train"], **settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sample_rate", 0),
        ("signal_length_s", float("nan")),
    ],
)
def test_settings_that_are_not_numbers(settings, name, value):
    with pytest.raises(SettingError, match=name):
        prepare(["test"], **{**settings, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wham_snr_db", "loud"),
        ("mixtures_snr_db", "loud"),
        ("white_noise_snr_db", math.inf),
        ("speech_snr_db", None),
    ],
)
def test_ratios_that_are_not_numbers(corpus, name, value):
    with pytest.raises(SettingError, match=f"--{name}"):
        conditions_on(corpus, **{name: value})


# ------------------------------------------------------------------ conditions

PAPER = {"in_domain": 0, "mixtures": 5, "white_noise": 3, "speech": 3}
PUBLISHED = {"in_domain": 0, "mixtures": 12.04, "white_noise": 6.02, "speech": 12.04}
MIXED = [condition for condition in CONDITIONS if condition != "clean"]


def measured_db(mixed):
    energies = [part.double().square().sum(dim=1).tolist() for part in mixed[1:3]]
    return [10 * math.log10(own / other) for own, other in zip(*energies, strict=True)]


def digests(dataset, **loading):
    """Return {clip id: hash of mixture, target and interference} of loaded batches."""
    found = {}
    for batch in make_dataloader(dataset, **loading):
        mixed = make_mixtures(batch, "cpu")
        for i, clip_id in enumerate(batch.id):
            sounds = b"".join(part[i].numpy().tobytes() for part in mixed[:3])
            found[clip_id] = hashlib.sha256(sounds).hexdigest()
    return found


def all_digests(data, split="test", **loading):
    loading = {"batch_size": 8} | loading
    return {c: digests(data.dataset(split, c), **loading) for c in CONDITIONS}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, PAPER),
        ({"snr": "published"}, PUBLISHED),
        (
            {"wham_snr_db": -3, "mixtures_snr_db": 1, "speech_snr_db": -7.5},
            {**PAPER, "in_domain": -3, "mixtures": 1, "speech": -7.5},
        ),
        ({"snr": "published", "wham_snr_db": -3, "speech_snr_db": 1},
         {**PUBLISHED, "in_domain": -3}),
    ],
)  # fmt: skip
def test_the_ratio_is_exact_and_reported(settings, corpus, given, expected):
    settings["fold_nums"]["test"] = [5]
    settings["all_conditions"] = conditions_on(corpus, **given)
    data = prepare(["test"], conditions=CONDITIONS, **settings)
    assert set(data.snr_db) == set(MIXED)
    for condition in MIXED:
        reported = data.snr_db[condition]
        assert reported == pytest.approx(expected[condition], abs=0.005)
        dataset = data.dataset("test", condition)
        for batch in make_dataloader(dataset, batch_size=4):
            measured = measured_db(make_mixtures(batch, "cpu"))
            assert measured == pytest.approx([reported] * len(batch), abs=1e-3)
    assert not data.dataset("test", "clean")[0]["interference"].any()


def test_partners_have_another_class_and_the_same_split(settings, tmp_path):
    data = prepare(["valid", "test"], conditions=["mixtures"], **settings)
    for split in ("valid", "test"):
        manifest = json.loads(data.manifests[split].read_text())
        clips = {clip_id: np.load(entry["wav"]) for clip_id, entry in manifest.items()}
        dataset = data.dataset(split, "mixtures")
        for i in range(len(dataset)):
            item = dataset[i]
            other = item["interference"].numpy()
            # Which clip it is: the one of which it is a multiple.
            likeness = {
                clip_id: wav @ other / np.linalg.norm(wav) / np.linalg.norm(other)
                for clip_id, wav in clips.items()
            }
            partner = max(likeness, key=likeness.get)
            assert likeness[partner] == pytest.approx(1, abs=1e-5)
            ours, theirs = manifest[item["id"]], manifest[partner]
            assert ours["class_index"] != theirs["class_index"]


def test_mixtures_do_not_depend_on_batches_or_workers(settings):
    data = prepare(["test"], conditions=CONDITIONS, **settings)
    reference = all_digests(data)
    assert len({d for found in reference.values() for d in found.values()}) == 5 * 20
    for loading in (
        {"batch_size": 1},
        {"batch_size": 3, "shuffle": True},
        {"batch_size": 3, "num_workers": 2},
    ):
        torch.manual_seed(5)
        assert all_digests(data, **loading) == reference
    again = prepare(["valid", "test"], conditions=CONDITIONS[::-1], **settings)
    assert all_digests(again) == reference
    other = all_digests(
        prepare(["test"], conditions=CONDITIONS, **{**settings, "mixing_seed": 2})
    )
    for condition in MIXED:
        ours, theirs = reference[condition], other[condition]
        # Another seed may draw the same one of 18 other clips by chance.
        assert sum(ours[clip_id] != theirs[clip_id] for clip_id in ours) > 14


def test_mixtures_do_not_depend_on_other_clips_of_the_data_set(settings, tmp_path):
    """Another order of the table, other sizes of other splits, another folder."""
    settings["fold_nums"]["test"] = [5]
    reference = all_digests(prepare(["test"], conditions=CONDITIONS, **settings))
    folder = tmp_path / "copy"
    shutil.copytree(settings["dataset"].folder, folder)
    table = folder / "meta" / "esc50.csv"
    with open(table, newline="") as file:
        head, *rows = csv.reader(file)
    for row in [row for row in rows if row[1] in ("2", "3")]:
        # A new clip in train and validation.
        name = f"0-{row[0]}"
        shutil.copy(folder / "audio" / row[0], folder / "audio" / name)
        rows.append([name, "1" if row[1] == "2" else "4", *row[2:]])
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([head, *reversed(rows)])
    settings |= {
        "dataset": ESC50(folder),
        "output_folder": tmp_path / "other results",
        "fold_nums": {"train": [1, 2], "valid": [3, 4], "test": [5]},
    }
    grown = prepare(["valid", "test"], conditions=CONDITIONS, **settings)
    assert len(grown.dataset("valid", "clean")) == 30
    assert all_digests(grown) == reference


def test_only_what_the_conditions_need_is_read(settings, corpus, tmp_path):
    absent = {
        "wham_folder": tmp_path / "no noise",
        "ljspeech_folder": tmp_path / "no speech",
    }
    needless = ["clean", "mixtures", "white_noise"]
    settings["all_conditions"] = conditions_on(**absent)
    data = prepare(["test"], conditions=needless, **settings)
    for condition in needless:
        assert len(data.dataset("test", condition)) == 20
    with pytest.raises(SettingError, match="condition speech was not prepared"):
        data.dataset("test", "speech")
    for condition, setting in (
        ("in_domain", "wham_folder"),
        ("speech", "ljspeech_folder"),
    ):
        with pytest.raises(DataError, match=f"--{setting}"):
            prepare(["test"], conditions=[condition], **settings)
        enough = conditions_on(corpus, **{**absent, setting: None})
        prepare(
            ["test"], conditions=[condition], **settings | {"all_conditions": enough}
        )


def test_training_uses_no_other_condition(settings, corpus):
    # Its recordings are not checked either.
    settings["all_conditions"] = conditions_on(corpus, ljspeech_folder="nowhere")
    data = prepare(["train"], conditions=CONDITIONS, **settings)
    assert len(data.dataset("train", "in_domain")) == 10
    for condition in ("mixtures", "white_noise", "speech"):
        with pytest.raises(
            SettingError,
            match=f"{condition} is for validation .*: train on in_domain or clean",
        ):
            data.dataset("train", condition)


def test_speech_may_be_in_one_folder_and_shorter_than_a_clip(
    settings, corpus, tmp_path
):
    time = np.arange(4000) / 8000
    voice = np.sin(2 * np.pi * 200 * time).astype(np.float32) / 2
    save_audio(tmp_path / "voices" / "a.wav", torch.from_numpy(voice), 8000)
    voices = tmp_path / "voices"
    settings["all_conditions"] = conditions_on(corpus, ljspeech_folder=voices)
    data = prepare(["test"], conditions=["speech"], **settings)
    speech = data.dataset("test", "speech")[0]["interference"]
    assert speech.shape == (16000,)
    torch.testing.assert_close(speech[:8000], speech[8000:])  # looped


def test_a_split_of_one_class_has_no_mixtures(settings, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(settings["dataset"].folder, folder)
    table = folder / "meta" / "esc50.csv"
    lines = [
        line
        for line in table.read_text().splitlines()
        if not line.startswith("5-") or ",dog," in line
    ]
    table.write_text("\n".join(lines) + "\n")
    settings |= {"dataset": ESC50(folder)}
    settings["fold_nums"]["test"] = [5]
    with pytest.raises(DataError, match=r"one class.*--test_fold_nums"):
        prepare(["test"], conditions=["mixtures"], **settings)
    prepare(["test"], conditions=["white_noise"], **settings)


def test_a_corpus_of_an_earlier_version_has_no_speech(settings, corpus, tmp_path):
    earlier = tmp_path / "earlier"
    for part in ("ESC-50", "wham_noise", "corpus.json"):
        copy = shutil.copytree if (corpus / part).is_dir() else shutil.copy
        earlier.mkdir(exist_ok=True)
        copy(corpus / part, earlier / part)
    settings |= {
        "dataset": ESC50(earlier / "ESC-50", generate_corpus=True),
        "all_conditions": conditions_on(earlier),
    }
    # Other conditions still work with it.
    prepare(["test"], conditions=["in_domain", "mixtures"], **settings)
    with pytest.raises(DataError, match=r"earlier.*without speech.*delete it"):
        prepare(["test"], conditions=["speech"], **settings)
    settings["all_conditions"] = conditions_on(corpus)
    prepare(["test"], conditions=["speech"], **settings)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"conditions": ["noisy"]}, "--condition in_domain, .* or clean"),
        (
            {"conditions": ["s"], "all_conditions": {"s": Speech(None, 3)}},
            "--ljspeech_folder",
        ),
        ({"training_condition": "speech"}, "--training_condition in_domain or clean"),
        ({"training_condition": "hum"}, "--training_condition in_domain or clean"),
        ({"all_conditions": {"hum": 50}}, "condition hum is 50: name a class"),
        ({"dataset": "data/ESC-50"}, "dataset is 'data/ESC-50': name a class"),
    ],
)
def test_wrong_settings_are_refused(settings, wrong, words):
    split = "train" if "training_condition" in wrong else "test"
    with pytest.raises(SettingError, match=words):
        prepare([split], **{**settings, **wrong})


def test_an_unknown_choice_of_ratios(corpus):
    with pytest.raises(SettingError, match="--snr paper or published"):
        conditions_on(corpus, snr="12 dB")


def test_an_unknown_condition_of_prepared_data(settings):
    data = prepare(["test"], conditions=["clean"], **settings)
    with pytest.raises(SettingError, match=r"noisy.*--condition in_domain, .*or clean"):
        data.dataset("test", "noisy")


def test_every_condition_of_real_recordings(real_data, real_speech, tmp_path):
    """Ogg files, some padded, others cut; speech at 16 and 22.05 kHz."""
    data = prepare(
        ["test"],
        dataset=ESC50(real_data[0]),
        all_conditions=conditions_on(
            wham_folder=real_data[1], ljspeech_folder=real_speech
        ),
        output_folder=tmp_path / "results",
        fold_nums={"train": [1, 2], "valid": [3], "test": [4]},
        sample_rate=16000,
        signal_length_s=5,
        mixing_seed=1,
        cache_folder=tmp_path / "cache",
        conditions=CONDITIONS,
    )
    for condition in MIXED:
        dataset = data.dataset("test", condition)
        for batch in make_dataloader(dataset, batch_size=8):
            measured = measured_db(make_mixtures(batch, "cpu"))
            assert measured == pytest.approx([PAPER[condition]] * len(batch), abs=1e-3)
