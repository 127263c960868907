"""A user's mistakes: one sentence each, and nothing is written."""

import os
import shutil

import numpy as np
import pytest
import soundfile

from lmac_td import locks
from lmac_td.locks import one_writer
from tests.commands import (
    CLASSIFIER,
    COMPARE,
    EVALUATE,
    RANDOMISE,
    ROAR,
    TRAIN,
    TRAIN_NMF,
    refused,
    run,
    run_as_a_user,
)


@pytest.mark.parametrize(
    ("options", "settings", "words"),
    [
        (["--compare", "lmac", "identity"], {}, "no row of this table"),
        (["--compare", "tests", "identity"], {}, "is not a table.json"),
        (["--quantus", "Sparsness"], {}, "Sparseness"),
        ([], {"condition": "loud"}, "white_noise"),
        ([], {"condition": "[speech, speech]"}, "speech"),
        ([], {"condition": "speech", "ljspeech_folder": "/nowhere"}, "ljspeech_folder"),
        ([], {"condition": "speech", "snr": "loud"}, "--snr"),
        ([], {"condition": "speech", "speech_snr_db": "loud"}, "--speech_snr_db"),
    ],
)
def test_an_evaluation_that_cannot_work(trained, options, settings, words):
    folder = trained / "results" / "lmac_td_alpha0.75"
    before = sorted(folder.rglob("*"))
    sentence = refused(EVALUATE, trained / "lmac_td.yaml", *options, **settings)
    assert words in sentence
    assert sorted(folder.rglob("*")) == before


def test_a_file_in_the_place_of_the_evaluation(tiny_recipes):
    place = tiny_recipes / "results" / "lmac_td_alpha0.75" / "evaluation"
    place.parent.mkdir(parents=True)
    place.write_text("notes")
    sentence = refused(EVALUATE, tiny_recipes / "lmac_td.yaml")
    assert f"{place} is a file" in sentence
    assert place.read_text() == "notes"


@pytest.mark.parametrize("script", [TRAIN, EVALUATE])
def test_a_method_with_the_name_of_a_reference_row(tiny_recipes, script):
    recipe = tiny_recipes / "lmac_td.yaml"
    sentence = refused(script, recipe, experiment_name="random mask")
    assert "experiment_name names a method 'random mask'" in sentence
    assert not (tiny_recipes / "results").exists()


def test_baselines_that_are_none(trained):
    sentence = refused(EVALUATE, trained / "baselines.yaml", methods="[salience]")
    assert "--methods" in sentence


def test_without_a_checkpoint_the_training_command_is_named(tiny_recipes):
    recipe = tiny_recipes / "lmac_td.yaml"
    sentence = refused(EVALUATE, recipe, alpha=0.5)
    assert "train_interpreter.py" in sentence
    assert "--alpha 0.5" in sentence


@pytest.mark.slow
def test_without_an_argument_the_default_recipe_is_evaluated(tmp_path):
    done = run_as_a_user(EVALUATE, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "hparams/lmac_td.yaml" in done.stderr.splitlines()[-1]
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"alpha": 1.5}, "--alpha"),
        ({"alhpa": 0.5}, "did you mean --alpha"),
        ({"regulariser": "max"}, "--regulariser"),
        ({"geometry": "wide"}, "aligned"),
        ({"nhead": 0}, "--nhead a whole number from 1"),
        ({"nhead": 3}, "--nhead a divisor of 8"),
        ({"batch_size": 0}, "--batch_size"),
        ({"reg_w_l1": "much"}, "--reg_w_l1 a number from 0"),
        ({"hop_length": 0}, "--hop_length a number above 0"),
        ({"sample_rate": 48000}, "n_fft 1024"),
        ({"device": "cuda:99"}, "--device cpu"),
        ({"precision": "fp16", "device": "cpu"}, "give bf16"),
        ({"eval_precision": "fp16", "device": "cpu"}, "give bf16"),
        ({"pretrained_classifier": "nowhere/at/all"}, "pretrained_classifier"),
        ({"pretrained_classifier": "null"}, "pretrained_classifier is null"),
        ({"equal_size_by": "[loudness]"}, "--equal_size_by"),
    ],
)
def test_a_setting_that_cannot_work(tiny_recipes, settings, words):
    sentence = refused(TRAIN, tiny_recipes / "lmac_td.yaml", **settings)
    assert words in sentence
    assert not (tiny_recipes / "results").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data_folder": "/nowhere"}, "--data_folder"),
        ({"data_folder": "null"}, "has no folder: give --data_folder"),
        ({"wham_folder": "null"}, "needs recordings of noise"),
        ({"wham_folder": "/nowhere"}, "wham_folder"),
        ({"test_fold_nums": "[7]"}, "fold 7"),
        ({"out_n_neurons": 50}, "--out_n_neurons 10"),
        ({"valid_fold_nums": "[1]"}, "fold 1"),
        ({"wham_snr_db": "loud"}, "--wham_snr_db"),
    ],
)
def test_data_that_cannot_work(tiny_recipes, settings, words):
    settings = {"generate_corpus": False, **settings}
    sentence = refused(CLASSIFIER, tiny_recipes / "cnn14.yaml", **settings)
    assert words in sentence
    assert not (tiny_recipes / "results").exists()


def corrupt(path):
    path.write_bytes(b"RIFF, but no sound")


def empty(path):
    soundfile.write(path, np.zeros(0), 16000)


def silent(path):
    soundfile.write(path, np.zeros(16000), 16000)


def with_nan(path):
    soundfile.write(path, np.full(16000, np.nan, np.float32), 16000, subtype="FLOAT")


@pytest.fixture(params=[corrupt, empty, silent, with_nan])
def bad_file(request, tiny_recipes, corpus):
    """A data set with a file that cannot be used: its path and the settings for it."""
    folder = tiny_recipes / "spoilt"
    shutil.copytree(corpus / "ESC-50", folder)
    # Two clips of its class and split must be left without it: it is one of three.
    bad = sorted((folder / "audio").glob("1-*.wav"))[0]
    request.param(bad)
    return bad, {"data_folder": folder, "number_of_epochs": 1}


def test_a_bad_file_is_named(tiny_recipes, bad_file):
    bad, settings = bad_file
    sentence = refused(CLASSIFIER, tiny_recipes / "cnn14.yaml", **settings)
    assert bad.name in sentence
    assert "skip_bad_files: True" in sentence
    assert not (tiny_recipes / "results").exists()


@pytest.mark.slow
def test_a_bad_file_is_left_out_where_the_user_asks_for_it(
    tiny_recipes, bad_file, caplog
):
    bad, settings = bad_file
    run(CLASSIFIER, tiny_recipes / "cnn14.yaml", skip_bad_files=True, **settings)
    assert bad.name in caplog.text


def test_a_model_is_not_taken_for_another(trained):
    """What was trained is neither resumed nor measured with other settings."""
    recipe = trained / "lmac_td.yaml"
    for script in (TRAIN, EVALUATE):
        sentence = refused(script, recipe, l_in_w=4)
        assert "l_in_w 5, not 4" in sentence
    assert "masknet_channels 8, not 16" in refused(
        EVALUATE, recipe, masknet_channels=16
    )
    manifest = trained / "results" / "lmac_td_alpha0.75" / "manifest" / "train.json"
    before = manifest.read_text()
    assert "not [1, 2]" in refused(TRAIN, recipe, train_fold_nums="[1, 2]")
    assert manifest.read_text() == before
    # Fold 3 was trained on, by the classifier and by the interpreter.
    folds = {"train_fold_nums": "[1, 2]", "test_fold_nums": "[3]"}
    sentence = refused(EVALUATE, recipe, **folds)
    assert "train_fold_nums [1, 2, 3]" in sentence
    sentence = refused(TRAIN, recipe, alpha=0.1, **folds)
    assert "was trained on fold 3" in sentence


def test_a_table_without_a_column(tiny_recipes, corpus):
    folder = tiny_recipes / "spoilt"
    shutil.copytree(corpus / "ESC-50", folder)
    table = folder / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace("fold", "part", 1))
    sentence = refused(CLASSIFIER, tiny_recipes / "cnn14.yaml", data_folder=folder)
    assert "'fold'" in sentence
    assert "esc50.csv" in sentence


def test_a_classifier_of_other_widths(trained):
    sentence = refused(TRAIN, trained / "lmac_td.yaml", emb_dim=16, alpha=0.1)
    assert "emb_dim" in sentence
    assert "model.safetensors" in sentence


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        (COMPARE, ["nowhere"], "nowhere"),
        (RANDOMISE, [], "name a recipe first"),
        (ROAR, [], "name a recipe first"),
    ],
)
def test_a_mistake_ends_a_process_with_exit_code_2(script, arguments, words):
    assert words in refused(script, *arguments, run=run_as_a_user)


@pytest.mark.parametrize(
    ("script", "recipe", "work"),
    [
        (CLASSIFIER, "cnn14", "training"),
        (TRAIN_NMF, "nmf", "training"),
        (EVALUATE, "evidence", "evaluation"),
        (ROAR, "evidence", "roar"),
        (RANDOMISE, "evidence", "randomisation"),
    ],
)
def test_two_writers_in_one_output_folder(
    tiny_recipes, with_trained, monkeypatch, script, recipe, work
):
    if recipe == "evidence":
        with_trained("cnn14")
    monkeypatch.setattr(locks, "PATIENCE_S", 0.1)
    folder = tiny_recipes / "shared"
    held = folder / "sanity" if script in (ROAR, RANDOMISE) else folder
    more = {"controls": False, "n_clips": 2} if script == RANDOMISE else {}
    with one_writer(held, work):
        before = sorted(folder.rglob("*"))
        said = refused(
            script, tiny_recipes / f"{recipe}.yaml", output_folder=folder, **more
        )
        assert f"another {work} writes into {held} (process {os.getpid()}" in said
        after = {path for path in folder.rglob("*") if "manifest" not in path.parts}
        assert sorted(after) == before
