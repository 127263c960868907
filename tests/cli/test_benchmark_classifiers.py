"""A benchmark of several classifiers: its runs, folders, files and means."""

import json
import re
import shutil

import pandas as pd
import pytest

from lmac_td.benchmark import report
from lmac_td.errors import DataError, SettingError
from lmac_td.report.runs import read_run
from tests.cli.bench import MASK_1, MASK_2, PREPARE, TUNE_2, Bench, main, orders

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


def test_the_printed_table_may_be_short(bench, capsys):
    shown = ["--columns", "AI", "--no_intervals", "--by_condition", "AG", "FF"]
    assert bench.run(*shown)[0] == 0
    printed = capsys.readouterr().out
    assert re.search(r"\n\| mask0.75 +\| +2 × 2 +\| 1.50 ± 0.00 \|\n", printed)
    assert "In brackets" not in printed
    for name in ("first", "other"):
        part = printed[printed.index(f"## Every condition ({name})") :]
        assert re.match(r".*\n\n\| AG .*\n.*\n\| mask0.75 +\| +1.50 ± 0.71 \|\n", part)
    assert "In brackets" in (bench.folder / "bench" / "table.md").read_text()


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


KEPT_FILES = ["clips.csv.gz", "run.json", "table.json"]


def kept_of(folder):
    return {
        path.name: sorted(p.name for p in path.iterdir()) for path in folder.iterdir()
    }


def test_scores_are_kept_as_soon_as_an_evaluation_is_finished(bench):
    scores = bench.folder / "scores"
    bench.order(**orders("train mask 0.75 2", exit=1))
    assert bench.run("--scores_folder", str(scores))[0] == 1
    assert kept_of(scores) == {"mask_alpha0.75-first-seed1": KEPT_FILES}
    bench.order()
    assert bench.run("--scores_folder", str(scores))[0] == 0
    assert kept_of(scores) == dict.fromkeys(RUNS, KEPT_FILES)
    first = {path: path.read_bytes() for path in scores.glob("*/*")}
    shutil.rmtree(scores)
    assert bench.run("--scores_folder", str(scores), "--report_only") == (0, [])
    assert first == {path: path.read_bytes() for path in first}


def test_scores_are_kept_without_classifiers_too(tmp_path, monkeypatch):
    for name in ("curves_figure", "gain_figure", "dial_figure"):
        monkeypatch.setattr(report, name, lambda *_: None)
    bench = Bench(tmp_path)
    assert bench.run("--scores_folder", str(tmp_path / "scores"))[0] == 0
    run = read_run(tmp_path / "scores" / "tune-seed2")
    assert run.table.means("clean", "tune0.5")["AI"] == 2


def forget(bench):
    """Remove all that was made, except kept scores, as on another machine."""
    shutil.rmtree(bench.results, ignore_errors=True)
    shutil.rmtree(bench.folder / "bench")


@pytest.fixture
def kept(bench):
    """The arguments that name a folder with the scores of every run."""
    arguments = ["--scores_folder", str(bench.folder / "scores")]
    assert bench.run(*arguments)[0] == 0
    return arguments


def test_a_run_whose_scores_are_kept_is_not_repeated(bench, kept, capsys):
    path = bench.folder / "bench" / "table.md"
    table = re.sub("\n[|] classifier .*", "", path.read_text())  # that is not kept
    forget(bench)
    assert bench.run(*kept) == (0, [])
    assert "13 of 13 commands are not needed" in capsys.readouterr().out
    assert path.read_text() == table
    forget(bench)
    assert bench.run(*kept, "--report_only") == (0, [])
    assert path.read_text() == table
    assert "12 of 13 commands are finished" in capsys.readouterr().out


def test_a_report_of_kept_runs_needs_no_data(bench, kept):
    forget(bench)
    elsewhere = ["--ljspeech_folder", "/nowhere"]
    assert bench.run(*kept, "--report_only", *elsewhere) == (0, [])
    with pytest.raises(SettingError, match="condition speech needs it"):
        bench.run(*kept, *elsewhere)


@pytest.mark.parametrize(
    ("setting", "repeats"),
    [
        ("data_folder", False),  # the same data may lie elsewhere
        ("num_workers", False),  # a setting of runs alone
        ("number_of_epochs", True),
        ("speech_snr_db", True),
    ],
)
def test_only_settings_that_decide_the_scores_matter(bench, kept, setting, repeats):
    forget(bench)
    assert bool(bench.run(*kept, f"--{setting}", "9")[1]) == repeats


def test_a_setting_that_only_one_version_has_does_not_matter(bench, kept):
    forget(bench)
    recipe = bench.folder / "tune.yaml"
    recipe.write_text(
        recipe.read_text()
        + "    introduced_later: {role: evaluation, type: int}\nintroduced_later: 1\n"
    )
    assert bench.run(*kept) == (0, [])


def test_what_an_unkept_run_needs_runs_again(bench, kept):
    forget(bench)
    shutil.rmtree(bench.folder / "scores" / "tune-other-seed2")
    code, calls = bench.run(*kept)
    assert code == 0
    assert calls == [*PREPARE, MASK_2[0], *TUNE_2]


@pytest.mark.parametrize("name", KEPT_FILES)
def test_a_damaged_kept_run_is_named(bench, kept, name):
    forget(bench)
    path = bench.folder / "scores" / RUNS[0] / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=re.escape(str(path))):
        bench.run(*kept)
    path.unlink()
    if name == "run.json":
        assert bench.run(*kept)[1]  # not kept
    else:
        with pytest.raises(DataError, match="is not a"):
            bench.run(*kept)


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
    assert main([*argv, "--scores_folder", str(folder / "scores")]) == 0
    for name, has_samples in (("first", True), ("other", False)):
        made = folder / "results" / name / "baselines_stft" / "evaluation_in_domain"
        assert any(made.rglob("*.wav")) == has_samples
        here, kept = read_run(made), read_run(folder / "scores" / f"saliency-{name}")
        assert kept.settings == here.settings
        assert list(kept.table.rows) == list(here.table.rows)
        for row, scores in here.table.rows.items():
            pd.testing.assert_frame_equal(kept.table.rows[row], scores)
    values = pd.read_csv(folder / "bench" / "values.csv")
    change = values[values["column"] == "second (change)"]
    assert {"saliency 0.5", "oracle"} <= set(change["row"])
    # The same classifier under two names.
    assert (change.loc[change["classifier"] == "all", "sd"] == 0).all()
    assert (folder / "bench" / "dial_in_domain.png").stat().st_size > 0
