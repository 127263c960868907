"""One tiny run of each command: what it prints and writes.

Trainings are those that the session shares; ``test_commands.py`` tests the rest,
``test_train_nmf.py`` the dictionary of L2I, and ``test_benchmark.py`` the benchmark.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.commands import (
    CLASSIFIER,
    COMPARE,
    EVALUATE,
    RANDOMISE,
    ROAR,
    TRAIN,
    run,
    run_as_a_user,
)
from tests.sanity.test_randomisation import ROWS


def check_the_classifier(printed, folder):
    assert "| in_domain | 5 | 10 |" in printed
    for name in ("model.safetensors", "labels.json", "README.md"):
        assert (folder / "classifier" / name).is_file()
    assert (folder / "confusion_clean.png").is_file()


def check_the_training(printed, folder):
    assert "eval_faithfulness.py" in printed
    assert len((folder / "train_log.txt").read_text().splitlines()) == 2
    assert list((folder / "samples" / "epoch_002").glob("*.wav"))


def check_the_evaluation(printed, folder):
    assert (folder / "table.md").read_text() in printed
    rows = ("lmac_td_alpha0.75", "identity", "zeros", "random mask", "half gain")
    for row in (*rows, "oracle"):
        # Means and intervals: faithfulness, the truth where it is known, equal size.
        assert printed.count(f"\n| {row} ") == 2 * 3 + 2 * 2
    table = json.loads((folder / "table.json").read_text())
    assert table["settings"]["checkpoint chosen on fold"] == [4]
    assert {row["n_clips"] for row in table["rows"]} == {10}
    assert len((folder / "clips.csv").read_text().splitlines()) == 1 + 2 * 6 * 10

    kept = sorted((folder / "samples" / "in_domain").glob("*_interpretation.wav"))
    assert len(kept) == 2
    for path in kept:
        stem = str(path).removesuffix("_interpretation.wav")
        sounds = [
            soundfile.read(f"{stem}_{name}.wav")[0]
            for name in ("input", "interpretation", "residual")
        ]
        error = sounds[0] - sounds[1] - sounds[2]
        assert 10 * np.log10(np.mean(sounds[0] ** 2) / np.mean(error**2)) > 30
        assert Path(f"{stem}.png").stat().st_size > 10_000


def test_a_classifier_and_an_interpreter_are_trained_and_measured(trained):
    results = trained / "results"
    printed = (trained / "printed" / "cnn14.txt").read_text()
    check_the_classifier(printed, results / "cnn14")
    printed = (trained / "printed" / "lmac_td.txt").read_text()
    folder = results / "lmac_td_alpha0.75"
    check_the_training(printed, folder)
    printed = run(EVALUATE, trained / "lmac_td.yaml").stdout
    check_the_evaluation(printed, folder / "evaluation")

    # With a second table, all rows are in one.
    chosen = {"methods": "[saliency]", "condition": "[in_domain, clean]"}
    few = {"n_samples": 1, "references": False}
    run(EVALUATE, trained / "baselines.yaml", **chosen, **few)
    folders = [folder / "evaluation", results / "baselines_stft" / "evaluation"]
    printed = run(COMPARE, *folders).stdout
    for row in ("lmac_td_alpha0.75", "saliency", "identity"):
        assert printed.count(f"\n| {row} ") == 3 + 2
    pair = ["--compare", "saliency", "lmac_td_alpha0.75"]
    printed = run(COMPARE, *folders, *pair).stdout
    assert "saliency − lmac_td_alpha0.75, clip by clip" in printed


@pytest.mark.slow
def test_the_main_job_from_a_shell(tiny_recipes):
    """Each command in a process of its own."""
    results = tiny_recipes / "results"
    printed = run_as_a_user(CLASSIFIER, tiny_recipes / "cnn14.yaml").stdout
    check_the_classifier(printed, results / "cnn14")
    printed = run_as_a_user(TRAIN, tiny_recipes / "lmac_td.yaml").stdout
    folder = results / "lmac_td_alpha0.75"
    check_the_training(printed, folder)
    printed = run_as_a_user(EVALUATE, tiny_recipes / "lmac_td.yaml").stdout
    check_the_evaluation(printed, folder / "evaluation")


def test_a_classifier_is_randomised(with_trained):
    trained = with_trained("lmac")
    printed = run(RANDOMISE, trained / "lmac.yaml", n_clips=2).stdout
    folder = trained / "results" / "lmac" / "sanity"
    assert (folder / "randomisation.md").read_text() in printed
    for method in ("lmac", "random mask", "half gain"):
        assert f"### {method}\n" in printed
    with open(folder / "randomisation.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * len(ROWS) * 2
    for name in ("randomisation.png", "randomisation_example.png"):
        assert (folder / name).stat().st_size > 10_000


def test_bins_are_removed_and_a_classifier_is_retrained(with_trained):
    trained = with_trained("cnn14")
    few = {"roar_levels": "[0.5]", "repeats": 1, "roar_epochs": 1}
    printed = run(ROAR, trained / "baselines.yaml", methods="[gradcam]", **few).stdout
    folder = trained / "results" / "baselines_stft" / "sanity"
    assert (folder / "roar.md").read_text() in printed
    assert "| gradcam " in printed
    assert (folder / "roar.png").stat().st_size > 10_000
    cells = json.loads((folder / "roar.json").read_text())["cells"]
    keys = [(c["ranking"], c["level"], c["repeat"]) for c in cells]
    assert keys == [
        ("nothing removed", 0.0, 0), ("gradcam", 0.5, 0), ("random", 0.5, 0),
        ("loudest first", 0.5, 0),
    ]  # fmt: skip
    assert {len(cell["hits"]) for cell in cells} == {10}
