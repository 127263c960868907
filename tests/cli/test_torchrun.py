"""The training commands as torchrun starts them: two processes on a CPU.

The launcher itself starts a training, a mistake and two trainings that are killed. The
others are forked with its variables, since importing torch takes seconds.
"""

import functools
import random
import re
import sys
import tempfile
import time
from glob import glob
from pathlib import Path

import psutil
import pytest
import torch

from lmac_td import locks
from lmac_td.training.checkpoints import list_checkpoints
from tests.cli.test_killed import compare_and_remove
from tests.commands import (
    CLASSIFIER,
    TRAIN,
    TRAIN_NMF,
    call,
    command,
    finished,
    kill_all,
    run,
    started,
    wait_until,
)
from tests.forks import TwoProcesses, launched, variables

pytestmark = pytest.mark.slow

ENHANCEMENT = "recipes/SpeechEnhancement/train_enhancement.py"
LAUNCH = [sys.executable, "-m", "torch.distributed.run"]
LAUNCH += ["--standalone", "--nproc_per_node=2"]
KILLS = 3  # of each training
ENDS_S = 240  # a launcher


def start(script, *arguments, **settings):
    """Start a command by torchrun -> the launcher."""
    line = command(script, *arguments, "--noprogressbar", **settings)
    return started([*LAUNCH, *line[1:]])


def by_torchrun(script, *arguments, check=True, **settings):
    """Run a command by torchrun -> its launcher's CompletedProcess."""
    done = finished(start(script, *arguments, **settings), ENDS_S)
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def refused(*arguments, **settings):
    """Run what both processes must refuse -> the one sentence."""
    done = launched(*arguments, check=False, **settings)
    assert done.returncode == 2, done.stderr[-3000:]
    return sentence_of(done)


def sentence_of(done):
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr[-3000:]
    ours = str(Path("lmac_td", "cli"))  # a traceback of the launcher names no command
    assert ours not in done.stderr, done.stderr[-3000:]
    return errors[0]


def test_forked_processes_have_the_variables_of_torchrun():
    done = finished(started([*LAUNCH, "--no-python", "env"]), ENDS_S)
    assert done.returncode == 0, done.stderr[-3000:]
    printed = [line.partition("=")[::2] for line in done.stdout.splitlines()]
    theirs = {name: [v for n, v in printed if n == name] for name, _ in printed}
    for name in ("RANK", "LOCAL_RANK", "ROLE_RANK"):
        assert sorted(theirs[name]) == ["0", "1"]
    for name, value in variables(1).items():
        assert len(theirs[name]) == 2, name
        if name not in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
            assert set(theirs[name]) == {value}, name


@pytest.mark.parametrize(
    ("name", "needs", "settings"),
    [
        ("lmac_td", ["cnn14"], {"use_tensorboard": True}),
        ("lmac", ["cnn14"], {"interpret_period": 1, "n_samples": 4}),
        ("l2i", ["cnn14", "nmf"], {"eval_batch_size": 32}),  # one batch for both
        ("flint", ["cnn14"], {"grad_accumulation_factor": 2}),
        ("vibi", ["cnn14"], {"ckpt_interval_steps": 1}),
        ("budgeted", ["cnn14"], {"repeats": 2, "distil_w": 0.1, "valid_period": 2}),
        ("lmac_finetune", ["cnn14", "lmac"], {}),
    ],
)
def test_every_method_is_trained(with_trained, name, needs, settings):
    folder = with_trained(*needs)
    made = folder / "made"
    epochs = 1 if name == "lmac_finetune" else 2
    settings = {"train_fold_nums": [1], **settings}
    done = launched(TRAIN, folder / f"{name}.yaml", output_folder=made, **settings)
    assert done.stdout.count(f"Trained: {made}") == 1
    lines = (made / "train_log.txt").read_text().splitlines()
    assert len(lines) == epochs
    for kept in ("recipe.yaml", "settings.json", "README.md", "manifest/train.json"):
        assert (made / kept).is_file()
    assert (made / "interpreter" / "model.safetensors").is_file()
    newest = list_checkpoints(made / "save")[0]
    assert newest.meta["epoch"] == epochs
    assert newest.meta["processes"] == 2
    assert not [path for path in made.rglob(".*") if path.name != ".training.lock"]
    if name == "lmac":
        sounds = (made / "samples" / "epoch_001").glob("*_input.wav")
        assert len(list(sounds)) == 4
    logs = list((made / "tensorboard").glob("events.*"))
    assert len(logs) == settings.get("use_tensorboard", 0)  # of one process


def test_a_classifier_is_trained_and_tested_once(tiny_recipes):
    made = tiny_recipes / "made"
    done = by_torchrun(CLASSIFIER, tiny_recipes / "cnn14.yaml", output_folder=made)
    assert done.stdout.count("Best epoch") == 1
    assert (made / "classifier" / "model.safetensors").is_file()
    assert len((made / "train_log.txt").read_text().splitlines()) == 2


def test_debug_keeps_nothing(with_trained, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    recipe = with_trained("cnn14") / "lmac.yaml"
    settings = {"precision": "bf16", "num_workers": 1, "ckpt_interval_steps": 1}
    done = launched(TRAIN, recipe, "--debug", **settings)
    assert done.stdout.count("Nothing was kept") == 1
    assert not (recipe.parent / "results" / "lmac").exists()
    assert not list(tmp_path.glob("*/recipe.yaml"))  # nor a temporary folder


def test_a_network_that_removes_noise_is_trained(enhancement_recipe, tmp_path):
    made = tmp_path / "made"
    done = launched(ENHANCEMENT, enhancement_recipe, output_folder=made)
    assert done.stdout.count("on the test split") == 1
    log = (made / "train_log.txt").read_text()
    assert len(re.findall(r"valid loss: \d", log)) == 2


def state_of(folder):
    newest = list_checkpoints(folder / "save")[0]
    return torch.load(newest.paramfiles["interpreter"], weights_only=True)


def test_two_batches_of_five_are_one_of_ten(with_trained):
    """The same clips get the same mixtures, and the loss is a mean over clips."""
    recipe = with_trained("cnn14") / "lmac.yaml"
    alone, both = recipe.parent / "alone", recipe.parent / "both"
    settings = {"number_of_epochs": 1, "interpret_period": 0}
    run(TRAIN, recipe, output_folder=alone, batch_size=10, **settings)
    launched(TRAIN, recipe, output_folder=both, batch_size=5, **settings)
    expected, found = state_of(alone), state_of(both)
    moved = 0.0
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=2e-5, rtol=1e-4)
    run(TRAIN, recipe, output_folder=recipe.parent / "start", lr=1e-12, **settings)
    for name, value in state_of(recipe.parent / "start").items():
        if value.is_floating_point() and value.numel():
            moved = max(moved, float((value - expected[name]).abs().max()))
    assert moved > 1e-3  # the comparison above means something


def killed_at(moment, rank, *arguments, **settings):
    """Kill one of two processes, unless both end before -> whether it was killed."""
    both = TwoProcesses(call, *arguments, "--noprogressbar", **settings)
    time.sleep(moment)
    was_killed = both.kill(rank) or both.kill(1 - rank)  # 1 may end before
    done = both.wait()
    assert "Traceback" not in done.stderr, done.stderr
    assert was_killed or done.returncode == 0, done.stderr
    return was_killed


@pytest.fixture(params=["cnn14", "lmac"])
def long_training(request, tiny_recipes, with_trained):
    """A name, the command and its recipe, settings, and a folder."""
    name = request.param
    folder = tiny_recipes if name == "cnn14" else with_trained("cnn14")
    script = CLASSIFIER if name == "cnn14" else TRAIN
    settings = {"number_of_epochs": 3, "train_fold_nums": [1], "batch_size": 2}
    if script == TRAIN:
        settings["interpret_period"] = 0
    return name, (script, folder / f"{name}.yaml"), settings, folder


@pytest.mark.parametrize("steps", [0, 1])
def test_one_process_is_killed_and_the_same_command_resumes(long_training, steps):
    """The weights are those of a whole training."""
    name, line, settings, folder = long_training
    settings["ckpt_interval_steps"] = steps
    whole, parts = folder / "whole", folder / "parts"
    begin = time.monotonic()
    launched(*line, output_folder=whole, **settings)
    lasted = time.monotonic() - begin
    draws, kills = random.Random(f"{name} {steps}"), 0
    while kills < KILLS:
        moment = lasted * draws.uniform(0.1, 1)
        was_killed = killed_at(
            moment, kills % 2, *line, output_folder=parts, **settings
        )
        kills += was_killed
        if not was_killed:
            compare_and_remove(parts, whole)
    launched(*line, output_folder=parts, **settings)
    compare_and_remove(parts, whole)


def rank_of(process):
    """The rank of a process that the launcher started, None of another one."""
    try:
        rank = process.environ().get("RANK")
    except psutil.Error:
        return None
    return None if rank is None else int(rank)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("long_training", "steps"), [("cnn14", 0), ("lmac", 1)], indirect=["long_training"]
)
def test_the_launcher_ends_the_other_process(long_training, steps):
    """A process is killed when the first checkpoint is there."""
    _, line, settings, folder = long_training
    settings["ckpt_interval_steps"] = steps
    whole, parts = folder / "whole", folder / "parts"
    launched(*line, output_folder=whole, **settings)
    launcher = start(*line, output_folder=parts, **settings)
    try:
        saved = functools.partial(glob, str(parts / "save" / "CKPT*"))
        wait_until(saved, f"a checkpoint in {parts}", ENDS_S)
        both = psutil.Process(launcher.pid).children()
        ranks = {rank_of(process): process for process in both}
        ranks[steps].kill()
    finally:
        done = finished(launcher, ENDS_S)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr.split("torch/distributed/elastic")[0]
    assert psutil.wait_procs(both, timeout=10)[1] == []
    launched(*line, output_folder=parts, **settings)
    compare_and_remove(parts, whole)


def test_a_mistake_is_said_once_and_ends_both(with_trained):
    folder = with_trained("cnn14")
    recipe, made = folder / "lmac.yaml", folder / "made"
    done = by_torchrun(TRAIN, recipe, check=False, output_folder=made, lr=-1)
    assert done.returncode != 0
    assert "lr is -1" in sentence_of(done)
    root_cause = done.stderr.rsplit("Root Cause", 1)[1]
    assert re.search(r"exitcode *: 2 ", root_cause), done.stderr[-3000:]
    told = refused(TRAIN, recipe, output_folder=made, wham_folder=folder / "no")
    assert "wham_folder" in told
    assert not made.exists()
    told = refused(TRAIN, recipe, output_folder=made, distributed_backend="nccl")
    assert "--distributed_backend gloo" in told
    assert "without torchrun" in refused(TRAIN_NMF, folder / "nmf.yaml")


FAILS_ALONE = """
import os
import torch
from lmac_td.data.conditions.base import Condition, Interference
from lmac_td.errors import DataError

class Alone(Condition):
    for_training = True

    def prepare(self, setup):
        return Fails()

class Fails(Interference):
    def draw(self, clip_id, generator=None):
        if os.environ["RANK"] == "1":
            raise DataError(f"{clip_id} is wrong: correct it")
        return torch.randn(16000, generator=generator)
"""


def test_a_mistake_that_one_process_sees_in_a_step(with_trained, monkeypatch):
    """The other one waits for its gradients."""
    folder = with_trained("cnn14")
    (folder / "alone.py").write_text(FAILS_ALONE)
    monkeypatch.syspath_prepend(folder)
    recipe = folder / "alone.yaml"
    recipe.write_text(
        "extends: lmac.yaml\nexperiment_name: alone\ntraining_condition: alone\n"
        "conditions:\n    alone: !new:alone.Alone {snr_db: 3}\n"
    )
    assert "is wrong: correct it" in refused(TRAIN, recipe)


def test_a_folder_in_which_another_training_writes(with_trained, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_S", 0.2)
    folder = with_trained("cnn14")
    made = folder / "made"
    made.mkdir()
    hold = "import sys, time; from lmac_td.locks import one_writer\n"
    hold += f"with one_writer({str(made)!r}, 'training'): print(1, flush=True); "
    hold += "time.sleep(200)"
    holder = started([sys.executable, "-c", hold])
    try:
        holder.stdout.readline()
        told = refused(TRAIN, folder / "lmac.yaml", output_folder=made)
    finally:
        kill_all(holder)
    assert "another training writes into" in told
    assert str(holder.pid) in told
