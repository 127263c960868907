"""Evidence by its recipe, as a user runs it; nothing is trained."""

import csv
import json

import pytest

from lmac_td.interpreters.baselines import reference_interpreters
from tests.commands import EVALUATE, RANDOMISE, TRAIN, refused, run

CONTROLS = ["loudness", "random field", "best of 6 random fields"]


@pytest.fixture
def recipe(with_trained):
    """The evidence of a trained tiny classifier, with few gradient passes."""
    folder = with_trained("cnn14")
    with open(folder / "evidence.yaml", "a", encoding="utf-8") as file:
        file.write("gains: [0.5, 1]\ndraws: 1\n")
    return folder / "evidence.yaml"


def evaluated(recipe, **settings):
    """Evaluate one condition; return the rows, the settings and what is printed."""
    settings = {"condition": "in_domain", **settings}
    said = run(EVALUATE, recipe, **settings).stdout
    (table,) = recipe.parent.rglob("table.csv")
    with open(table, encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    used = json.loads(table.with_suffix(".json").read_text())["settings"]
    return rows, used, said


def test_evidence_has_a_row_beside_its_controls_and_the_references(recipe, spectral):
    rows, settings, said = evaluated(recipe, size="small", data="demo")
    assert list(rows) == [
        "evidence_small",
        *CONTROLS,
        *reference_interpreters(spectral),
    ]
    remark = "keeps 0.5 of the amplitude, chosen among 6 candidates"
    assert settings["remarks"]["evidence_small"] == remark
    assert remark in said
    gain = {name: float(row["kept (dB)"]) for name, row in rows.items()}
    for name in ("evidence_small", *CONTROLS):
        assert -12 < gain[name] < 0
        assert float(rows[name]["completeness (dB)"]) >= 60


def test_every_share_has_a_row(recipe):
    rows, settings, _ = evaluated(
        recipe, keep="[0.25, 0.5]", kernels="[[80, 80]]", references=False
    )
    names = [
        f"{row} {share}"
        for row in ("evidence", "loudness", "random field")
        for share in (0.25, 0.5)
    ]
    assert list(rows) == names
    assert settings["recipe"]["keep"] == [0.25, 0.5]
    for name in ("evidence", "loudness", "random field"):
        less, more = (
            float(rows[f"{name} {share}"]["kept (dB)"]) for share in (0.25, 0.5)
        )
        assert less < more


def test_the_smallest_convincing_part(recipe):
    rows, settings, _ = evaluated(
        recipe, keep="smallest", tried="[0.2, 0.6]", controls=False, references=False
    )
    assert list(rows) == ["evidence"]
    remark = "keeps the smallest convincing part of the amplitude"
    assert settings["remarks"]["evidence"].startswith(remark)


def test_half_precision_does_not_change_evidence(recipe):
    settings = {"controls": False, "references": False}
    full, _, _ = evaluated(recipe, **settings)
    half, used, _ = evaluated(recipe, **settings, eval_precision="bf16")
    assert used["eval_precision"] == "bf16"
    assert half == full


@pytest.mark.slow
def test_a_randomised_classifier_changes_the_evidence(recipe):
    run(RANDOMISE, recipe, n_clips=3, controls=False, kernels="[[80, 80]]")
    (table,) = recipe.parent.rglob("randomisation.csv")
    with open(table, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rank = {
        stage: [
            float(row["rank correlation"])
            for row in rows
            if (row["method"], row["stage"]) == ("evidence", stage)
        ]
        for stage in ("intact", "logits", "conv_block1")
    }
    assert rank["intact"] == [1, 1, 1]
    assert max(map(abs, rank["logits"])) < 0.9
    assert max(map(abs, rank["conv_block1"])) < 0.2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"keep": 0}, "--keep"),
        ({"keep": 1.5}, "--keep"),
        ({"keep": "small"}, "smallest"),
        ({"keep": "[]"}, "--keep"),
        ({"keep": "[0.5, 2]"}, "--keep"),
        ({"keep_by": "bins"}, "--keep_by amplitude or energy"),
        ({"choose": "best"}, "--choose kept or kept_and_removed"),
        ({"kernels": "[[0, 3]]"}, "--kernels"),
        ({"kernels": "[[80]]"}, "--kernels"),
        ({"kernels": "[]"}, "--kernels"),
        ({"gains": "[]"}, "--gains"),
        ({"gains": "[0]"}, "--gains"),
        ({"draws": 0}, "--draws a whole number from 1"),
        ({"jitter": -1}, "--jitter a number from 0"),
        ({"passes_at_once": 0}, "--passes_at_once a whole number from 1"),
        ({"tried": "[]"}, "--tried"),
        ({"tried": "[0]"}, "--tried"),
        ({"controls": "perhaps"}, "--controls"),
    ],
)
def test_a_setting_that_cannot_work(tiny_recipes, settings, words):
    sentence = refused(EVALUATE, tiny_recipes / "evidence.yaml", **settings)
    assert words in sentence
    assert not (tiny_recipes / "results").exists()


def test_evidence_is_not_trained(tiny_recipes):
    sentence = refused(TRAIN, tiny_recipes / "evidence.yaml")
    assert "eval_faithfulness.py" in sentence
