"""An output folder is self-contained, and a downloaded one runs no foreign code."""

import logging
import shutil

import pytest
import safetensors.torch
import torch

from lmac_td import AudioInterpreter
from lmac_td.errors import CheckpointError, SettingError
from lmac_td.experiment.build import typed_recipe
from lmac_td.experiment.shipped import HPARAMS
from lmac_td.inference import trained as opened
from lmac_td.inference.trust import require_own_objects
from lmac_td.training.checkpoints import find_best
from lmac_td.training.export_interpreter import INTERPRETER
from tests.commands import EVALUATE, run
from tests.networks import SAMPLE_RATE, noise

METHODS = ("lmac_td", "lmac", "l2i", "budgeted")


def moved_alone(folder, name, destination):
    """Move the output folder of a training, and delete all beside it."""
    (made,) = (p for p in (folder / "results").iterdir() if p.name.startswith(name))
    shutil.move(made, destination)
    shutil.rmtree(folder / "results")
    shutil.rmtree(destination / "save")
    return destination


@pytest.mark.parametrize("name", METHODS)
def test_a_training_writes_a_folder_that_can_be_moved(with_trained, tmp_path, name):
    recipes = with_trained(name)
    (made,) = (p for p in (recipes / "results").iterdir() if p.name.startswith(name))
    best = torch.load(find_best(made / "save").paramfiles["interpreter"])
    weights = safetensors.torch.load_file(made / INTERPRETER)
    assert weights.keys() == best.keys()
    assert all(torch.equal(weights[key], best[key]) for key in best)
    expected = AudioInterpreter.from_hparams(made, run_opts={"device": "cpu"})
    folder = moved_alone(recipes, name, tmp_path / "elsewhere")
    moved = AudioInterpreter.from_hparams(folder, run_opts={"device": "cpu"})
    assert moved.method == expected.method
    assert moved.labels == expected.labels
    wav = noise(1, SAMPLE_RATE + 4000)[0]
    before, after = (
        interpreter.interpret_file(wav, sample_rate=SAMPLE_RATE, shares=[0.3])
        for interpreter in (expected, moved)
    )
    assert before.describe() == after.describe()
    assert torch.equal(before.interpretation, after.interpretation)
    assert len(after.timeline) == 2


def test_the_model_card_holds_the_last_table_of_each_evaluation(with_trained):
    folder = with_trained("cnn14", "budgeted")
    made = folder / "results" / "budgeted"
    before = (made / "README.md").read_text("utf-8")
    assert "from_hparams" in before
    assert "python train_interpreter.py" in before
    for _ in range(2):
        run(EVALUATE, folder / "budgeted.yaml", condition="in_domain")
    card = (made / "README.md").read_text("utf-8")
    assert card.startswith(before.rstrip())
    assert card.count("## Measured: evaluation_in_domain") == 1
    assert "| loudness" in card


def test_a_training_that_was_stopped_is_opened_by_its_checkpoint(trained):
    (made,) = (trained / "results").glob("lmac_td*")
    (made / INTERPRETER).unlink()
    AudioInterpreter.from_hparams(made, run_opts={"device": "cpu"})


def test_settings_can_be_overridden(with_trained):
    folder = with_trained("cnn14", "budgeted") / "results" / "budgeted"
    interpreter = AudioInterpreter.from_hparams(
        folder, overrides="{keep: 0.25}", run_opts={"device": "cpu"}
    )
    assert interpreter.explainer.interpreter.keep == 0.25
    with pytest.raises(SettingError, match="no setting named 'kep'"):
        AudioInterpreter.from_hparams(folder, overrides={"kep": 0.25})


def test_what_is_not_the_folder_of_a_training_is_refused(tmp_path):
    for source, says in ((tmp_path, "has no recipe.yaml"), ("a/b/c", "does not exist")):
        with pytest.raises(CheckpointError, match=says):
            AudioInterpreter.from_hparams(source)
    with pytest.raises(SettingError, match="run_opts has 'jit'"):
        AudioInterpreter.from_hparams(tmp_path, run_opts={"jit": True})


@pytest.mark.parametrize("path", sorted(HPARAMS.glob("*.yaml")), ids=lambda p: p.stem)
@pytest.mark.parametrize("size", ["paper", "small", "demo"])
def test_the_recipes_of_this_package_are_safe(path, size):
    require_own_objects(typed_recipe(path, {"size": size}), "somebody/else")


@pytest.fixture
def on_the_hub(trained, monkeypatch):
    """A trained folder that looks as if it was downloaded."""
    (made,) = (trained / "results").glob("lmac_td*")
    monkeypatch.setattr(opened, "local_folder", lambda source, savedir: made)
    return made


def test_a_download_is_opened_as_weights_and_plain_settings(on_the_hub, caplog):
    with caplog.at_level(logging.WARNING):
        interpreter = AudioInterpreter.from_hparams(
            "somebody/else", run_opts={"device": "cpu"}
        )
    assert "no code of its own" in caplog.text
    assert interpreter.method.startswith("lmac_td")


@pytest.mark.parametrize(
    "line",
    [
        "evil: !apply:pathlib.Path.touch [!apply:pathlib.Path [evil]]",
        "seed: !apply:os.getpid []",
        "settings: !apply:os.getcwd []",
        "seed: !!python/object/apply:os.getpid []",
        "seed: !ref [!apply:os.getpid []]",
        "condition: [!!python/name:os.getpid '']",
    ],
)
def test_a_download_that_runs_code_is_refused_unless_it_is_trusted(
    on_the_hub, line, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = on_the_hub / "recipe.yaml"
    name = line.partition(":")[0]
    lines = path.read_text("utf-8").splitlines()
    start = next((i for i, old in enumerate(lines) if old.startswith(f"{name}:")), None)
    if start is not None:
        end = start + 1
        while end < len(lines) and lines[end].startswith((" ", "#")):
            end += 1
        lines[start:end] = []
    path.write_text("\n".join([line, *lines]), "utf-8")
    with pytest.raises(SettingError, match="trust"):
        AudioInterpreter.from_hparams("somebody/else", run_opts={"device": "cpu"})
    assert not list(tmp_path.glob("evil"))


def test_a_download_cannot_hide_its_code_in_another_file(on_the_hub, tmp_path):
    (on_the_hub / "more.json").write_text("seed: !apply:os.getpid []", "utf-8")
    path = on_the_hub / "recipe.yaml"
    lines = path.read_text("utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("seed:")]
    path.write_text("\n".join(["extends: more.json", *lines]), "utf-8")
    with pytest.raises(SettingError, match="trust"):
        AudioInterpreter.from_hparams("somebody/else", run_opts={"device": "cpu"})
