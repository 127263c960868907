"""The commands of the README, run as a user runs them, and a user's mistakes."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

CLASSIFIER = "recipes/ESC50/train_classifier.py"
TRAIN = "train_interpreter.py"
EVALUATE = "eval_faithfulness.py"


def command(script, *arguments, **settings):
    flags = [part for k, v in settings.items() for part in (f"--{k}", str(v))]
    return [sys.executable, str(ROOT / script), *map(str, arguments), *flags]


def run(script, *arguments, check=True, cwd=ROOT, **settings):
    done = subprocess.run(
        command(script, *arguments, **settings),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def refused(script, *arguments, **settings):
    """Run a command that must fail for a user's mistake; return its one sentence."""
    done = run(script, *arguments, check=False, **settings)
    assert done.returncode == 2, (done.returncode, done.stderr[-3000:])
    assert "Traceback" not in done.stderr + done.stdout
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr[-3000:]
    return errors[0]


@pytest.fixture
def trained(tiny_recipes):
    """Recipes whose classifier and interpreter are trained."""
    run(CLASSIFIER, tiny_recipes / "cnn14.yaml")
    run(TRAIN, tiny_recipes / "lmac_td.yaml")
    return tiny_recipes


def test_the_main_job(tiny_recipes):
    results = tiny_recipes / "results"
    said = run(CLASSIFIER, tiny_recipes / "cnn14.yaml").stdout
    assert "| in_domain | 5 | 10 |" in said
    for name in ("embedding_model.ckpt", "classifier.ckpt"):
        assert (results / "cnn14" / "classifier" / name).is_file()
    assert (results / "cnn14" / "confusion_clean.png").is_file()

    said = run(TRAIN, tiny_recipes / "lmac_td.yaml").stdout
    assert "eval_faithfulness.py" in said
    log = (results / "lmac_td_alpha0.75" / "train_log.txt").read_text()
    assert len(log.splitlines()) == 2
    assert list((results / "lmac_td_alpha0.75" / "samples" / "epoch_002").glob("*.wav"))

    said = run(EVALUATE, tiny_recipes / "lmac_td.yaml").stdout
    folder = results / "lmac_td_alpha0.75" / "evaluation"
    assert (folder / "table.md").read_text() in said
    for row in ("lmac_td_alpha0.75", "identity", "zeros", "random mask", "half gain"):
        assert said.count(f"\n| {row} ") == 2 * 2  # means and intervals, two conditions
    table = json.loads((folder / "table.json").read_text())
    assert table["settings"]["checkpoint chosen on fold"] == [4]
    assert {row["n_clips"] for row in table["rows"]} == {10}
    assert len((folder / "clips.csv").read_text().splitlines()) == 1 + 2 * 5 * 10

    kept = sorted((folder / "samples" / "in_domain").glob("*_interpretation.wav"))
    assert len(kept) == 2
    for path in kept:
        stem = str(path).removesuffix("_interpretation.wav")
        sounds = [
            soundfile.read(f"{stem}_{name}.wav")[0]
            for name in ("input", "interpretation", "residual")
        ]
        error = sounds[0] - sounds[1] - sounds[2]
        assert 10 * np.log10(np.mean(sounds[0] ** 2) / np.mean(error**2)) > 30
        assert Path(f"{stem}.png").stat().st_size > 10_000


@pytest.mark.parametrize("alpha", [0, 1])
def test_alpha_is_swept_from_the_command_line(trained, alpha):
    run(TRAIN, trained / "lmac_td.yaml", alpha=alpha, number_of_epochs=1)
    said = run(
        EVALUATE, trained / "lmac_td.yaml", alpha=alpha, condition="clean"
    ).stdout
    assert f"| lmac_td_alpha{alpha} " in said
    assert "### in_domain" not in said
    # One condition alone leaves the table of both as it is.
    assert (trained / "results" / f"lmac_td_alpha{alpha}" / "evaluation_clean").is_dir()


def test_killed_training_goes_on(tiny_recipes):
    run(CLASSIFIER, tiny_recipes / "cnn14.yaml")
    settings = {"number_of_epochs": 1000}
    results = tiny_recipes / "results" / "lmac_td_alpha0.75"
    for how in (signal.SIGINT, signal.SIGKILL):
        before = n_epochs(results)
        training = subprocess.Popen(
            command(TRAIN, tiny_recipes / "lmac_td.yaml", **settings),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + 120
        while n_epochs(results) < before + 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        training.send_signal(how)
        said, _ = training.communicate(timeout=60)
        assert n_epochs(results) >= before + 2, said[-3000:]
        if how == signal.SIGINT:
            assert training.returncode == 130
            assert "Interrupted: the same command goes on" in said
            assert "Traceback" not in said
    done = n_epochs(results)
    said = run(TRAIN, tiny_recipes / "lmac_td.yaml", number_of_epochs=done + 1).stdout
    assert re.search(r"Resuming after epoch \d+ from ", said)
    epochs = [
        int(re.search(r"epoch: (\d+)", line)[1])
        for line in (results / "train_log.txt").read_text().splitlines()
    ]
    # An epoch may be logged and then lost before its checkpoint, never left out.
    assert sorted(set(epochs)) == list(range(1, max(epochs) + 1))


def n_epochs(results):
    log = results / "train_log.txt"
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_without_a_checkpoint_the_training_command_is_named(tiny_recipes):
    sentence = refused(EVALUATE, tiny_recipes / "lmac_td.yaml", alpha=0.5)
    assert "train_interpreter.py" in sentence
    assert "--alpha 0.5" in sentence


def test_without_an_argument_the_default_recipe_is_evaluated(tmp_path):
    done = run(EVALUATE, check=False, cwd=tmp_path)
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
        ({"nhead": 0}, "cannot be built"),
        ({"batch_size": 0}, "--batch_size"),
        ({"device": "cuda:99"}, "--device cpu"),
        ({"pretrained_classifier": "nowhere/at/all"}, "pretrained_classifier"),
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


@pytest.mark.parametrize("spoil", [corrupt, empty, silent, with_nan])
def test_a_bad_file_is_named_and_left_out_only_when_asked(tiny_recipes, corpus, spoil):
    folder = tiny_recipes / "spoilt"
    shutil.copytree(corpus / "ESC-50", folder)
    # Two clips of its class and split must be left without it: it is one of three.
    bad = sorted((folder / "audio").glob("1-*.wav"))[0]
    spoil(bad)
    settings = {"data_folder": folder, "number_of_epochs": 1}
    sentence = refused(CLASSIFIER, tiny_recipes / "cnn14.yaml", **settings)
    assert bad.name in sentence
    assert "skip_bad_files: True" in sentence
    assert not (tiny_recipes / "results").exists()
    done = run(CLASSIFIER, tiny_recipes / "cnn14.yaml", skip_bad_files=True, **settings)
    assert bad.name in done.stderr + done.stdout


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
    assert "embedding_model.ckpt" in sentence


def test_real_recordings(real_data, tiny_recipes):
    """One epoch of everything on real ESC-10 clips and ambient noise."""
    data_folder, wham_folder = real_data
    folds = {
        "train_fold_nums": "[1]",
        "valid_fold_nums": "[3]",
        "test_fold_nums": "[4]",
    }
    settings = {
        "data_folder": data_folder,
        "wham_folder": wham_folder,
        "signal_length_s": 5,
        "number_of_epochs": 1,
        **folds,
    }
    run(CLASSIFIER, tiny_recipes / "cnn14.yaml", **settings)
    run(TRAIN, tiny_recipes / "lmac_td.yaml", **settings)
    settings["condition"] = "in_domain"
    said = run(EVALUATE, tiny_recipes / "lmac_td.yaml", **settings).stdout
    assert said.count("\n| identity ") == 2
