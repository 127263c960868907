"""The line of the evaluation command, apart from a run of it."""

import os
import shutil

import pandas as pd

from lmac_td.cli.evaluate import read_options
from lmac_td.cli.evaluation import DEFAULT_RECIPE, searches_of
from lmac_td.interpreters.base import Interpreter
from lmac_td.report.runs import ASKING, CONTROLS
from tests.commands import EVALUATE, refused, run
from tests.searching import BestHalf, LowerHalf


def test_options_are_read_and_the_rest_is_the_recipes():
    line = ["r.yaml", "--alpha", "0.5", "--compare", "a", "b: c", "--published"]
    options, rest, _ = read_options([*line, "--quantus", "Sparseness", "ROAD"])
    assert rest == ["r.yaml", "--alpha", "0.5"]
    assert options.compare == ["a", "b: c"]
    assert options.published
    assert options.quantus == ["Sparseness", "ROAD"]


def test_without_a_recipe_the_default_one_is_scored():
    for line in ([], ["--alpha", "0.5"]):
        _, rest, _ = read_options(line)
        assert rest == [os.path.relpath(DEFAULT_RECIPE), *line]


def test_help_lists_the_options():
    _, rest, usage = read_options(["r.yaml", "--help"])
    assert rest == ["r.yaml", "--help"]
    for words in (
        "--compare ROW ROW",
        "--published",
        "--quantus METRIC",
        "Score inter",
    ):
        assert words in usage


def test_methods_that_ask_the_classifier_are_named_below_the_table(trained):
    recipe = trained / "search.yaml"
    recipe.write_text(
        f"extends: {trained / 'baselines.yaml'}\n"
        "interpreters:\n"
        "    best_half: !new:tests.searching.BestHalf {features: !ref <features>}\n"
        "    lower_half: !new:tests.searching.LowerHalf {features: !ref <features>}\n"
    )
    folder = trained / "searched"
    settings = {"condition": "clean", "references": False, "output_folder": folder}
    sizes = "[energy, amplitude]"
    done = run(EVALUATE, recipe, equal_size_by=sizes, n_samples=0, **settings)
    folder = folder / "evaluation_clean"
    (line,) = [li for li in done.stdout.splitlines() if "raises AI" in li]
    assert line.startswith("best_half: it runs the classifier again to choose")
    assert line.endswith("the controls: lower_half.")
    assert line in (folder / "table.md").read_text()
    scores = pd.read_csv(folder / "clips.csv")
    for name in ("insertion", "deletion"):
        assert scores[f"{name} (amplitude)"].between(0, 1).all()
        assert not scores[f"{name} (amplitude)"].equals(scores[name])


def test_a_table_without_such_methods_says_nothing_of_them(spectral):
    plain = {"plain": Interpreter(spectral)}
    assert searches_of(plain) == {}
    assert searches_of(plain | {"s": BestHalf(spectral)}) == {ASKING: ["s"]}
    assert searches_of(plain | {"c": LowerHalf(spectral)}) == {CONTROLS: ["c"]}


def test_the_weights_beside_a_recipe_are_scored(with_trained, tmp_path):
    """As a folder without its checkpoints is, which was copied or downloaded."""
    recipes = with_trained("cnn14", "lmac_td")
    (made,) = (recipes / "results").glob("lmac_td*")
    settings = {"condition": "clean", "n_samples": 0, "references": False}
    run(EVALUATE, recipes / "lmac_td.yaml", **settings)
    copied = shutil.copytree(
        made, tmp_path / "copied", ignore=shutil.ignore_patterns("save", "evaluation*")
    )
    elsewhere = tmp_path / "elsewhere"
    run(EVALUATE, copied / "recipe.yaml", output_folder=elsewhere, **settings)
    scores = [
        pd.read_csv(folder / "evaluation_clean" / "clips.csv")
        for folder in (made, elsewhere)
    ]
    pd.testing.assert_frame_equal(*scores)

    (copied / "interpreter" / "model.safetensors").write_bytes(b"no weights")
    said = refused(EVALUATE, copied / "recipe.yaml", output_folder=elsewhere)
    assert "model.safetensors is corrupt" in said
