"""The line of the evaluation command, apart from a run of it."""

import os

from lmac_td.cli.evaluate import DEFAULT_RECIPE, read_options, searches_of
from lmac_td.interpreters.base import Interpreter
from lmac_td.report.runs import ASKING, CONTROLS


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


def test_methods_that_ask_the_classifier_and_controls_are_noted(spectral):
    class Search(Interpreter):
        asks_classifier = True

    class RandomSearch(Search):
        is_control = True

    plain = {"plain": Interpreter(spectral)}
    assert searches_of(plain) == {}
    assert searches_of(plain | {"search": Search(spectral)}) == {ASKING: ["search"]}
    methods = {"search": Search(spectral), "random": RandomSearch(spectral)}
    found = {ASKING: ["search", "random"], CONTROLS: ["random"]}
    assert searches_of(plain | methods) == found
