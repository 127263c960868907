"""The benchmark: what runs, in which order, what is not run again, and what stops it.

The commands are small scripts that do at once what the real ones take minutes for; the
real ones are run by the last test.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from lmac_td.cli.benchmark import (
    State,
    Step,
    child_environment,
    lock_folder,
    main,
    minutes_to_markdown,
    plan,
    read_benchmark,
    split_options,
)
from lmac_td.errors import DataError, SettingError
from lmac_td.evaluation.table import COLUMNS
from lmac_td.report.runs import RECIPE as RECIPE_SETTINGS
from tests.conftest import ROOT

BENCHMARK = "recipes/ESC50/benchmark.py"
COMMAND = f"""
import json, os, sys, time
from pathlib import Path

root, kind = Path(__file__).parent, Path(__file__).stem
flags = dict(zip(sys.argv[2::2], sys.argv[3::2]))
recipe = Path(sys.argv[1]).stem
alpha, seed = flags.get("--alpha", "0.5"), flags.get("--seed", "7")
name = " ".join([kind, recipe, alpha, seed])
with open(root / "calls", "a") as file:
    file.write(name + chr(10))
print("these are", name, os.environ.get("OMP_NUM_THREADS"))
(root / (name + ".pid")).write_text(str(os.getpid()))
orders = json.loads((root / "orders.json").read_text()).get(name, {{}})
for _ in range(orders.get("sleep", 0) * 100):
    time.sleep(0.01)
while not (root / orders.get("wait for", "calls")).exists():
    time.sleep(0.01)
if "exit" in orders:
    sys.exit(orders["exit"])
folder = root / "results" / (recipe + alpha) / seed
scores = dict.fromkeys({list(dict.fromkeys(c.metric for c in COLUMNS))}, seed)
scores |= {{"condition": "clean", "method": recipe + alpha, "clip_id": "a"}}
scores |= {{"decided": 0, "p_x": 0.5}}
settings = {{"seed": int(seed), "test_fold_nums": 1, "mixing_seed": 1, "snr_db": {{}}}}
settings |= {{"methods": [recipe + alpha], "remarks": {{}}}}
settings["recipe"] = dict.fromkeys({list(RECIPE_SETTINGS)}, 0)
condition = flags.get("--condition", "all")
made = {{
    "prepare": "model",
    "train": "save",
    "evaluate": "evaluation" + ("" if condition == "all" else "_" + condition),
}}[kind]
if not orders.get("makes nothing"):
    (folder / made).mkdir(parents=True, exist_ok=True)
    lines = [",".join(map(str, part)) for part in (scores, scores.values())]
    (folder / made / "clips.csv").write_text(chr(10).join(lines))
    (folder / made / "table.json").write_text(json.dumps({{"settings": settings}}))
"""
RECIPE = """
seed: 7
alpha: 0.5
data_folder: data
condition: all
wham_snr_db: 0
speech_snr_db: 3
snr: paper
ljspeech_folder: {folder}
number_of_epochs: 3
output_folder: !ref {folder}/results/{name}<alpha>/<seed>
save_folder: !ref <output_folder>/save
conditions:
    in_domain: !new:no.such.Condition {{}}
    speech: !new:no.such.Condition {{}}
    clean: !new:no.such.Condition {{}}
model: !new:no.such.Model
    alpha: !ref <alpha>
"""
CLASSIFIER = """
seed: 7
data_folder: data
learning_speed: 1
output_folder: {folder}/results/classifier0.5/7
save_folder: !ref <output_folder>/save
"""
LISTED = """
prepare:
  - {{script: {f}/prepare.py, recipe: {f}/classifier.yaml, makes: model}}
methods:
  - &tuned
    recipe: {f}/mask.yaml
    train: {f}/train.py
    evaluate: {f}/evaluate.py
    settings: {{alpha: 0.75}}
    seeds: [1, 2]
  - <<: *tuned
    recipe: {f}/tune.yaml
    settings: {{}}
    seeds: [2]
    after: mask_alpha0.75
"""
PREPARE = ["prepare classifier 0.5 7"]
MASK_1 = ["train mask 0.75 1", "evaluate mask 0.75 1"]
MASK_2 = ["train mask 0.75 2", "evaluate mask 0.75 2"]
TUNE_2 = ["train tune 0.5 2", "evaluate tune 0.5 2"]
ALL = [*PREPARE, *MASK_1, *MASK_2, *TUNE_2]


class Bench:
    """A benchmark of small scripts in a folder."""

    def __init__(self, folder):
        self.folder = folder
        for kind in ("prepare", "train", "evaluate"):
            (folder / f"{kind}.py").write_text(COMMAND)
        for name in ("mask", "tune"):
            text = RECIPE.format(folder=folder, name=name)
            (folder / f"{name}.yaml").write_text(text)
        (folder / "classifier.yaml").write_text(CLASSIFIER.format(folder=folder))
        self.path = folder / "benchmark.yaml"
        self.path.write_text(LISTED.format(f=folder))
        self.results = folder / "results"
        self.order()

    def order(self, **orders):
        """Tell commands, by name, how to behave."""
        orders = {name.replace("_", " "): what for name, what in orders.items()}
        (self.folder / "orders.json").write_text(json.dumps(orders))

    def argv(self, *arguments):
        return [str(self.path), "--folder", str(self.folder / "bench"), *arguments]

    def run(self, *arguments):
        """Exit code, and what was run."""
        (self.folder / "calls").write_text("")
        code = main(self.argv(*arguments))
        return code, self.calls()

    def calls(self):
        return (self.folder / "calls").read_text().splitlines()

    def plan(self, *arguments):
        return plan(read_benchmark(self.path), split_options(arguments))

    def status(self, made):
        state = json.loads((self.folder / "bench" / "state.json").read_text())
        return state[str(self.results / made)]["status"]

    def log(self, name):
        return (self.folder / "bench" / "logs" / f"{name}.log").read_text()


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def orders(name, **what):
    return {name.replace(" ", "_"): what}


def test_everything_runs_in_order_and_ends_in_a_table(bench, capsys):
    code, calls = bench.run()
    assert (code, calls) == (0, ALL)
    said = capsys.readouterr().out
    assert "| mask0.75, mean ± sd of 2 seeds " in said
    assert "| mask_alpha0.75-seed1 | " in said
    assert "7 of 7 finished: tune-seed2-evaluate (0.0 min)" in said
    assert (bench.folder / "bench" / "table.md").read_text() in said
    for name in ("table.csv", "curves_clean.png", "gain_clean.png"):
        assert (bench.folder / "bench" / name).stat().st_size > 0
    assert "these are train mask 0.75 1" in bench.log("mask_alpha0.75-seed1-train")
    folder = bench.folder
    assert (
        f"starting mask_alpha0.75-seed1-train: python {folder}/train.py "
        f"{folder}/mask.yaml --alpha 0.75 --seed 1\n" in said
    )


def test_what_is_finished_is_not_run_again(bench, capsys):
    bench.run()
    capsys.readouterr()
    assert bench.run() == (0, [])
    assert "7 of 7 was finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("gone", "redone"),
    [
        ("mask0.75/1/evaluation/table.json", MASK_1[1:]),
        ("mask0.75/1/save", MASK_1),
        ("mask0.75/2/save", [*MASK_2, *TUNE_2]),
        ("classifier0.5/7/model", ALL),
    ],
)
def test_what_is_gone_is_made_again_and_measured_again(bench, gone, redone):
    bench.run()
    (bench.results / gone).rename(bench.folder / "gone")
    assert bench.run() == (0, redone)


def test_other_settings_are_another_command(bench):
    bench.run()
    learners = [*MASK_1, *MASK_2, *TUNE_2]
    assert bench.run("--number_of_epochs", "5") == (0, learners)
    assert bench.run("--number_of_epochs", "5") == (0, [])
    # The first command's results are not there any more.
    assert bench.run() == (0, learners)
    # Another condition is measured beside the first.
    evaluations = [name for name in learners if name.startswith("evaluate")]
    assert bench.run("--condition", "clean") == (0, evaluations)
    assert bench.run() == (0, [])


def test_another_recipe_under_the_same_name_is_run_again(bench):
    bench.run()
    recipe = bench.folder / "tune.yaml"
    recipe.write_text(recipe.read_text() + "\nsomething: new\n")
    assert bench.run() == (0, TUNE_2)
    assert bench.run() == (0, [])


def test_an_old_measurement_does_not_outlive_its_training(bench):
    bench.run()
    shutil.rmtree(bench.results / "mask0.75" / "1" / "save")
    bench.order(**orders(MASK_1[1], exit=1))
    assert bench.run() == (1, MASK_1)
    bench.order()
    assert bench.run() == (0, MASK_1[1:])


@pytest.mark.parametrize(("code", "ours"), [(2, 2), (1, 1), (7, 1)])
def test_a_command_that_fails_ends_it_and_is_run_again(bench, capsys, code, ours):
    bench.order(**orders(MASK_1[1], exit=code))
    assert bench.run() == (ours, [*PREPARE, *MASK_1])
    said = capsys.readouterr().err
    assert "these are evaluate mask 0.75 1" in said
    assert "bench/logs/mask_alpha0.75-seed1-evaluate.log" in said
    assert f"failed (exit code {code}): python " in said
    assert bench.status("mask0.75/1/evaluation/table.json") == "failed"
    assert not (bench.folder / "bench" / "table.md").exists()
    bench.order()
    assert bench.run() == (0, [*MASK_1[1:], *MASK_2, *TUNE_2])


def test_a_command_that_makes_nothing_failed(bench, capsys):
    bench.order(**orders(MASK_1[0], **{"makes nothing": True}))
    assert bench.run() == (1, [*PREPARE, MASK_1[0]])
    assert "did not make" in capsys.readouterr().err


def test_two_at_a_time_and_one_stops_the_other(bench):
    # Each waits for the other to have started.
    first, second = MASK_1[0], MASK_2[0]
    bench.order(
        **orders(first, **{"wait for": f"{second}.pid"}, exit=2),
        **orders(second, **{"wait for": f"{first}.pid"}, sleep=60),
    )
    started = time.monotonic()
    code, calls = bench.run("--jobs", "2")
    assert code == 2
    assert set(calls) == {*PREPARE, first, second}
    assert time.monotonic() - started < 30
    assert_gone(bench, second)
    assert bench.status("mask0.75/1/save") == "failed"
    assert bench.status("mask0.75/2/save") == "interrupted"
    bench.order()
    code, calls = bench.run("--jobs", "2")
    assert code == 0
    for training, evaluation in (MASK_1, MASK_2, TUNE_2):
        assert calls.index(training) < calls.index(evaluation)
    assert calls.index(MASK_2[0]) < calls.index(TUNE_2[0])


def assert_gone(bench, name):
    with pytest.raises(ProcessLookupError):
        os.kill(int((bench.folder / f"{name}.pid").read_text()), 0)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_stops_its_commands_and_goes_on(bench, how):
    bench.order(**orders(MASK_1[0], sleep=60))
    running = subprocess.Popen(
        [sys.executable, BENCHMARK, *bench.argv()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 60
    pid = bench.folder / f"{MASK_1[0]}.pid"
    while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(how)
    said, _ = running.communicate(timeout=30)
    assert running.returncode == 130, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert_gone(bench, MASK_1[0])
    assert bench.status("mask0.75/1/save") == "interrupted"
    bench.order()
    assert bench.run() == (0, ALL[1:])


def step_of(tmp_path, kind="train", command="a.py", needs=()):
    return Step("run", kind, (command,), tmp_path / kind, list(needs))


def test_minutes_are_those_of_all_attempts(tmp_path):
    step = step_of(tmp_path)
    for status in ("interrupted", "failed", "running"):
        state = State(tmp_path / "state.json")
        before = state.of(step).get("minutes", 0.0)
        state.start(step, [step])
        assert state.of(step)["minutes"] == before
        state.note(step, status=status, minutes=before + 2.5)
    state = State(tmp_path / "state.json")
    state.start(step, [step])
    state.note(step, status="finished", minutes=8.0)
    # What it made is gone: it begins anew, and so do the minutes.
    state.start(step, [step])
    assert state.of(step)["minutes"] == 0.0


def test_a_training_that_goes_on_with_other_settings_keeps_its_minutes(tmp_path):
    state, step = State(tmp_path / "state.json"), step_of(tmp_path)
    state.start(step, [step])
    step.makes.mkdir()
    state.note(step, status="finished", minutes=8.0)
    longer = step_of(tmp_path, command="a.py --number_of_epochs 20")
    assert not state.is_finished(longer)
    state.start(longer, [longer])
    assert state.of(longer)["minutes"] == 8.0
    evaluation = step_of(tmp_path, kind="evaluate")
    state.start(evaluation, [evaluation])
    evaluation.makes.mkdir()
    state.note(evaluation, status="finished", minutes=3.0)
    state.start(evaluation, [evaluation])
    assert state.of(evaluation)["minutes"] == 0.0


def test_minutes_of_what_was_trained_before_are_not_claimed(tmp_path):
    state, step = State(tmp_path / "state.json"), step_of(tmp_path)
    step.makes.mkdir()
    state.start(step, [step])
    state.note(step, status="finished", minutes=0.1)
    assert "| run |          > 0.1 |                – |" in minutes_to_markdown(
        [step], state
    )


def test_a_share_of_the_cores_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert "OMP_NUM_THREADS" not in child_environment(1)
    assert child_environment(3)["OMP_NUM_THREADS"] == "2"
    assert child_environment(16)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert child_environment(3)["OMP_NUM_THREADS"] == "5"


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
        (["--alpha", "0.5"], "--alpha is what runs of this benchmark differ in"),
        (["--seed", "3"], "--seed is what runs of this benchmark differ in"),
        (["--jobs", "0"], "--jobs 1 or more"),
        (["stray"], "write --name stray"),
        # What an evaluation would refuse after hours of training.
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
        ("seeds: [2]", "evaluate: null", "is not evaluated"),
        ("prepare:", "prepares:", "must have the lists"),
        ("prepare:", "prepare: [", "cannot be read"),
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
    (bench.folder / "classifier.yaml").write_text("seed: 1\n")
    with pytest.raises(SettingError, match=r"classifier\.yaml has no output_folder"):
        bench.plan()


def test_a_method_without_a_training(bench):
    text = bench.path.read_text()
    bench.path.write_text(
        text.replace(f"train: {bench.folder}/train.py", "train: null")
    )
    with pytest.raises(SettingError, match="before it is none"):
        bench.plan()
    bench.path.write_text(bench.path.read_text().replace("after: mask_alpha0.75", ""))
    code, calls = bench.run()
    assert (code, calls) == (0, [*PREPARE, MASK_1[1], MASK_2[1], TUNE_2[1]])


def test_a_second_benchmark_is_refused(bench):
    with (
        lock_folder(bench.folder / "bench"),
        pytest.raises(SettingError, match="still runs"),
    ):
        bench.run()
    assert bench.run()[0] == 0


@pytest.mark.slow
def test_so_is_one_beside_a_command_that_was_left_behind(bench):
    bench.order(**orders(PREPARE[0], sleep=60))
    running = subprocess.Popen([sys.executable, BENCHMARK, *bench.argv()], cwd=ROOT)
    pid = bench.folder / f"{PREPARE[0]}.pid"
    deadline = time.monotonic() + 60
    while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.kill()
    running.wait()
    bench.order()
    try:
        with pytest.raises(SettingError, match="left behind"):
            bench.run()
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            assert bench.run() == (0, ALL)
            return
        except SettingError:  # not quite dead yet
            time.sleep(0.05)
    pytest.fail("the lock outlived the command")


def test_a_damaged_state_is_named(bench):
    (bench.folder / "bench").mkdir()
    (bench.folder / "bench" / "state.json").write_text("{")
    with pytest.raises(DataError, match=r"state\.json cannot be read: delete it"):
        bench.run()


def test_rows_that_explain_nothing_are_scored_once(bench):
    for name in ("mask", "tune"):
        with open(bench.folder / f"{name}.yaml", "a") as file:
            file.write("references: True\n")
    evaluations = [step for step in bench.plan() if step.kind == "evaluate"]
    asked = [step.command.partition("--references ")[2] for step in evaluations]
    assert asked == ["", "False", "False"]
    assert not any("references" in s.command for s in bench.plan() if s.kind == "train")
    chosen = bench.plan("--references", "True")
    assert all("--references True" in s.command for s in chosen if s.kind == "evaluate")


def test_an_evaluation_setting_does_not_train_anew(bench):
    bench.run()
    code, calls = bench.run("--snr", "published", "--condition", "speech")
    assert (code, calls) == (0, [c for c in ALL if c.startswith("evaluate")])


def test_rows_are_compared_below_the_table(bench, capsys):
    code, _ = bench.run("--compare", "tune0.5", "mask0.75, seed 2")
    assert code == 0
    assert "| metric " in capsys.readouterr().out
    with pytest.raises(SettingError, match=r"mask0\.75, seed 9"):
        bench.run("--compare", "tune0.5", "mask0.75, seed 9")


@pytest.mark.parametrize("name", ["esc10", "demo"])
def test_the_benchmarks_of_the_repository_can_be_planned(name):
    steps = plan(read_benchmark(ROOT / "recipes" / "ESC50" / f"{name}.yaml"), {})
    assert steps[0].kind == "prepare"
    kinds = [step.kind for step in steps]
    assert kinds == sorted(kinds, key=lambda kind: kind != "prepare")
    for step in steps:
        assert all((ROOT / part).is_file() for part in step.arguments[:2])


@pytest.mark.slow
def test_real_commands(tiny_recipes):
    path = tiny_recipes / "benchmark.yaml"
    path.write_text(f"""
prepare:
  - script: recipes/ESC50/train_classifier.py
    recipe: {tiny_recipes}/cnn14.yaml
    makes: classifier
methods:
  - {{recipe: {tiny_recipes}/lmac_td.yaml, settings: {{alpha: 1}}}}
  - recipe: {tiny_recipes}/baselines.yaml
    train: null
    settings: {{methods: [saliency, gradcam]}}
""")
    command = [sys.executable, BENCHMARK, str(path), "--number_of_epochs", "1"]
    command += ["--folder", str(tiny_recipes / "bench"), "--condition", "all"]
    command += ["--compare", "lmac_td_alpha1", "gradcam"]
    for starts in (4, 0):
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("starting ") == starts
        # Five conditions, three groups (no truth for clean clips), and the minutes.
        for row, count in (("lmac_td_alpha1", 15), ("identity", 14), ("cnn14", 1)):
            assert done.stdout.count(f"\n| {row} ") == count
        assert "lmac_td_alpha1 − gradcam, clip by clip" in done.stdout
