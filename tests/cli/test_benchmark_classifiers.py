"""A benchmark of several classifiers: its runs, folders, files and means."""

import csv
import json
import os
import re

import pandas as pd
import pytest

from lmac_td.benchmark import report
from lmac_td.errors import SettingError
from tests.cli.bench import MASK_1, PREPARE, Bench, main, orders

RUNS = [
    f"{method}-{classifier}-seed{seed}"
    for method, seeds in (("mask_alpha0.75", (1, 2)), ("tune", (2,)))
    for classifier in ("first", "other")
    for seed in seeds
]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A benchmark of two classifiers that draws no figures."""
    for name in ("curves_figure", "gain_figure", "dial_figure"):
        monkeypatch.setattr(report, name, lambda *_: None)
    bench = Bench(tmp_path)
    bench.list_classifiers()
    return bench


def steps_of(bench, kind, *arguments):
    return {s.run: s for s in bench.plan(*arguments) if s.kind == kind}


def change(bench, old, new):
    text = bench.path.read_text()
    assert old in text
    bench.path.write_text(text.replace(old, new, 1))


def test_every_method_runs_for_every_classifier_and_nothing_is_prepared_twice(bench):
    steps = bench.plan()
    assert [step.kind for step in steps].count("prepare") == 1
    assert list(steps_of(bench, "evaluate")) == RUNS
    assert list(steps_of(bench, "train")) == RUNS
    assert [step.classifier for step in steps[:3]] == [None, "first", "first"]


def test_a_run_gets_the_settings_of_its_classifier(bench):
    run = "mask_alpha0.75-other-seed1"
    training, evaluation = (steps_of(bench, k)[run] for k in ("train", "evaluate"))
    assert "--pretrained_classifier weights/b" in training.command
    assert "--second_classifier" not in training.command
    assert """--second_classifier '["weights/a"]'""" in evaluation.command


def test_runs_of_a_classifier_have_folders_of_their_own(bench):
    steps = steps_of(bench, "evaluate")
    folders = {run: step.makes.parent.parent for run, step in steps.items()}
    assert folders["mask_alpha0.75-first-seed1"] == bench.results / "first/mask0.75/1"
    assert folders["tune-other-seed2"] == bench.results / "other/tune0.5/2"
    training = steps_of(bench, "train")["tune-other-seed2"]
    assert training.makes == bench.results / "other/tune0.5/2/save"


def test_a_run_starts_from_the_run_of_the_same_classifier(bench):
    start = f"{bench.results}/mask0.75/<seed>"
    recipe = bench.folder / "tune.yaml"
    text = recipe.read_text()
    text = text.replace(
        "pretrained_interpreter: null", f"pretrained_interpreter: !ref {start}"
    )
    recipe.write_text(text)
    step = steps_of(bench, "train")["tune-other-seed2"]
    assert f"--pretrained_interpreter {bench.results}/other/mask0.75/2" in step.command
    assert [n.run for n in step.needs] == ["classifier", "mask_alpha0.75-other-seed2"]


def test_an_entry_may_restrict_itself_to_some_classifiers(bench):
    change(bench, "seeds: [2]", "seeds: [2]\n    classifiers: [other]")
    runs = [run for run in RUNS if run != "tune-first-seed2"]
    assert list(steps_of(bench, "evaluate")) == runs


def test_seeds_may_differ_by_classifier(bench):
    change(bench, "seeds: [1, 2]", "seeds: [1, 2]\n    classifiers: [first]")
    change(
        bench,
        "  - <<: *tuned\n",
        "  - {<<: *tuned, seeds: [2], classifiers: [other]}\n  - <<: *tuned\n"
        "    classifiers: [first, other]\n",
    )
    runs = [run for run in RUNS if run != "mask_alpha0.75-other-seed1"]
    assert list(steps_of(bench, "evaluate")) == runs


def test_reference_rows_are_scored_once_for_each_classifier(bench):
    for name in ("mask", "tune"):
        with open(bench.folder / f"{name}.yaml", "a") as file:
            file.write("    references: {role: evaluation, type: bool}\n")
            file.write("references: True\n")
    steps = steps_of(bench, "evaluate")
    scoring = [r for r, s in steps.items() if "--references False" not in s.command]
    assert scoring == ["mask_alpha0.75-first-seed1", "mask_alpha0.75-other-seed1"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{name: first,", "{nom: first,", "name of letters"),
        ("{name: first,", "{name: a/b,", "name of letters"),
        ("{name: first,", "{name: 1,", "name of letters"),
        ("{name: first,", "{name: other,", "two classifiers are named 'other'"),
        ("pretrained_classifier: weights/a,", "", "must have pretrained_classifier"),
        ("second_classifier: [", "second_clasifier: [", "did you mean 'second_class"),
        ("seeds: [2]", "classifiers: [third]", "which are first, other"),
        ("seeds: [2]", "classifiers: []", "which are first, other"),
        ("seeds: [2]", "classifiers: [first, first]", "one of them twice"),
        ("classifiers:\n", "classifiers: 1\nx:\n", "no other keys|must be a list"),
        ("seeds: [2]", "seeds: [3]", "same seed for classifier first"),
        ("settings: {}", "settings: {wham_snr_db: 5}", "has wham_snr_db 5, but"),
        (
            "settings: {}",
            "settings: {pretrained_classifier: c}",
            "has pretrained_classifier 'c', but",
        ),
    ],
)
def test_a_list_of_classifiers_that_cannot_work(bench, old, new, words):
    change(bench, old, new)
    with pytest.raises(SettingError, match=words):
        main(bench.argv())
    assert not (bench.folder / "bench").exists()


@pytest.mark.parametrize("name", ["pretrained_classifier", "output_folder"])
def test_what_differs_by_classifier_is_not_set_for_all(bench, name):
    with pytest.raises(SettingError, match=f"--{name} differs between runs"):
        main(bench.argv(f"--{name}", "x"))


def test_a_list_without_classifiers_cannot_restrict_itself(tmp_path):
    bench = Bench(tmp_path)
    change(bench, "seeds: [2]", "classifiers: [first]")
    with pytest.raises(SettingError, match="which are none"):
        main(bench.argv())


def test_the_table_has_each_classifier_and_their_mean(bench, capsys):
    code, calls = bench.run("--compare", "tune0.5", "mask0.75")
    assert code == 0
    assert len(calls) == len(PREPARE) + 2 * len(RUNS)
    printed = capsys.readouterr().out
    heads = [line for line in printed.splitlines() if line.startswith("## ")]
    assert heads == ["## All classifiers", "## Classifier first", "## Classifier other"]
    # Two seeds of each classifier; the small scripts score a seed by its number.
    assert re.search(r"\n\| mask0.75 +\| +2 × 2 \| +1.50 ± 0.00 \|", printed)
    assert "### clean: tune0.5 − mask0.75, mean over classifiers" in printed
    assert "| AI (%) ↑ " in printed
    folder = bench.folder / "bench"
    assert (folder / "table.md").read_text() in printed
    assert {path.name for path in folder.glob("*.csv")} == {
        "table_first.csv", "table_other.csv", "values.csv",
    }  # fmt: skip
    values = pd.read_csv(folder / "values.csv")
    ai = values[(values["row"] == "mask0.75") & (values["column"] == "AI")]
    assert ai[["classifier", "seed", "value"]].to_numpy().tolist() == [
        ["first", "1", 1], ["first", "2", 2],
        ["other", "1", 1], ["other", "2", 2], ["all", "all", 1.5],
    ]  # fmt: skip
    assert bench.run() == (0, [])


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [(r["method"], r["classifier"], r["seed"]) for r in csv.DictReader(file)]


def test_rows_are_written_as_soon_as_an_evaluation_is_finished(bench):
    rows = bench.folder / "rows"
    bench.order(**orders("train mask 0.75 2", exit=1))
    code, _ = bench.run("--rows_folder", str(rows))
    assert code == 1
    (path,) = rows.iterdir()
    assert path.name == "mask_alpha0.75-first-seed1.csv"
    assert rows_of(path) == [("mask0.75", "first", "1")]
    path.write_text("kept, since it is newer")
    bench.order()
    assert bench.run("--rows_folder", str(rows))[0] == 0
    assert {p.name for p in rows.iterdir()} == {f"{run}.csv" for run in RUNS}
    assert path.read_text() == "kept, since it is newer"
    os.utime(path, (0, 0))
    assert bench.run("--rows_folder", str(rows)) == (0, [])
    assert rows_of(path) == [("mask0.75", "first", "1")]


def test_rows_are_written_without_classifiers_too(tmp_path, monkeypatch):
    for name in ("curves_figure", "gain_figure", "dial_figure"):
        monkeypatch.setattr(report, name, lambda *_: None)
    bench = Bench(tmp_path)
    assert bench.run("--rows_folder", str(tmp_path / "rows"))[0] == 0
    path = tmp_path / "rows" / "tune-seed2.csv"
    assert rows_of(path) == [("tune0.5", "", "2")]


def test_a_report_of_what_is_finished_so_far(bench, capsys):
    with pytest.raises(SettingError, match="no evaluation is finished"):
        main(bench.argv("--report_only"))
    bench.order(**orders("train tune 0.5 2", exit=1))
    assert bench.run()[0] == 1
    table = bench.folder / "bench" / "table.md"
    assert not table.exists()
    capsys.readouterr()
    assert bench.run("--report_only") == (0, [])
    printed = capsys.readouterr().out
    assert "9 of 13 commands are finished" in printed
    assert "## Classifier other" in table.read_text()
    assert "| tune0.5 " not in table.read_text()
    # With other settings nothing is finished.
    with pytest.raises(SettingError, match="no evaluation is finished"):
        main(bench.argv("--report_only", "--number_of_epochs", "9"))


def test_a_failed_evaluation_is_not_reported(bench):
    assert bench.run()[0] == 0
    bench.order(**orders(MASK_1[1], exit=1))
    made = bench.results / "first/mask0.75/1/evaluation/table.json"
    made.rename(bench.folder / "gone")
    assert bench.run()[0] == 1
    (bench.folder / "gone").rename(made)
    assert bench.run("--report_only") == (0, [])
    minutes = json.loads((bench.folder / "bench" / "minutes.json").read_text())
    assert minutes[str(made)]["state"] == "failed"
    table = (bench.folder / "bench" / "table.md").read_text()
    assert "mask_alpha0.75-first-seed1 " in table
    first = table[table.index("## Classifier first") : table.index("## Classifier oth")]
    assert "mask0.75, seed 1" not in first


@pytest.mark.slow
def test_real_commands(with_trained):
    folder = with_trained("cnn14")
    weights = folder / "results" / "cnn14" / "classifier"
    path = folder / "benchmark.yaml"
    judged = f"pretrained_classifier: {weights}, second_classifier: [{weights}]"
    path.write_text(f"""
classifiers:
  - {{name: first, {judged}}}
  - {{name: other, {judged}, n_samples: 0}}
methods:
  - recipe: {folder}/baselines.yaml
    train: null
    name: saliency
    settings: {{methods: [saliency], keep: [0.25, 0.5]}}
""")
    argv = [str(path), "--folder", str(folder / "bench"), "--condition", "in_domain"]
    assert main([*argv, "--rows_folder", str(folder / "rows")]) == 0
    for name, has_samples in (("first", True), ("other", False)):
        made = folder / "results" / name / "baselines_stft" / "evaluation_in_domain"
        assert any(made.rglob("*.wav")) == has_samples
        rows = pd.read_csv(folder / "rows" / f"saliency-{name}.csv")
        assert rows["method"].tolist()[:2] == ["saliency 0.25", "saliency 0.5"]
        assert set(rows["classifier"]) == {name}
    values = pd.read_csv(folder / "bench" / "values.csv")
    change = values[values["column"] == "second (change)"]
    assert {"saliency 0.5", "oracle"} <= set(change["row"])
    # The same classifier under two names.
    assert (change.loc[change["classifier"] == "all", "sd"] == 0).all()
    assert (folder / "bench" / "dial_in_domain.png").stat().st_size > 0
