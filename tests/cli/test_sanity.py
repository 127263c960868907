"""The commands of the sanity checks, run as a user runs them."""

import csv
import json

import pytest
import torch

from lmac_td.sanity import roar
from tests.commands import RANDOMISE, ROAR, STABILITY, refused, run

FEW = {"roar_levels": "[0.5]", "repeats": 1, "roar_epochs": 1}


@pytest.fixture
def trained(with_trained):
    """Tiny recipes, the classifier and L-MAC trained; of baselines the quick ones."""
    folder = with_trained("lmac")
    with open(folder / "baselines.yaml", "a") as file:
        file.write("methods: [saliency, gradcam]\n")
    return folder


@pytest.mark.slow
def test_statistics_of_normalisation_may_be_fresh(trained):
    """What is randomised is measured with statistics of its own, or with new ones."""
    written = []
    for statistics in ("measured", "fresh"):
        settings = {"n_clips": 2, "norm_statistics": statistics}
        run(RANDOMISE, trained / "lmac.yaml", **settings)
        path = trained / "results" / "lmac" / "sanity" / "randomisation.csv"
        written.append(path.read_bytes())
    assert written[0] != written[1]


@pytest.mark.slow
def test_randomise_what_needs_no_training(trained):
    """Attributions ask the classifier that decided: randomising reaches them."""
    settings = {"n_clips": 2, "sanity_condition": "clean"}
    run(RANDOMISE, trained / "baselines.yaml", **settings)
    folder = trained / "results" / "baselines_stft" / "sanity"
    with open(folder / "randomisation.csv", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["method"] == "saliency"]
    rank = {
        row["stage"]: float(row["rank correlation"])
        for row in rows
        if row["clip_id"] == rows[0]["clip_id"]
    }
    assert rank["intact"] == 1
    assert rank["conv_block1"] < 0.9


@pytest.mark.slow
def test_stability_of_several_recipes_in_one_command(trained):
    """Each recipe takes the settings that it has, and its own weights."""
    recipes = trained / "lmac.yaml", trained / "baselines.yaml"
    settings = {
        "n_clips": 2,
        "stability_levels": "[-40, 0]",
        "methods": "[saliency]",
        "output_folder": trained / "results" / "lmac",
    }
    said = run(STABILITY, *recipes, **settings).stdout
    folder = trained / "results" / "lmac" / "sanity"
    assert (folder / "stability.md").read_text() in said
    for name in ("stability.png", "stability_example.png"):
        assert (folder / name).stat().st_size > 10_000
    with open(folder / "stability.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    stages = ["-40 dB", "0 dB", "another clip's", "a random mask"]
    assert {r["stage"] for r in rows} == set(stages)
    assert list(dict.fromkeys(r["method"] for r in rows)) == [
        "lmac", "saliency", "identity",
    ]  # fmt: skip
    assert not (trained / "results" / "baselines_stft").exists()
    saliency = [r for r in rows if r["method"] == "saliency" and r["stage"] == "0 dB"]
    if all(r["decision unchanged"] == "1.0" for r in saliency):
        assert all(0 < float(r["rank correlation"]) < 1 for r in saliency)


@pytest.mark.slow
def test_randomise_several_recipes_in_one_command(trained):
    recipes = trained / "lmac.yaml", trained / "baselines.yaml"
    said = run(RANDOMISE, *recipes, n_clips=2, methods="[gradcam]").stdout
    for name in ("lmac", "gradcam", "random mask", "half gain"):
        assert f"### {name}\n" in said
    alone = run(RANDOMISE, recipes[0], n_clips=2).stdout

    def section(text):
        return text[text.index("### lmac\n") :].split("\n### ")[0]

    assert section(said) == section(alone)


@pytest.mark.parametrize("script", [RANDOMISE, STABILITY])
def test_recipes_that_do_not_belong_together_are_refused(trained, script):
    lmac, baselines = trained / "lmac.yaml", trained / "baselines.yaml"
    said = refused(script, lmac, baselines, learning_rate=1)
    assert "no setting named 'learning_rate'" in said
    assert "is named lmac, as one of another" in refused(script, lmac, lmac)
    with open(baselines, "a", encoding="utf-8") as file:
        file.write("wham_snr_db: 7\n")
    said = refused(script, lmac, baselines)
    assert "wham_snr_db is 0" in said
    assert "--wham_snr_db" in said


@pytest.mark.slow
def test_remove_and_retrain_goes_on_where_it_stopped(trained):
    recipe = trained / "lmac.yaml"
    said = run(ROAR, recipe, **FEW).stdout
    folder = trained / "results" / "lmac" / "sanity"
    assert (folder / "roar.md").read_text() in said
    assert (folder / "roar.png").stat().st_size > 10_000
    cells = json.loads((folder / "roar.json").read_text())["cells"]
    keys = [(c["ranking"], c["level"], c["repeat"]) for c in cells]
    assert keys == [
        ("nothing removed", 0.0, 0), ("lmac", 0.5, 0), ("random", 0.5, 0),
        ("loudest first", 0.5, 0),
    ]  # fmt: skip
    assert {len(cell["hits"]) for cell in cells} == {10}

    run(ROAR, recipe, **FEW | {"roar_levels": "[0.2, 0.5]", "num_workers": 0})
    more = json.loads((folder / "roar.json").read_text())["cells"]
    assert more[: len(cells)] == cells
    assert [c["level"] for c in more[len(cells) :]] == [0.2] * 3
    with open(folder / "roar.csv", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 3 * 3

    kept = (folder / "roar.json").read_bytes()
    said = refused(ROAR, recipe, **FEW | {"roar_epochs": 2})
    assert "was made with roar_epochs 1, not 2" in said
    assert (folder / "roar.json").read_bytes() == kept

    # A cell does not depend on which others were computed beside it.
    (folder / "roar.json").unlink()
    run(ROAR, recipe, **FEW | {"roar_levels": "[0.2]"})
    alone = json.loads((folder / "roar.json").read_text())["cells"]
    assert all(cell in more for cell in alone)


@pytest.mark.slow
def test_remove_and_retrain_what_needs_no_training(trained):
    settings = FEW | {"roar_fill": "mean", "methods": "[gradcam]"}
    said = run(ROAR, trained / "baselines.yaml", **settings).stdout
    assert "| gradcam " in said
    assert "saliency" not in said
    run(ROAR, trained / "baselines.yaml", **settings | {"methods": "[saliency]"})
    path = trained / "results" / "baselines_stft" / "sanity" / "roar.json"
    cells = json.loads(path.read_text())["cells"]
    assert [c["ranking"] for c in cells] == [
        "nothing removed", "gradcam", "random", "loudest first", "saliency",
    ]  # fmt: skip


def test_every_cell_is_of_its_own_clips(trained, monkeypatch):
    """What is trained and tested on; with all bins removed it is what fills them."""
    seen = []

    def retrain(frozen, train, valid, **settings):
        seen.append([train, valid])
        return frozen

    def recognised_clips(model, test):
        seen[-1].append(test)
        return torch.ones_like(test.label, dtype=torch.bool)

    monkeypatch.setattr(roar, "retrain", retrain)
    monkeypatch.setattr(roar, "recognised_clips", recognised_clips)

    def cells(fill):
        seen.clear()
        folder = trained / fill
        settings = FEW | {"roar_levels": "[0.5, 1.0]", "methods": "[gradcam]"}
        chosen = {"output_folder": folder, "roar_fill": fill}
        run(ROAR, trained / "baselines.yaml", **settings, **chosen)
        path = folder / "sanity" / "roar.json"
        keys = [
            (c["ranking"], c["level"]) for c in json.loads(path.read_text())["cells"]
        ]
        return {
            key: [clips.inputs for clips in splits]
            for key, splits in zip(keys, seen, strict=True)
        }

    zero, mean = cells("zero"), cells("mean")
    whole = zero["nothing removed", 0.0]
    assert len({inputs.sum().item() for inputs in whole}) == 3
    for place, inputs in enumerate(whole):
        assert torch.equal(mean["nothing removed", 0.0][place], inputs)
        half = [
            zero[name, 0.5][place] for name in ("gradcam", "random", "loudest first")
        ]
        assert len({x.sum().item() for x in half}) == 3
        for x in half:
            assert (x <= inputs).all()
            assert 0 < x.sum() < inputs.sum()
        assert half[2].sum() < min(x.sum() for x in half[:2])
        for name in ("gradcam", "random", "loudest first"):
            assert not zero[name, 1.0][place].any()
            filled = mean[name, 1.0][place]
            assert torch.equal(filled, filled[:1, :1].expand_as(filled))
            assert (filled > 0).all()


@pytest.mark.parametrize(
    ("script", "settings", "words"),
    [
        (RANDOMISE, {"n_clips": 1}, "--n_clips"),
        (RANDOMISE, {"n_clips": 2.5}, "whole number"),
        (RANDOMISE, {"norm_statistics": "none"}, "measured or fresh"),
        (RANDOMISE, {"randomisation_seed": -1}, "randomisation_seed"),
        (RANDOMISE, {"sanity_condition": "speech"}, "in_domain or clean"),
        (RANDOMISE, {"n_clip": 3}, "no setting named 'n_clip'"),
        (STABILITY, {"n_clips": 1}, "--n_clips"),
        (STABILITY, {"stability_levels": "[0, -10]"}, "ascending"),
        (STABILITY, {"stability_levels": "[6]"}, "from -100 to 0"),
        (ROAR, {"roar_levels": "[1.5]"}, "roar_levels is '[1.5]'"),
        (ROAR, {"roar_levels": "half"}, "a list of numbers above 0 to 1"),
        (ROAR, {"roar_levels": "[0.5, 0.1]"}, "ascending"),
        (ROAR, {"repeats": 0}, "--repeats"),
        (ROAR, {"roar_fill": "noise"}, "zero or mean"),
        (ROAR, {"roar_lr": "fast"}, "--roar_lr"),
    ],
)
def test_mistakes_are_refused(tiny_recipes, script, settings, words):
    assert words in refused(script, tiny_recipes / "lmac.yaml", **settings)
    assert not (tiny_recipes / "results").exists()


@pytest.mark.parametrize("script", [RANDOMISE, ROAR, STABILITY])
def test_a_method_that_cannot_explain_the_classifier_is_refused(trained, script):
    settings = {"methods": "[gradcam]", "gradcam_layer": "fc"}
    said = refused(script, trained / "baselines.yaml", **settings)
    assert "--gradcam_layer one of conv_block6" in said


def test_other_recipes_and_untrained_ones_are_refused(tiny_recipes):
    for script in (RANDOMISE, ROAR, STABILITY):
        assert "another command" in refused(script, tiny_recipes / "cnn14.yaml")
        said = refused(script, tiny_recipes / "lmac.yaml")
        assert "train_interpreter.py" in said
        assert "name a recipe first" in refused(script)
    assert not (tiny_recipes / "results").exists()
