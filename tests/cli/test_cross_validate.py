"""A cross-validation: its splits, its commands, its tables, and the real commands."""

import itertools
import json
import statistics

import pandas as pd
import pytest

from lmac_td.benchmark.folds import (
    COLUMNS,
    folds_to_markdown,
    plan_folds,
    pooled_table,
    splits_of,
)
from lmac_td.cli.cross_validate import main
from lmac_td.errors import SettingError
from lmac_td.report.runs import read_run
from tests.report.test_runs import write_run
from tests.urban_corpora import write_urbansound8k

URBAN = {"data": "urbansound8k", "size": "small"}


def test_each_fold_is_tested_once_and_never_trains_what_it_tests():
    splits = splits_of(range(1, 11))
    assert [split["test_fold_nums"] for split in splits] == [[f] for f in range(1, 11)]
    assert splits[0]["valid_fold_nums"] == [10]
    assert splits[4]["valid_fold_nums"] == [4]
    for split in splits:
        assert sorted(itertools.chain(*split.values())) == list(range(1, 11))
        assert len(split["train_fold_nums"]) == 8


def argument(step, name):
    return step.arguments[step.arguments.index(f"--{name}") + 1]


def test_each_fold_explains_its_own_classifier_in_its_own_dictionary():
    folds = {
        "train_fold_nums": "[1]",
        "valid_fold_nums": "[2]",
        "test_fold_nums": "[3]",
    }
    steps = plan_folds("hparams/l2i.yaml", URBAN | folds | {"seed": "2"})
    assert len(steps) == 12
    for fold in (1, 2, 3):
        own = steps[4 * (fold - 1) : 4 * fold]
        classifier, dictionary, training, evaluation = own
        assert {argument(step, "test_fold_nums") for step in own} == {f"[{fold}]"}
        folder = f"results/UrbanSound8K/fold{fold}"
        for step in own:
            assert str(step.makes).startswith(f"{folder}/")
        for step in (training, evaluation):
            assert argument(step, "pretrained_classifier") == str(classifier.makes)
            assert argument(step, "nmf_dictionary") == str(dictionary.makes)
        assert {step.name for step in training.needs} == {
            f"classifier-fold{fold}-prepare",
            f"nmf-fold{fold}-prepare",
        }


def test_the_settings_of_the_folds_say_which_folds_there_are():
    folds = {"train_fold_nums": "[1, 2]", "results_folder": "mine"}
    options = URBAN | folds
    steps = plan_folds("hparams/evidence.yaml", options, train=False)
    tested = [argument(s, "test_fold_nums") for s in steps if s.kind == "evaluate"]
    assert tested == ["[1]", "[2]", "[9]", "[10]"]
    assert argument(steps[-1], "train_fold_nums") == "[1, 2]"
    assert str(steps[-1].makes).startswith("mine/fold10/")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output_folder": "x"}, "give --results_folder instead"),
        ({"train_fold_nums": "[1]", "valid_fold_nums": "[1]", "test_fold_nums": "[2]"},
         "three or more"),
    ],
)  # fmt: skip
def test_mistakes(options, words):
    with pytest.raises(SettingError, match=words):
        plan_folds("hparams/evidence.yaml", {**URBAN, **options}, train=False)


def test_the_tables_are_of_folds_and_of_all_clips(tmp_path):
    values = (40.0, 43.0, 47.0)
    runs = []
    for fold, value in enumerate(values, start=1):
        folder = tmp_path / str(fold)
        write_run(folder, value=value, test_fold_nums=[fold])
        clips = pd.read_csv(folder / "clips.csv", dtype=object, keep_default_na=False)
        clips["clip_id"] += str(fold)  # the clips of a fold are its own
        clips.to_csv(folder / "clips.csv", index=False)
        runs.append(read_run(folder))
    text = folds_to_markdown(runs)
    (line,) = (line for line in text.splitlines() if line.startswith("| lmac "))
    want = f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
    assert line.split("|")[2].strip() == want  # AI
    assert all(column in text for column in COLUMNS)
    table = pooled_table(runs)
    assert table.settings["test_fold_nums"] == [1, 2, 3]
    assert len(table.row("clean", "lmac")) == 12
    assert table.means("clean", "lmac")["AI"] == pytest.approx(statistics.mean(values))


@pytest.mark.slow
def test_three_folds_end_in_a_table(tmp_path, capsys):
    data = write_urbansound8k(tmp_path / "UrbanSound8K", folds=(1, 2, 3))
    arguments = {
        "size": "small", "data": "urbansound8k", "data_folder": data,
        "results_folder": tmp_path / "results", "cache_folder": tmp_path / "cache",
        "train_fold_nums": "[1]", "valid_fold_nums": "[2]", "test_fold_nums": "[3]",
        "training_condition": "clean", "condition": "clean", "signal_length_s": 1,
        "number_of_epochs": 1, "warmup_epochs": 0, "draws": 1, "gains": "[1]",
        "cnn14_channels": "[2, 4, 4, 8, 8]", "emb_dim": 8, "device": "cpu",
        "controls": "False", "n_samples": 0,
    }  # fmt: skip
    flags = [str(part) for k, v in arguments.items() for part in (f"--{k}", v)]
    folder = tmp_path / "folds"
    code = main(
        ["hparams/evidence.yaml", "--evaluate_only", "--published",
         "--folder", str(folder), *flags]
    )  # fmt: skip
    said = capsys.readouterr().out
    assert code == 0, said
    assert "### clean: mean ± standard deviation of 3 folds" in said
    assert "## All clips" in said
    assert "which folds of UrbanSound8K" in said
    assert (folder / "folds.md").read_text() in said
    evaluated = sorted((tmp_path / "results").glob("fold*/*/*/evaluation*/table.json"))
    tested = [
        json.loads(path.read_text())["settings"]["test_fold_nums"] for path in evaluated
    ]
    assert tested == [[1], [2], [3]]
