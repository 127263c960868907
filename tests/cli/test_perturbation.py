"""Perturbation methods and mask optimisation by their recipes, as a user runs them."""

import csv
import json

import pytest

from lmac_td.interpreters.perturbation import METHODS
from tests.commands import EVALUATE, TRAIN, refused, run

OWN = """
import numpy as np
import torch


def scores(wavs):
    power = np.abs(np.fft.rfft(wavs)) ** 2
    low, high = np.array_split(power, 2, axis=1)
    return np.log(np.stack([low.sum(axis=1), high.sum(axis=1)], axis=1) + 1e-9)


def halves(wav):
    spectrum = torch.fft.rfft(wav)
    spectrum[len(spectrum) // 2 :] = 0
    low = torch.fft.irfft(spectrum, len(wav))
    return torch.stack([low, wav - low])
"""
BLACK_BOX = """
extends: perturbation.yaml
experiment_name: my_black_box
pretrained_classifier: null
classifier: !new:lmac_td.classifiers.black_box.BlackBoxClassifier
    function: !name:own_box.scores
    sample_rate: !ref <sample_rate>
    labels: [low, high]
"""
OWN_PARTS = """
segments: !new:lmac_td.interpreters.perturbation.Parts
    features: !ref <features>
    separate: !name:own_box.halves
methods: [feature_ablation]
"""


def evaluated(recipe, **settings):
    """Evaluate one condition; return the rows, the settings and what is printed."""
    settings = {"condition": "in_domain", "references": False, **settings}
    done = run(EVALUATE, recipe, **settings)
    (table,) = recipe.parent.rglob("table.csv")
    with open(table, encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    used = json.loads(table.with_suffix(".json").read_text())["settings"]
    return rows, used, done


@pytest.fixture
def black_box(tiny_recipes, monkeypatch):
    """A recipe of a classifier without gradients, and its module."""
    (tiny_recipes / "own_box.py").write_text(OWN)
    monkeypatch.syspath_prepend(tiny_recipes)
    recipe = tiny_recipes / "my_black_box.yaml"
    recipe.write_text(BLACK_BOX)
    return recipe


def test_a_black_box_is_explained_by_every_method(black_box):
    methods = f"[{', '.join(METHODS)}]"
    rows, used, done = evaluated(black_box, controls=True, methods=methods)
    assert list(rows) == [
        "feature_ablation", "loudness", "random field",
        "kernel_shap", "lime", "slime_time", "slime_frequency", "slime_time_frequency",
        "audiolime", "rise", "random_forest",
    ]  # fmt: skip
    assert used["remarks"]["lime"] == "keeps 0.5 of the amplitude"
    assert "they run the classifier again to choose" not in done.stdout
    for name in METHODS:
        assert float(rows[name]["completeness (dB)"]) >= 60
    # What is kept speaks for the decided half of the band.
    assert float(rows["feature_ablation"]["AI"]) > float(rows["random field"]["AI"])


def test_parts_of_ones_own_separation_are_removed(black_box):
    with open(black_box, "a", encoding="utf-8") as file:
        file.write(OWN_PARTS)
    rows, _, _ = evaluated(black_box)
    # One half is removed, the other one is kept: the decision is as sure as it can be.
    assert list(rows) == ["feature_ablation"]
    assert float(rows["feature_ablation"]["Fid-In"]) == 1


def test_every_share_has_a_row(with_trained):
    rows, _, _ = evaluated(
        with_trained("cnn14") / "perturbation.yaml",
        methods="[lime, rise]",
        keep="[0.25, 0.5]",
        segments="harmonic_percussive",
    )
    assert list(rows) == ["lime 0.25", "lime 0.5", "rise 0.25", "rise 0.5"]


def test_mask_optimisation_is_evaluated_and_named_as_a_search(with_trained):
    rows, used, done = evaluated(
        with_trained("cnn14") / "mask_optimisation.yaml",
        keep="[0.25, 0.5]",
        start="evidence",
    )
    assert list(rows) == ["mask_optimisation 0.25", "mask_optimisation 0.5"]
    assert used["asks_classifier"] == list(rows)
    assert "searched for by gradient steps" in used["remarks"]["mask_optimisation 0.5"]
    assert "they run the classifier again to choose what is kept" in done.stdout
    assert "steps" not in done.stderr  # no bar of steps where there is no terminal


@pytest.mark.parametrize(
    ("recipe", "settings", "words"),
    [
        ("perturbation", {"methods": "[]"}, "--methods"),
        ("perturbation", {"methods": "[shap]"}, "--methods"),
        ("perturbation", {"segments": "words"}, "--segments windows, bands, tiles"),
        ("perturbation", {"segment_ms": 0}, "--segment_ms"),
        ("perturbation", {"n_calls": 0}, "--n_calls"),
        ("perturbation", {"kept_share": 1}, "--kept_share"),
        ("perturbation", {"rise_grid": "[3]"}, "--rise_grid"),
        ("perturbation", {"replace_by": "music"}, "--replace_by silence or noise"),
        ("perturbation", {"keep": 0}, "--keep"),
        ("mask_optimisation", {"steps": 0}, "--steps"),
        ("mask_optimisation", {"shares": "[0]"}, "--shares"),
        ("mask_optimisation", {"grid": "[250]"}, "--grid"),
        ("mask_optimisation", {"context": "music"}, "--context"),
        ("mask_optimisation", {"level_db": -3}, "--level_db"),
        ("mask_optimisation", {"start": "random"}, "--start flat or evidence"),
    ],
)
def test_a_setting_that_cannot_work(tiny_recipes, recipe, settings, words):
    sentence = refused(EVALUATE, tiny_recipes / f"{recipe}.yaml", **settings)
    assert words in sentence
    assert not (tiny_recipes / "results").exists()


def test_too_few_calls_are_one_sentence(with_trained):
    folder = with_trained("cnn14")
    sentence = refused(
        EVALUATE, folder / "perturbation.yaml", methods="[kernel_shap]", n_calls=5
    )
    assert "give --n_calls 10 or more" in sentence
    assert not list(folder.rglob("table.csv"))


def test_a_black_box_has_no_masks_by_gradient(black_box):
    text = black_box.read_text().replace("perturbation.yaml", "mask_optimisation.yaml")
    black_box.write_text(text)
    assert "needs gradients" in refused(EVALUATE, black_box)


@pytest.mark.parametrize("recipe", ["perturbation", "mask_optimisation"])
def test_they_are_not_trained(tiny_recipes, recipe):
    sentence = refused(TRAIN, tiny_recipes / f"{recipe}.yaml")
    assert "eval_faithfulness.py" in sentence
