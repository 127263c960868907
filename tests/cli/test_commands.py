"""The commands of the README on tiny recipes: whole jobs, kills, all methods."""

import json
import re
import shutil
import signal
import subprocess
import time

import pytest
import safetensors.torch
import torch

from lmac_td.evaluation.invariants import InvariantError
from tests.commands import (
    CLASSIFIER,
    COMPARE,
    EVALUATE,
    TRAIN,
    TRAIN_NMF,
    command,
    refused,
    run,
)
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def test_every_method_by_the_same_two_commands(trained, with_trained):
    """L-MAC on STFT and mel, fine-tuned, and L2I; what each says of itself."""
    results = trained / "results"
    assert "train_nmf.py hparams/nmf" in refused(TRAIN, trained / "l2i.yaml")
    assert not (results / "l2i_att").exists()
    with_trained("nmf")
    assert "pretrained_interpreter" in refused(TRAIN, trained / "lmac_finetune.yaml")
    assert not (results / "lmac_finetune4").exists()
    with_trained("lmac")

    for recipe, method, settings, words in (
        ("lmac", "lmac", {}, "| lmac, as audio "),
        ("lmac", "lmac_mel", {"domain": "mel", "experiment_name": "lmac_mel"},
         "lmac_mel: it masks the classifier's mel bands and has no sound"),
        ("lmac_finetune", "lmac_finetune4", {}, "| lmac_finetune4, as audio "),
        ("l2i", "l2i_max", {"pooling": "max"}, "top-1"),
    ):  # fmt: skip
        if method != "lmac":
            run(TRAIN, trained / f"{recipe}.yaml", **settings)
        said = run(EVALUATE, trained / f"{recipe}.yaml", **settings).stdout
        assert said.count(f"| {method} ") >= 2 * 2, said
        assert words in said
        folder = results / method / "evaluation"
        assert (folder / "table.json").is_file()
        assert list((folder / "samples" / "clean").glob("*_interpretation.wav"))
    log = (results / "lmac_finetune4" / "train_log.txt").read_text()
    assert "train guided: " in log
    # What training does not read may be chosen anew.
    chosen = {"relevance_threshold": -0.5, "export_components": True}
    run(EVALUATE, trained / "l2i.yaml", pooling="max", **chosen)
    samples = results / "l2i_max" / "evaluation" / "samples"
    assert list(samples.rglob("*_component_*.wav"))

    runs = [f"{results}/{name}/evaluation" for name in
            ("lmac", "lmac_mel", "lmac_finetune4", "l2i_max")]  # fmt: skip
    said = run(COMPARE, *runs).stdout
    for row in ("lmac", "lmac, as audio", "lmac_mel", "l2i_max", "identity"):
        tables = 4 + 3 if row == "l2i_max" else 3 + 2  # the surrogate has one, too
        assert said.count(f"\n| {row} ") == tables
    pair = ["--compare", "lmac", "l2i_max"]
    said = run(COMPARE, *runs, *pair).stdout
    assert "lmac − l2i_max, clip by clip" in said


def test_what_a_model_was_built_on_cannot_change(with_trained):
    """A dictionary, an interpreter or a setting that differs now is named."""
    trained = with_trained("l2i", "lmac")
    results = trained / "results"
    run(TRAIN_NMF, trained / "nmf.yaml", seed=2, output_folder=results / "nmf")
    for script in (TRAIN, EVALUATE):
        sentence = refused(script, trained / "l2i.yaml")
        assert "nmf_dictionary was trained again" in sentence
    run(TRAIN, trained / "lmac_finetune.yaml")
    shutil.rmtree(results / "lmac")
    run(TRAIN, trained / "lmac.yaml", seed=2, output_folder=results / "lmac")
    sentence = refused(TRAIN, trained / "lmac_finetune.yaml", number_of_epochs=2)
    assert "pretrained_interpreter was trained again" in sentence
    sentence = refused(
        TRAIN,
        trained / "lmac_finetune.yaml",
        experiment_name="other",
        mask_domain="log1p",
    )
    assert "was trained with mask_domain 'magnitude'" in sentence


def test_the_whole_comparison(trained):
    """All conditions, two rows clip by clip, the papers' rows, metrics of Quantus."""
    recipe, results = trained / "lmac_td.yaml", trained / "results"
    options = "--compare lmac_td_alpha0.75 oracle --published --quantus Sparseness"
    said = run(
        EVALUATE,
        recipe,
        *options.split(),
        "RelevanceRankAccuracy",
        condition="all",
        eval_batch_size=5,
    ).stdout
    sections = [line[4:] for line in said.splitlines() if line.startswith("### ")]
    conditions = ["in_domain", "mixtures", "white_noise", "speech", "clean"]
    assert sections[:5] == conditions
    folder = results / "lmac_td_alpha0.75" / "evaluation"
    for name in ("table.md", "compare.md", "published.md", "quantus.md"):
        assert (folder / name).read_text() in said, name
    lines = (folder / "table.csv").read_text().splitlines()
    assert len(lines) == 1 + 5 * 6
    assert (folder / "quantus.csv").is_file()
    assert sorted(p.name for p in (folder / "samples").iterdir()) == sorted(conditions)
    assert "RelevanceRankAccuracy" in (folder / "quantus.md").read_text()
    assert "lmac_td_alpha0.75 − oracle" in (folder / "compare.md").read_text()
    # 10 classes are not ESC-50.
    assert "ESC-50" in (folder / "published.md").read_text()
    settings = json.loads((folder / "table.json").read_text())["settings"]
    assert settings["snr_db"] == {
        "in_domain": 0, "mixtures": 5, "white_noise": 3, "speech": 3,
    }  # fmt: skip

    run(EVALUATE, recipe, condition="speech", snr="published", references=False)
    alone = results / "lmac_td_alpha0.75" / "evaluation_speech"
    settings = json.loads((alone / "table.json").read_text())["settings"]
    assert settings["snr_db"]["speech"] == pytest.approx(12.04, abs=0.01)
    assert len((alone / "table.csv").read_text().splitlines()) == 2
    assert len((folder / "table.csv").read_text().splitlines()) == 1 + 5 * 6


def test_attributions_by_captum(trained):
    """Every baseline, in both domains, is measured as any other method."""
    recipe = trained / "baselines.yaml"
    said = run(EVALUATE, recipe, condition="in_domain").stdout
    for row in ("saliency", "smoothgrad", "integrated_gradients", "gradcam",
                "guided_gradcam", "guided_backprop", "gradient_shap",
                "deeplift_shap", "occlusion", "gradcam, as audio"):  # fmt: skip
        assert said.count(f"\n| {row} ") == 2 * 3, row
    folder = trained / "results" / "baselines_stft" / "evaluation_in_domain"
    figures = list((folder / "samples" / "in_domain" / "gradcam").glob("*.png"))
    assert len(figures) == 2 * 2  # spectrograms and a mask of each clip
    chosen = {"domain": "mel", "methods": "[gradcam]", "condition": "in_domain"}
    other = trained / "results" / "lmac_td_alpha0.75" / "evaluation_in_domain"
    run(EVALUATE, trained / "lmac_td.yaml", condition="in_domain")
    pair = ["--compare", "gradcam (mel)", str(other)]
    said = run(EVALUATE, recipe, *pair, references=False, **chosen).stdout
    assert "gradcam (mel) − lmac_td_alpha0.75, clip by clip" in said

    sentence = refused(TRAIN, recipe)
    assert "baselines*.yaml to eval_faithfulness.py alone" in sentence


def test_a_table_that_cannot_be_right_is_refused(trained, monkeypatch):
    """The row is named, and the table before stays as it is."""
    recipe = trained / "lmac_td.yaml"
    settings = {"condition": "clean", "n_samples": 1}
    run(EVALUATE, recipe, **settings)
    folder = trained / "results" / "lmac_td_alpha0.75"
    before = sorted(folder.rglob("*"))
    table = (folder / "evaluation_clean" / "table.json").read_text()
    monkeypatch.setattr(
        "lmac_td.metrics.confidence.average_gain", lambda p_x, *_: 100 + 0 * p_x[:, 0]
    )
    with pytest.raises(InvariantError, match=r"row 'lmac_td_alpha0\.75' of 'clean'"):
        run(EVALUATE, recipe, **settings)
    assert sorted(folder.rglob("*")) == before
    assert (folder / "evaluation_clean" / "table.json").read_text() == table


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


def test_the_number_of_workers_changes_nothing(tiny_recipes):
    """Neither the noise, nor the order, nor what training itself draws."""
    trained = []
    for num_workers in (0, 1):
        folder = tiny_recipes / f"{num_workers}_workers"
        settings = {"num_workers": num_workers, "output_folder": folder / "cnn14"}
        run(CLASSIFIER, tiny_recipes / "cnn14.yaml", **settings)
        settings |= {
            "output_folder": folder / "lmac",
            "pretrained_classifier": folder / "cnn14" / "classifier",
            "number_of_epochs": 1,
        }
        run(TRAIN, tiny_recipes / "lmac.yaml", **settings)
        checkpoint = next((folder / "lmac" / "save").glob("CKPT*/interpreter.ckpt"))
        weights = folder / "cnn14" / "classifier" / "model.safetensors"
        trained.append([safetensors.torch.load_file(weights), torch.load(checkpoint)])
    for first, second in zip(*trained, strict=True):
        assert list(first) == list(second)
        for name, value in first.items():
            assert torch.equal(value, second[name]), name


def test_killed_training_goes_on(with_trained):
    tiny_recipes = with_trained("cnn14")
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
            assert "Interrupted: the same command resumes" in said
            assert "Traceback" not in said
    done = n_epochs(results)
    said = run(TRAIN, tiny_recipes / "lmac_td.yaml", number_of_epochs=done + 1).stdout
    assert re.search(r"Resuming after epoch \d+ from ", said)
    epochs = [
        int(re.search(r"epoch: (\d+)", line)[1])
        for line in (results / "train_log.txt").read_text().splitlines()
    ]
    # Neither repeated, where it was logged and not saved, nor left out.
    assert epochs == list(range(1, max(epochs) + 1))


def n_epochs(results):
    log = results / "train_log.txt"
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_faster_or_with_less_memory(trained, monkeypatch):
    """Compiled, in bf16, with activations computed again; then on without any."""
    compiled, networks = torch.nn.Module.compile, []

    def trace_alone(self, **options):
        networks.append(type(self).__name__)
        compiled(self, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", trace_alone)
    monkeypatch.setattr("lmac_td.runtime.compilation.shutil.which", str)
    recipe, settings = trained / "lmac_td.yaml", {"alpha": 0.3}
    options = ["--compile", "--precision", "bf16", "--eval_precision", "bf16"]
    run(TRAIN, recipe, *options, checkpoint_activations=True, number_of_epochs=1,
        **settings)  # fmt: skip
    assert networks == ["Cnn14", "Linear", "AlignedUNet", "MaskNet"]
    (checkpoint,) = (trained / "results" / "lmac_td_alpha0.3" / "save").iterdir()
    weights = torch.load(checkpoint / "interpreter.ckpt")
    assert not any("_orig_mod" in key for key in weights)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    monkeypatch.undo()
    said = run(TRAIN, recipe, number_of_epochs=2, **settings).stdout
    assert "Resuming after epoch 1" in said
    # The training's own line evaluates, too: what it does not read is no mistake.
    run(EVALUATE, recipe, "--compile", "--precision", "bf16", condition="clean",
        checkpoint_activations=True, **settings)  # fmt: skip


def test_an_evaluation_in_bf16(trained):
    """Its means lie in the intervals of float32, and the table says what it is."""
    recipe, settings = trained / "lmac_td.yaml", {"condition": "in_domain"}
    folder = trained / "results" / "lmac_td_alpha0.75" / "evaluation_in_domain"
    tables = []
    for options in ([], ["--eval_precision", "bf16"], ["--eval_precision", "fp32"]):
        run(EVALUATE, recipe, *options, **settings)
        tables.append(json.loads((folder / "table.json").read_text()))
    single, half, again = tables
    assert single == again
    assert "eval_precision" not in single["settings"]
    assert half["settings"]["eval_precision"] == "bf16"
    assert single["rows"] != half["rows"]
    for row, rounded in zip(single["rows"], half["rows"], strict=True):
        for metric, exact in row["metrics"].items():
            low, high = exact["mean_interval"]
            mean = rounded["metrics"][metric]["mean"]
            where = row["method"], metric, mean, low, high
            assert (mean is None) == (low is None), where
            if mean is not None:
                assert low <= mean <= high, where


def test_real_recordings(real_data, real_speech, tiny_recipes):
    """One epoch of everything on seconds of ESC-10 clips, ambient noise and speech."""
    data_folder, wham_folder = real_data
    folds = {
        "train_fold_nums": "[1]",
        "valid_fold_nums": "[3]",
        "test_fold_nums": "[4]",
    }
    settings = {
        "data_folder": data_folder,
        "wham_folder": wham_folder,
        "skip_bad_files": True,  # some are silent in their first second
        "number_of_epochs": 1,
        **folds,
    }
    run(CLASSIFIER, tiny_recipes / "cnn14.yaml", **settings)
    run(TRAIN, tiny_recipes / "lmac_td.yaml", **settings)
    settings |= {"condition": "[in_domain, speech]", "ljspeech_folder": real_speech}
    said = run(EVALUATE, tiny_recipes / "lmac_td.yaml", **settings).stdout
    assert said.count("\n| identity ") == 2 * 2 * 3
