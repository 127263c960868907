"""Trainings that are killed at random moments, by ``kill -9``, and started again."""

import random
import shutil
import time

import pytest

from lmac_td.training.checkpoints import list_checkpoints
from tests.commands import CLASSIFIER, TRAIN, TRAIN_NMF, run
from tests.forks import fork_command, killed_after, wait_for

pytestmark = pytest.mark.slow

KILLS = 3  # of each training
# Three epochs, each of three steps: ten clips, and the last batch is smaller.
SHORT = {"number_of_epochs": 3, "train_fold_nums": [1], "batch_size": 4}
# By tiny recipe: the command, what it builds on, and the settings of the test.
TRAININGS = {
    "cnn14": (CLASSIFIER, [], SHORT),
    "nmf": (TRAIN_NMF, [], {"n_iterations": 30}),
    "lmac_td": (TRAIN, ["cnn14"], SHORT),
    "lmac": (TRAIN, ["cnn14"], SHORT),
    "l2i": (TRAIN, ["cnn14", "nmf"], SHORT),
    "flint": (TRAIN, ["cnn14"], SHORT),
    "vibi": (TRAIN, ["cnn14"], SHORT),
    "budgeted": (
        TRAIN,
        ["cnn14"],
        {
            **SHORT,
            "number_of_epochs": 2,
            "repeats": 3,
            "valid_period": 2,
            "distil_w": 0.1,
        },
    ),
}


def outcome(folder):
    """All that a training leaves: weights, optimiser, generators, log, exports."""
    paths = [*folder.rglob("*.safetensors"), *folder.rglob("*.npy")]
    paths += folder.glob("train_log.txt")
    newest = list_checkpoints(folder / "save")[:1]
    for checkpoint in newest:
        paths += [checkpoint.path / f"{name}.ckpt" for name in checkpoint.paramfiles]
    assert paths
    return {
        str(path.relative_to(folder)).replace(name_of(newest), "newest"): path
        for path in paths
    }


def name_of(newest):
    return newest[0].path.name if newest else "none"


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("name", TRAININGS)
def test_killed_at_random_moments_it_gives_the_same_weights(
    tiny_recipes, with_trained, name, steps
):
    """With checkpoints after each epoch, and after each step."""
    script, needs, settings = TRAININGS[name]
    if name == "nmf" and steps:
        pytest.skip("it has no steps")
    folder = with_trained(*needs) if needs else tiny_recipes
    recipe = folder / f"{name}.yaml"
    settings = {**settings, "ckpt_interval_steps": steps, "interpret_period": 0}
    if script != TRAIN:
        del settings["interpret_period"]
    kill_and_compare(script, recipe, settings, folder, f"{name} {steps}")


@pytest.mark.parametrize("steps", [0, 1])
def test_a_killed_training_of_a_mask_estimator(enhancement_recipe, tmp_path, steps):
    settings = {"number_of_epochs": 3, "ckpt_interval_steps": steps}
    script = "recipes/SpeechEnhancement/train_enhancement.py"
    name = f"estimator {steps}"
    kill_and_compare(script, enhancement_recipe, settings, tmp_path, name)


def kill_and_compare(script, recipe, settings, folder, seed):
    """Kill a training at random moments, and compare it with one that was not."""
    whole, parts = folder / "whole", folder / "parts"
    begin = time.monotonic()
    assert wait_for(fork_command(script, recipe, output_folder=whole, **settings)) == 0
    lasted = time.monotonic() - begin

    draws, kills = random.Random(seed), 0
    while kills < KILLS:
        seconds = lasted * draws.uniform(0.1, 1)
        child = fork_command(script, recipe, output_folder=parts, **settings)
        was_killed = killed_after(seconds, child)
        kills += was_killed
        if not was_killed:
            compare_and_remove(parts, whole)
    run(script, recipe, output_folder=parts, **settings)
    compare_and_remove(parts, whole)


def compare_and_remove(parts, whole):
    """Compare a training that was killed with one that was not; then begin another."""
    found, expected = outcome(parts), outcome(whole)
    assert found.keys() == expected.keys()
    for name, path in found.items():
        assert path.read_bytes() == expected[name].read_bytes(), name
    assert not list(parts.glob("save/.*"))
    shutil.rmtree(parts)
