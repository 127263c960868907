"""docs/add_data_set.md, run as it is written, on synthetic sounds and narrow models."""

import csv
import json
import re
import shlex
import sys

import numpy as np
import pytest
import soundfile

from tests.commands import refused, run
from tests.pages import ROOT, write_clone

PAGE = ROOT / "docs" / "add_data_set.md"
COMMANDS = re.findall(
    r"^    PYTHONPATH=scratch python (.*)$", PAGE.read_text(), re.MULTILINE
)


def write_sound(path, seconds, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    soundfile.write(path, rng.uniform(-0.5, 0.5, round(16000 * seconds)), 16000)


@pytest.fixture
def scratch(tiny_recipes, monkeypatch):
    """The page's files and recordings, with the tiny recipes in place of the small."""
    folder = tiny_recipes / "scratch"
    monkeypatch.syspath_prepend(folder)
    for module in ("my_conditions", "my_sources"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    write_clone(
        PAGE,
        tiny_recipes,
        [
            ("size: small\n", ""),
            ("../hparams/cnn14.yaml", tiny_recipes / "cnn14.yaml"),
            ("../hparams/lmac_td.yaml", tiny_recipes / "lmac_td.yaml"),
            ("results/my_classifier/1234", tiny_recipes / "results" / "my_classifier"),
            ("scratch/", f"{folder}/"),
        ],
    )
    with open(folder / "clips.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for seed, row in enumerate(rows):
        write_sound(folder / row["path"], 0.4 + 0.2 * (seed % 5), seed)
    for seed in range(6):
        name = ("dog", "rain")[seed % 2]
        write_sound(folder / "folders" / name / f"a_{1 + seed // 2}.wav", 0.7, seed)
    return folder


def run_line(line, scratch):
    script, recipe, *rest = shlex.split(line)
    settings = dict(zip([r[2:] for r in rest[::2]], rest[1::2], strict=True))
    return run(script, scratch / recipe.removeprefix("scratch/"), **settings).stdout


@pytest.mark.slow
def test_the_page_as_written(scratch):
    results = scratch.parent / "results"
    classifier, training, evaluation, other_clips = COMMANDS
    said = run_line(classifier, scratch)
    assert "| white_noise | 3 | 2 |" in said
    assert "| clean | 3 | 2 |" in said
    manifest = json.loads((results / "my_classifier/manifest/train.json").read_text())
    assert manifest["sounds-both_1"]["labels"] == ["dog", "rain"]
    assert manifest["sounds-dog_1"]["n_samples"] == 6400  # 0.4 s of a clip of 1 s

    run_line(training, scratch)
    said = run_line(evaluation, scratch)
    for condition in ("white_noise", "mixtures", "clean"):
        assert f"### {condition}\n" in said
    table = json.loads((results / "my_interpreter/evaluation/table.json").read_text())
    assert table["settings"]["snr_db"] == {"white_noise": 3, "mixtures": 5}
    assert table["settings"]["recipe"]["dataset"].endswith("clips.csv)")
    # What was trained on these folds of the table is not measured on them.
    recipe = scratch / "my_interpreter.yaml"
    said = refused("eval_faithfulness.py", recipe, condition="clean",
                   train_fold_nums="[2]", test_fold_nums="[1]")  # fmt: skip
    assert "fold" in said

    said = run_line(other_clips, scratch)
    assert "| my_interpreter " in said
    table = json.loads((results / "my_interpreter/evaluation/table.json").read_text())
    assert "my_sources.OneFolderAClass" in table["settings"]["recipe"]["dataset"]
    assert {row["n_clips"] for row in table["rows"]} == {2}


@pytest.mark.slow
def test_mistakes_with_a_data_set_of_ones_own(scratch):
    recipe = scratch / "my_classifier.yaml"
    text = recipe.read_text()
    for line, words in (
        ("dataset: !new:my_sources.NoClass {folder: x}", "my_sources.NoClass"),
        ("dataset: clips.csv", "dataset is 'clips.csv': name an object"),
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
