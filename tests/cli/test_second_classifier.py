"""``--second_classifier`` of the evaluation command."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from lmac_td.experiment.fingerprint import fingerprint
from tests.commands import COMPARE, EVALUATE, refused, run

RESULTS = "results/lmac_td_alpha0.75"


@pytest.fixture
def other(trained):
    """The folder of another classifier: other weights, classes in another order."""
    first = trained / "results" / "cnn14" / "classifier"
    folder = shutil.copytree(first, trained / "other")
    names = json.loads((folder / "labels.json").read_text())
    (folder / "labels.json").write_text(json.dumps(names[::-1]))
    change_head(folder, lambda weights: weights.flip(0))
    return folder


def change_head(folder, function):
    """Change the weights of the linear head of a stored classifier."""
    path = folder / "model.safetensors"
    state = load_file(path)
    for key in state:
        if key.startswith("classifier."):
            state[key] = function(state[key]).contiguous()
    save_file(state, path)


def clips(folder):
    return pd.read_csv(folder / "clips.csv")


def test_a_folder_judges_the_explanations(trained, other):
    """Classes are found by name: the same classifier in another order agrees."""
    settings = {"condition": "in_domain"}
    run(EVALUATE, trained / "lmac_td.yaml", **settings)
    evaluation = trained / RESULTS / "evaluation_in_domain"
    before = clips(evaluation)
    page = (evaluation / "table.md").read_text()
    assert "second" not in page
    done = run(EVALUATE, trained / "lmac_td.yaml", second_classifier=other, **settings)
    assert "**Second classifier**" in done.stdout
    assert f"second_classifier: {{'{other}': '{fingerprint(other)}'}}" in done.stdout
    after = clips(evaluation)
    pd.testing.assert_frame_equal(after[before.columns], before)
    own = after[after["method"] == "lmac_td"]
    for ours, first in {
        "second (mixture)": "p_x",
        "second (kept)": "p_in",
        "second (removed)": "p_out",
        "second Fid-In": "Fid-In",
    }.items():
        np.testing.assert_allclose(own[ours], own[first], atol=2e-6)
    shown = run(COMPARE, evaluation, "--columns", "AI", "second (change)").stdout
    assert "second (change) ↑" in shown
    table = json.loads((evaluation / "table.json").read_text())
    assert table["settings"]["second_classifier"] == {str(other): fingerprint(other)}


def test_two_folders_give_the_mean(trained, other):
    settings = {"condition": "clean", "references": False, "n_samples": 0}
    first = trained / "results" / "cnn14" / "classifier"
    change_head(other, lambda weights: 2 * weights)
    kept = []
    for folders in (first, other, f"[{first}, {other}]"):
        run(EVALUATE, trained / "lmac_td.yaml", second_classifier=folders, **settings)
        scores = clips(trained / RESULTS / "evaluation_clean")
        kept.append(scores["second (kept)"].to_numpy())
    assert np.abs(kept[0] - kept[1]).max() > 1e-3
    np.testing.assert_allclose(kept[2], (kept[0] + kept[1]) / 2, atol=1e-6)


def test_a_recipe_builds_another_classifier(trained):
    recipe = trained / "judged.yaml"
    names = json.loads(
        (trained / "results" / "cnn14" / "classifier" / "labels.json").read_text()
    )
    recipe.write_text(
        f"extends: {trained / 'lmac_td.yaml'}\n"
        "second_classifier: !new:lmac_td.classifiers.modules.ModuleClassifier\n"
        "    network: !new:tests.networks.WaveformCnn\n"
        f"        n_classes: {len(names)}\n"
        "    sample_rate: !ref <sample_rate>\n"
        f"    labels: {json.dumps(names)}\n"
    )
    settings = {"condition": "clean", "references": False, "n_samples": 0}
    run(EVALUATE, recipe, **settings)
    folder = trained / RESULTS / "evaluation_clean"
    assert clips(folder)["second (kept)"].between(0, 1).all()
    (of_judge,) = json.loads((folder / "table.json").read_text())["settings"][
        "second_classifier"
    ].values()
    assert len(of_judge) == 16


@pytest.mark.parametrize("folder", ["nowhere/at/all", "other"])
def test_a_folder_without_a_classifier_is_refused(trained, folder):
    (trained / "other").mkdir()
    folder = trained / folder
    sentence = refused(EVALUATE, trained / "lmac_td.yaml", second_classifier=folder)
    assert "give second_classifier a folder that holds model.safetensors" in sentence
    assert str(folder) in sentence
    assert "pretrained_classifier" not in sentence
    assert not list((trained / RESULTS).glob("evaluation*"))


def test_a_second_classifier_of_other_classes_is_refused(trained, other):
    (other / "labels.json").unlink()
    sentence = refused(EVALUATE, trained / "lmac_td.yaml", second_classifier=other)
    assert "second_classifier: CNN14 has no class" in sentence


def test_a_second_classifier_that_was_trained_on_test_clips_is_refused(trained, other):
    settings = json.loads((other / "settings.json").read_text())
    path = other / "settings.json"
    path.write_text(json.dumps(settings | {"train_fold_nums": [5]}))
    sentence = refused(EVALUATE, trained / "lmac_td.yaml", second_classifier=other)
    assert "was trained on fold 5 of test_fold_nums" in sentence
    assert "another second_classifier" in sentence
    path.write_text(json.dumps(settings | {"train_fold_nums": [4]}))
    run(EVALUATE, trained / "lmac_td.yaml", second_classifier=other, condition="clean")
