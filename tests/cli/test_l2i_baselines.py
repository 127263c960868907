"""FLINT, VIBI, SLIME and audioLIME by their recipes, as a user runs them."""

import csv

import pytest

from tests.commands import COMPARE, EVALUATE, TRAIN, refused, run

LIME = ["slime_time", "slime_frequency", "slime_time_frequency", "audiolime"]


@pytest.mark.slow
def test_all_baselines_are_in_one_table(with_trained):
    trained = with_trained("flint", "vibi")
    results = trained / "results"
    chosen = {"condition": "in_domain", "references": False}
    for name in ("flint", "vibi"):
        said = run(EVALUATE, trained / f"{name}.yaml", **chosen).stdout
        assert "**Fidelity of the surrogate**" in said
        assert "### in_domain: fidelity\n" in said
        assert (results / name / "evaluation_in_domain" / "method_table.json").is_file()
    settings = {"methods": f"[{','.join(LIME)}]", "experiment_name": "slime"}
    run(EVALUATE, trained / "perturbation.yaml", **settings, **chosen)
    folders = [
        results / name / "evaluation_in_domain" for name in ("flint", "vibi", "slime")
    ]
    table = results / "table.csv"
    said = run(COMPARE, *folders, "--csv", table).stdout
    own = said.split("| fidelity of the surrogate |")[1]
    with open(table, encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["flint", "vibi", *LIME]
    for name, row in rows.items():
        has_surrogate = name in ("flint", "vibi")
        assert (f"| {name} " in own) == has_surrogate
        assert bool(row["top-1 fidelity"]) == has_surrogate
        assert 0 <= float(row["Fid-In"]) <= 1


@pytest.mark.parametrize(
    ("recipe", "settings", "words"),
    [
        ("flint", {"output_w": -1}, "--output_w"),
        ("flint", {"n_attributes": 0}, "--n_attributes"),
        ("flint", {"task": "regression"}, "--task"),
        ("vibi", {"n_chunks": 0}, "--n_chunks"),
        ("vibi", {"temperature": 0}, "--temperature"),
        ("vibi", {"bottleneck_w": -1}, "--bottleneck_w"),
    ],
)
def test_a_setting_that_cannot_work(tiny_recipes, recipe, settings, words):
    assert words in refused(TRAIN, tiny_recipes / f"{recipe}.yaml", **settings)
    assert not (tiny_recipes / "results").exists()


def test_a_separator_that_is_missing(tiny_recipes):
    sentence = refused(
        EVALUATE,
        tiny_recipes / "perturbation.yaml",
        methods="[audiolime]",
        separator="no_such_folder",
    )
    assert "give --separator a folder" in sentence
    assert not (tiny_recipes / "results").exists()
