"""The benchmark's plan: its commands, and what it refuses before the first of them."""

import functools
import re
from pathlib import Path

import pytest

from lmac_td.benchmark.listing import read_listing
from lmac_td.benchmark.plan import plan
from lmac_td.errors import SettingError
from lmac_td.report.side_by_side import choose_columns
from tests.cli.bench import Bench, main
from tests.conftest import ROOT


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_a_setting_goes_to_every_command_that_knows_it(bench):
    steps = bench.plan(
        "--data_folder", "my data", "--learning_speed=2", "--wham_snr_db", "-5",
        "--condition", "clean", "--noprogressbar", "--device", "cpu",
    )  # fmt: skip
    prepare, training, evaluation = (" ".join(step.arguments) for step in steps[:3])
    shared = "--data_folder my data"
    options = "--noprogressbar --device cpu"
    assert prepare.endswith(f"{shared} --learning_speed 2 {options}")
    own = f"--alpha 0.75 --seed 1 {shared} --wham_snr_db -5"
    assert training.endswith(f"{own} {options}")
    assert evaluation.endswith(f"{own} --condition clean {options}")
    assert "--data_folder 'my data'" in steps[0].command
    assert steps[2].makes == bench.results / "mask0.75/1/evaluation_clean/table.json"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data_fodler", "x"], "did you mean --data_folder"),
        (["--data_folder"], "--data_folder has no value"),
        (["--alpha", "0.5"], "--alpha differs between runs of this benchmark"),
        (["--seed", "3"], "--seed differs between runs of this benchmark"),
        (["--jobs", "0"], "--jobs a whole number from 1 to 1024"),
        (["stray"], "write --name stray"),
        (["--snr", "paper", "--snr", "published"], "--snr is given twice"),
        (["--columns", "AJ"], "no column 'AJ'"),
        # What an evaluation would refuse after hours of training.
        (["--device", "gpu"], "--device cpu, cuda"),
        (["--number_of_epochs", "many"], "number_of_epochs is 'many'"),
        (["--condition", "alll"], "--condition all, in_domain"),
        (["--condition", "[speech, speech]"], "each at most once"),
        (["--snr", "loud"], "--snr paper or published"),
        (["--speech_snr_db", "loud"], "--speech_snr_db a number"),
        (["--ljspeech_folder", "/nowhere"], "condition speech needs it"),
    ],
)
def test_a_command_line_that_cannot_work(bench, arguments, words):
    with pytest.raises(SettingError, match=words):
        main(bench.argv(*arguments))
    assert not (bench.folder / "bench").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds: [1, 2]", "seeds: [1, 2, 2]", "would both write"),
        ("seeds: [1, 2]", "seeds: 1", "must be a list"),
        ("seeds: [1, 2]", "sneeds: [1, 2]", "has a key 'sneeds'"),
        ("{alpha: 0.75}", "{alhpa: 0.75}", "no setting named 'alhpa'"),
        ("{alpha: 0.75}", "[0.75]", "must be names: values"),
        ("settings: {}", "settings: {wham_snr_db: 5}", "has wham_snr_db 5, but"),
        ("after: mask_alpha0.75", "after: mask", "before it is mask_alpha0.75"),
        ("seeds: [2]", "seeds: [3]", "of the same seed"),
        ("mask.yaml", "masks.yaml", "masks.yaml does not exist"),
        ("/evaluate.py", "/measure.py", "measure.py does not exist"),
        (", makes: model", "", "it must have makes, recipe, script"),
        ("seeds: [2]", "evaluate: null", "has no evaluation"),
        ("prepare:", "prepares:", "no other keys than prepare, methods, columns"),
        ("prepare:", "columns: AI\nprepare:", "list the names of columns"),
        ("prepare:", "columns: [AJ]\nprepare:", "no column 'AJ'"),
        ("prepare:", "closing: [AI]\nprepare:", "write a text"),
        ("methods:", "methods: 1 #", "cannot be read|must be a list"),
        ("prepare:", "prepare: [", "cannot be read"),
        ("prepare:", f"prepare: {'[' * 3000}", "cannot be read"),
        ("seeds: [1, 2]", "seeds: [[1]]", "must be a list of seeds"),
        ("seeds: [1, 2]", "seeds: [null]", "must be a list of seeds"),
        ("seeds: [1, 2]", "name: 4", "has name 4: write a text"),
        ("after: mask_alpha0.75", "after: [mask]", "has after .*write a text"),
        (", makes: model", ", makes: 3", "prepare has makes 3: write a text"),
        ("&tuned\n    recipe: ", "&tuned\n    recipe: 5 #", "methods has recipe 5"),
        ("evaluate: ", "evaluate: 5 #", "methods has evaluate 5: write a text"),
        ("train: ", "train: [a] #", "methods has train .*write a text"),
    ],
)
def test_a_file_that_cannot_work(bench, old, new, words):
    text = bench.path.read_text()
    assert old in text
    bench.path.write_text(text.replace(old, new, 1))
    with pytest.raises(SettingError, match=words):
        main(bench.argv())
    assert not (bench.folder / "bench").exists()


def test_a_recipe_of_no_experiment_is_refused(bench):
    recipe = "seed: 1\nsettings:\n    seed: {role: run, type: int}\n"
    (bench.folder / "classifier.yaml").write_text(recipe)
    with pytest.raises(SettingError, match=r"classifier\.yaml has no output_folder"):
        bench.plan()


def test_rows_that_explain_nothing_are_scored_once(bench):
    for name in ("mask", "tune"):
        with open(bench.folder / f"{name}.yaml", "a") as file:
            file.write("    references: {role: evaluation, type: bool}\n")
            file.write("references: True\n")
    evaluations = [step for step in bench.plan() if step.kind == "evaluate"]
    asked = [step.command.partition("--references ")[2] for step in evaluations]
    assert asked == ["", "False", "False"]
    assert not any("references" in s.command for s in bench.plan() if s.kind == "train")
    chosen = bench.plan("--references", "True")
    assert all("--references True" in s.command for s in chosen if s.kind == "evaluate")


@functools.cache
def planned(name):
    listing = read_listing(ROOT / "recipes" / f"{name}.yaml")
    return listing, plan(listing, {"ljspeech_folder": "tests"})  # a folder that exists


@pytest.mark.parametrize(
    "name",
    [
        *("ESC50/esc10", "ESC50/ablations", "ESC50/geometry", "ESC50/demo"),
        *("ESC50/l2i_baselines", "ESC50/evidence_variants"),
        *("demo/methods", "demo/quick"),
    ],
)
def test_the_benchmarks_of_the_repository_can_be_planned(name):
    listing, steps = planned(name)
    assert len(listing.columns) == len(choose_columns(listing.columns))
    for folder in re.findall(r"results/\S+", listing.closing):
        assert any(Path(folder).is_relative_to(step.makes.parent) for step in steps)
    kinds = [step.kind for step in steps]
    assert kinds == sorted(kinds, key=lambda kind: kind != "prepare")
    for step in steps:
        assert all((ROOT / part).is_file() for part in step.arguments[:2])


@pytest.mark.slow
def test_the_benchmarks_on_recordings_write_to_folders_of_their_own():
    writers = {}
    for name in ("esc10", "ablations", "geometry", "evidence_variants"):
        for step in planned(f"ESC50/{name}")[1]:
            if step.kind == "evaluate":
                folder = step.makes.parents[1]
                assert writers.setdefault(folder, name) == name, folder


@pytest.mark.parametrize(
    ("condition", "folder"),
    [
        ("all", "evaluation"),
        ("clean", "evaluation_clean"),
        ("[clean]", "evaluation_clean"),
        ("[clean, speech]", "evaluation"),
    ],
)
def test_one_condition_alone_has_a_folder_of_its_own(bench, condition, folder):
    steps = bench.plan("--condition", condition)
    made = {step.makes.parent.name for step in steps if step.kind == "evaluate"}
    assert made == {folder}


def test_of_a_recipe_with_one_condition_all_is_that_one(bench):
    for name in ("mask", "tune"):
        recipe = bench.folder / f"{name}.yaml"
        lines = recipe.read_text().splitlines(keepends=True)
        others = ("    in_domain: !new", "    speech: !new")
        recipe.write_text("".join(x for x in lines if not x.startswith(others)))
    made = {step.makes.parent.name for step in bench.plan() if step.kind == "evaluate"}
    assert made == {"evaluation_clean"}


def test_a_run_is_named_by_its_recipe_its_size_and_its_settings():
    _, steps = planned("ESC50/geometry")
    assert steps[0].name == "cnn14_doubling-prepare"
    assert steps[1].name == "lmac_td_default_geometry-seed1234-train"
    _, steps = planned("ESC50/demo")
    trainings = [step.name for step in steps if step.kind == "train"]
    assert "lmac_td_demo-train" in trainings


def test_the_comparison_has_three_classifiers_and_three_seeds_of_trained_methods():
    listing, steps = planned("ESC50/esc10")
    names = [classifier["name"] for classifier in listing.classifiers]
    runs = {step.run for step in steps if step.kind == "evaluate"}
    for name in names:
        for seed in (1, 2, 3):
            assert f"budgeted-{name}-seed{seed}" in runs
        for method in ("lmac_td", "lmac"):
            seeds = (1234, 1, 2) if name == names[0] else (1234,)
            found = {run for run in runs if run.startswith(f"{method}-{name}-")}
            assert found == {f"{method}-{name}-seed{seed}" for seed in seeds}
        for method in ("evidence", "evidence_dial", "gradcam_half", "occlusion"):
            assert f"{method}-{name}" in runs
    evaluations = [step for step in steps if step.kind == "evaluate"]
    assert evaluations[0].run == f"evidence-{names[0]}"
    assert {step.settings["references"] for step in evaluations[:3]} == {True}
    assert {step.settings["references"] for step in evaluations[3:]} == {False}


def test_the_comparison_scores_all_conditions_for_its_first_classifier():
    """Other seeds and variants are measured in domain."""
    listing, steps = planned("ESC50/esc10")
    first = listing.classifiers[0]["name"]
    others = [f"budgeted-{first}-seed{seed}" for seed in (2, 3)]
    others += [
        f"{name}-{first}-seed{s}" for name in ("lmac", "lmac_td") for s in (1, 2)
    ]
    for name in ("dial", "kept_and_removed", "one_kernel"):
        others.append(f"evidence_{name}-{first}")
    runs = {step.run: step for step in steps if step.kind == "evaluate"}
    assert set(others) <= set(runs)
    for run, step in runs.items():
        everywhere = step.classifier == first and run not in others
        expected = "all" if everywhere else "in_domain"
        assert step.settings["condition"] == expected, run


def test_each_classifier_of_the_comparison_is_judged_by_the_others():
    listing, steps = planned("ESC50/esc10")
    weights = {c["pretrained_classifier"] for c in listing.classifiers}
    assert len(weights) == 3
    for step in steps:
        if step.kind == "evaluate":
            explained = step.settings["pretrained_classifier"]
            judges = step.settings["second_classifier"]
            assert {explained, *judges} == weights
            assert len(judges) == 2
            assert (ROOT / explained / "model.safetensors").is_file()


def test_fine_tuning_starts_from_the_same_classifiers_training():
    _, steps = planned("ESC50/esc10")
    tuned = [s for s in steps if "lmac_finetune" in s.run and s.kind == "train"]
    assert len(tuned) == 3
    for step in tuned:
        before = step.needs[-1]
        assert before.run == step.run.replace("lmac_finetune_small", "lmac")
        start = step.settings["pretrained_interpreter"]
        assert Path(start) / "save" == before.makes


def test_settings_that_only_evaluations_read_are_not_given_to_a_training(bench):
    steps = bench.plan("--snr", "published", "--number_of_epochs", "5")
    training, evaluation = steps[1:3]
    assert "--snr" not in training.arguments
    assert "snr" not in training.settings
    assert "--snr" in evaluation.arguments
    assert evaluation.settings["snr"] == "published"
    assert training.settings["number_of_epochs"] == 5


def test_evaluations_agree_in_settings_of_the_role_mixture(bench):
    mixture = bench.plan()[2].mixture
    assert mixture == {
        "data_folder": "data",
        "wham_snr_db": 0,
        "speech_snr_db": 3,
        "snr": "paper",
        "ljspeech_folder": str(bench.folder),
    }
