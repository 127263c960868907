"""SpeechBrain's run options do what they say, or are refused with one sentence."""

import json
import re

import pytest
import torch

from lmac_td.training.checkpoints import list_checkpoints
from tests.cli.test_torchrun import ENHANCEMENT
from tests.commands import CLASSIFIER, EVALUATE, TRAIN, TRAIN_NMF, refused, run

FEW = {"number_of_epochs": 3, "interpret_period": 0, "batch_size": 10}


@pytest.fixture
def recipe(with_trained):
    return with_trained("cnn14") / "lmac.yaml"


def contents(folder):
    """The files of a folder, without the log of this process."""
    files = {path for path in folder.rglob("*") if path.is_file()}
    return {path: path.read_bytes() for path in files - {folder / "log.txt"}}


@pytest.mark.slow
def test_debug_runs_a_few_batches_and_keeps_nothing(recipe):
    made = recipe.parent / "made"
    done = run(TRAIN, recipe, "--debug", output_folder=made, debug_batches=1)
    assert "at most 2 epochs of 1 batches. Nothing was kept." in done.stdout
    assert "Trained" not in done.stdout
    assert not made.exists()

    run(TRAIN, recipe, output_folder=made, **FEW)
    before = contents(made)
    run(TRAIN, recipe, "--debug", output_folder=made, save_folder=made / "save", **FEW)
    assert contents(made) == before

    budgeted = recipe.with_name("budgeted.yaml")
    done = run(TRAIN, budgeted, "--debug", debug_epochs=1, valid_period=2, repeats=2)
    assert "at most 1 epochs of 2 batches" in done.stdout
    assert not (recipe.parent / "results" / "budgeted").exists()


@pytest.mark.slow
def test_debug_of_a_classifier_and_of_a_mask_estimator(
    tiny_recipes, enhancement_recipe
):
    done = run(CLASSIFIER, tiny_recipes / "cnn14.yaml", "--debug")
    assert "Nothing was kept" in done.stdout
    assert "pretrained_classifier" not in done.stdout
    done = run(ENHANCEMENT, enhancement_recipe, "--debug")
    assert "Nothing was kept" in done.stdout
    assert not (tiny_recipes / "results").exists()


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, 3, 4])
def test_a_limit_of_steps_ends_a_training_for_good(recipe, steps):
    """It is validated and exported, and the same command adds nothing."""
    made = recipe.parent / "made"
    settings = {"output_folder": made, "optimizer_step_limit": steps, **FEW}
    settings["valid_period"] = 10
    run(TRAIN, recipe, **settings)
    newest = list_checkpoints(made / "save")[0]
    assert "loss" in newest.meta
    state = torch.load(newest.paramfiles["optimizer"], weights_only=True)["state"]
    assert {int(of["step"]) for of in state.values()} == {steps}
    log = (made / "train_log.txt").read_text()
    assert "Trained" in run(TRAIN, recipe, **settings).stdout
    assert (made / "train_log.txt").read_text() == log
    assert list_checkpoints(made / "save")[0].path == newest.path


@pytest.mark.slow
def test_a_profile_says_that_it_ends_the_training(recipe):
    made = recipe.parent / "made"
    settings = {"output_folder": made, **FEW}
    told = refused(TRAIN, recipe, "--profile_training", **settings)
    assert "takes 10 batches, but an epoch has 3" in told
    few = {"profile_warmup": 1, "profile_steps": 1}
    done = run(TRAIN, recipe, "--profile_training", **few, **settings)
    assert "Profiled 1 steps" in done.stdout
    assert "Trained" not in done.stdout
    (trace,) = (made / "profiler_logs").glob("*.json")
    assert json.loads(trace.read_text())["traceEvents"]
    assert "Trained" in run(TRAIN, recipe, **settings).stdout


@pytest.mark.slow
def test_a_log_of_ones_own(recipe):
    made, config = recipe.parent / "made", recipe.parent / "log.yaml"
    config.write_text("""
version: 1
disable_existing_loggers: False
formatters: {own: {format: "own %(message)s"}}
handlers:
    file_handler: {class: logging.FileHandler, formatter: own, filename: log.txt}
root: {level: INFO, handlers: [file_handler]}
""")
    run(TRAIN, recipe, output_folder=made, log_config=config, **FEW)
    assert re.search("^own epoch: 3", (made / "log.txt").read_text(), re.MULTILINE)
    config.write_text(config.read_text().replace("FileHandler", "NoHandler"))
    told = refused(TRAIN, recipe, output_folder=made, log_config=config, **FEW)
    assert f"log_config {config}" in told
    config.write_text("handlers: []")
    told = refused(TRAIN, recipe, output_folder=made, log_config=config, **FEW)
    assert "with a handler named file_handler" in told


@pytest.mark.slow
def test_gradients_of_all_groups_are_limited(recipe):
    """Vectors are a group of their own, and SpeechBrain limits the first group."""
    made = recipe.parent / "made"
    settings = {"output_folder": made, "max_grad_norm": 1e-9, "weight_decay": 0, **FEW}
    run(TRAIN, recipe, "--remove_vector_weight_decay", **settings)
    path = list_checkpoints(made / "save")[0].paramfiles["optimizer"]
    groups = torch.load(path, weights_only=True)
    assert [group["weight_decay"] for group in groups["param_groups"]] == [0, 0]
    squares = [of["exp_avg_sq"].abs().max() for of in groups["state"].values()]
    assert max(squares) <= 1e-18


@pytest.mark.slow
def test_what_a_command_does_not_use_is_refused(recipe):
    folder = recipe.parent
    for script, name, options, words in (
        (TRAIN_NMF, "nmf", {"precision": "bf16"}, "does not use precision"),
        (TRAIN_NMF, "nmf", {"debug": True}, "debug is for trials of a training"),
        (CLASSIFIER, "cnn14", {"compile": True}, "does not use compile"),
        (EVALUATE, "lmac", {"debug": True}, "debug is for trials of a training"),
        (TRAIN, "lmac", {"grad_accumulation_factor": 31}, "no step would be made"),
    ):
        made = folder / "made"
        told = refused(script, folder / f"{name}.yaml", output_folder=made, **options)
        assert words in told
        assert not list_checkpoints(made / "save")
