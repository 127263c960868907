"""docs/add_your_own.md, run as it is written, on synthetic sounds and narrow models."""

import csv
import json
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from lmac_td.experiment.recipe import compose
from tests.commands import refused, run
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "add_your_own.md").read_text()
FILES = dict(re.findall(r"`scratch/([\w.]+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"^    PYTHONPATH=scratch python (.*)$", PAGE, re.MULTILINE)


def write_sound(path, seconds, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    soundfile.write(path, rng.uniform(-0.5, 0.5, round(16000 * seconds)), 16000)


def write_files(scratch, replaced=()):
    """The page's files, and recordings where it says that they are."""
    scratch.mkdir(exist_ok=True)
    for name, text in FILES.items():
        for before, after in replaced:
            text = text.replace(before, str(after))
        (scratch / name).write_text(text)
    with open(scratch / "clips.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for seed, row in enumerate(rows):
        write_sound(scratch / row["path"], 0.4 + 0.2 * (seed % 5), seed)
    for seed in range(6):
        name = ("dog", "rain")[seed % 2]
        write_sound(scratch / "folders" / name / f"a_{1 + seed // 2}.wav", 0.7, seed)
    return scratch


@pytest.fixture
def scratch(tiny_recipes, monkeypatch):
    """The page's files, with the tiny recipes instead of the small ones."""
    monkeypatch.syspath_prepend(tiny_recipes / "scratch")
    for module in ("my_conditions", "my_sources", "my_network"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return write_files(
        tiny_recipes / "scratch",
        [
            ("../hparams/cnn14_small.yaml", tiny_recipes / "cnn14.yaml"),
            ("../hparams/lmac_td_small.yaml", tiny_recipes / "lmac_td.yaml"),
            ("../hparams/classifiers", ROOT / "hparams" / "classifiers"),
            ("results/my_classifier/1234", tiny_recipes / "results" / "my_classifier"),
            ("scratch/", f"{tiny_recipes}/scratch/"),
        ],
    )


def run_line(line, scratch):
    script, recipe, *rest = shlex.split(line)
    settings = dict(zip([r[2:] for r in rest[::2]], rest[1::2], strict=True))
    return run(script, scratch / recipe.removeprefix("scratch/"), **settings).stdout


def test_the_recipes_compose_beside_hparams(tmp_path):
    """As they stand there, with nothing replaced."""
    shutil.copytree(ROOT / "hparams", tmp_path / "hparams")
    scratch = write_files(tmp_path / "scratch")
    for name in ("my_classifier", "my_interpreter", "my_explanation", "my_folders"):
        recipe = compose(scratch / f"{name}.yaml")
        assert list(recipe["conditions"])[-2:] == ["clean", "hum"]
        assert recipe["training_condition"] == "hum"


@pytest.mark.slow
def test_the_page_as_written(scratch):
    results = scratch.parent / "results"
    classifier, training, evaluation, *own_network, other_clips = COMMANDS
    said = run_line(classifier, scratch)
    assert "| hum | 3 | 2 |" in said
    assert "| clean | 3 | 2 |" in said
    manifest = json.loads((results / "my_classifier/manifest/train.json").read_text())
    assert manifest["sounds-both_1"]["labels"] == ["dog", "rain"]
    assert manifest["sounds-dog_1"]["n_samples"] == 6400  # 0.4 s of a clip of 1 s

    run_line(training, scratch)
    said = run_line(evaluation, scratch)
    for condition in ("hum", "mixtures", "clean"):
        assert f"### {condition}\n" in said
    table = json.loads((results / "my_interpreter/evaluation/table.json").read_text())
    assert table["settings"]["snr_db"] == {"hum": 3, "mixtures": 5}
    assert table["settings"]["recipe"]["dataset"].endswith("clips.csv)")
    # What was trained on these folds of the table is not measured on them.
    recipe = scratch / "my_interpreter.yaml"
    said = refused("eval_faithfulness.py", recipe, condition="clean",
                   train_fold_nums="[2]", test_fold_nums="[1]")  # fmt: skip
    assert "fold" in said

    subprocess.run([sys.executable, scratch / "my_network.py"], check=True)
    for line in own_network:
        said = run_line(line, scratch)
    assert "| my_explanation " in said
    table = json.loads((results / "my_explanation/evaluation/table.json").read_text())
    assert table["settings"]["classifier"] == "MyNetwork"

    said = run_line(other_clips, scratch)
    assert "| my_interpreter " in said
    table = json.loads((results / "my_interpreter/evaluation/table.json").read_text())
    assert "my_sources.OneFolderAClass" in table["settings"]["recipe"]["dataset"]
    assert {row["n_clips"] for row in table["rows"]} == {2}


def test_mistakes_with_classes_of_ones_own(scratch):
    recipe = scratch / "my_classifier.yaml"
    text = recipe.read_text()
    choices = "--training_condition in_domain, clean or hum"
    hum, buzz = "!new:my_conditions.Hum", "!new:my_conditions.Buzz"
    for line, words in (
        ("training_condition: hmm", choices),
        ("training_condition: speech", choices),
        (f"conditions: {{hum: {buzz} {{snr_db: 3}}}}", "my_conditions.Buzz"),
        (f"conditions: {{hum: {hum} {{snr_db: loud}}}}", "snr_db is 'loud'"),
        ("conditions: {hum: 3}", "condition hum is 3: name a class"),
        ("dataset: !new:my_sources.NoClass {folder: x}", "my_sources.NoClass"),
        ("dataset: clips.csv", "dataset is 'clips.csv': name a class"),
        ("out_n_neurons: 3", "--out_n_neurons 2"),
    ):
        recipe.write_text(f"{text}{line}\n")
        said = refused("recipes/ESC50/train_classifier.py", recipe)
        assert words in said, said
    assert not (scratch.parent / "results").exists()
    interpreter = scratch / "my_interpreter.yaml"
    interpreter.write_text(f"{interpreter.read_text()}dataset: clips.csv\n")
    for script in ("train_interpreter.py", "eval_faithfulness.py"):
        assert "dataset is 'clips.csv': name" in refused(script, interpreter)
