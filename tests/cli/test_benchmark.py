"""The benchmark: what runs, in which order, what is not run again, and what stops it.

The last test runs the real commands.
"""

import json
import os
import shutil
import signal
import sys
import time

import pytest

from lmac_td import locks
from lmac_td.benchmark import report
from lmac_td.benchmark.commands import child_environment
from lmac_td.benchmark.minutes import Minutes
from lmac_td.benchmark.report import minutes_to_markdown
from lmac_td.benchmark.step import Step
from lmac_td.errors import DataError, SettingError
from tests.cli.bench import (
    ALL,
    BENCHMARK,
    MASK_1,
    MASK_2,
    PREPARE,
    TUNE_2,
    Bench,
    orders,
)
from tests.commands import finished, kill_all, started, wait_until


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A benchmark that draws no figures, which takes longer than all its commands."""
    for name in ("curves_figure", "gain_figure", "dial_figure"):
        monkeypatch.setattr(report, name, lambda *_: None)
    return Bench(tmp_path)


def test_everything_runs_in_order_and_ends_in_a_table(tmp_path, capsys):
    bench = Bench(tmp_path)
    code, calls = bench.run()
    assert (code, calls) == (0, ALL)
    printed = capsys.readouterr().out
    assert "| mask0.75, mean ± sd of 2 seeds " in printed
    assert "| mask_alpha0.75-seed1 | " in printed
    assert (bench.folder / "bench" / "table.md").read_text() in printed
    figures = ("curves_clean.png", "gain_clean.png", "dial_clean.png")
    for name in ("table.csv", *figures):
        assert (bench.folder / "bench" / name).stat().st_size > 0


def test_one_line_a_stage_with_its_state_minutes_and_log(bench, capsys):
    bench.run()
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("[")]
    assert len(lines) == 7
    logs = bench.folder / "bench" / "logs"
    number, name, state, minutes, unit, log = lines[-1].split()
    assert (number, name, state) == ("[7/7]", "tune-seed2-evaluate", "finished")
    assert (minutes, unit, log) == ("0.0", "min", f"{logs / name}.log")
    folder = bench.folder
    log = bench.log("mask_alpha0.75-seed1-train")
    command = f"python {folder}/train.py {folder}/mask.yaml --alpha 0.75 --seed 1"
    assert log.startswith(f"$ {command}\nthese are train mask 0.75 1 ")


def test_what_is_finished_is_not_run_again(bench, capsys):
    bench.run()
    capsys.readouterr()
    assert bench.run() == (0, [])
    assert capsys.readouterr().out.count(" up to date ") == 7


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
    changed = recipe.read_text().replace("number_of_epochs: 3", "number_of_epochs: 4")
    recipe.write_text(changed)
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
    printed = capsys.readouterr().err
    assert "these are evaluate mask 0.75 1" in printed
    assert "bench/logs/mask_alpha0.75-seed1-evaluate.log" in printed
    assert f"failed (exit code {code}): python " in printed
    assert bench.state("mask0.75/1/evaluation/table.json") == "failed"
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
    assert bench.state("mask0.75/1/save") == "failed"
    assert bench.state("mask0.75/2/save") == "interrupted"
    bench.order()
    code, calls = bench.run("--jobs", "2")
    assert code == 0
    for training, evaluation in (MASK_1, MASK_2, TUNE_2):
        assert calls.index(training) < calls.index(evaluation)
    assert calls.index(MASK_2[0]) < calls.index(TUNE_2[0])


def assert_gone(bench, name):
    with pytest.raises(ProcessLookupError):
        os.kill(int((bench.folder / f"{name}.pid").read_text()), 0)


def start_until(bench, name):
    """A benchmark in a process of its own, once a command of it runs."""
    running = started([sys.executable, BENCHMARK, *bench.argv()])
    pid = bench.folder / f"{name}.pid"
    try:
        wait_until(lambda: pid.exists() and pid.read_text(), f"{name} to run")
    except AssertionError:
        kill_all(running)
        raise
    return running


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_stops_its_commands_and_goes_on(bench, how):
    bench.order(**orders(MASK_1[0], sleep=60))
    running = start_until(bench, MASK_1[0])
    running.send_signal(how)
    done = finished(running, 30)
    printed = done.stdout + done.stderr
    assert running.returncode == 128 + how, printed
    assert "the same command resumes" in printed
    assert "Traceback" not in printed
    assert_gone(bench, MASK_1[0])
    assert bench.state("mask0.75/1/save") == "interrupted"
    bench.order()
    assert bench.run() == (0, ALL[1:])


def step_of(tmp_path, kind="train", command="a.py", needs=()):
    return Step("run", kind, (command,), tmp_path / kind, list(needs))


def test_minutes_are_those_of_all_attempts(tmp_path):
    step = step_of(tmp_path)
    for state, before in (("interrupted", 0.0), ("failed", 2.5), ("running", 5.0)):
        minutes = Minutes(tmp_path / "minutes.json")
        assert minutes.start(step, os.getpid()) == before
        assert minutes.of(step)["minutes"] == before
        minutes.note(step, state=state, minutes=before + 2.5)
    minutes = Minutes(tmp_path / "minutes.json")
    assert minutes.start(step, os.getpid()) == 7.5
    minutes.note(step, state="finished", minutes=8.0)
    # What it made is gone: it begins anew, and so do the minutes.
    assert minutes.start(step, os.getpid()) == 0.0


def test_a_training_that_goes_on_with_other_settings_keeps_its_minutes(tmp_path):
    minutes, step = Minutes(tmp_path / "minutes.json"), step_of(tmp_path)
    minutes.start(step, os.getpid())
    step.makes.mkdir()
    minutes.note(step, state="finished", minutes=8.0)
    longer = step_of(tmp_path, command="a.py --number_of_epochs 20")
    assert minutes.start(longer, os.getpid()) == 8.0
    evaluation = step_of(tmp_path, kind="evaluate")
    minutes.start(evaluation, os.getpid())
    evaluation.makes.mkdir()
    minutes.note(evaluation, state="finished", minutes=3.0)
    assert minutes.start(evaluation, os.getpid()) == 0.0


def test_minutes_of_what_was_trained_before_are_not_claimed(tmp_path):
    minutes, step = Minutes(tmp_path / "minutes.json"), step_of(tmp_path)
    step.makes.mkdir()
    minutes.start(step, os.getpid())
    minutes.note(step, state="finished", minutes=0.1)
    assert "| run |          > 0.1 |                – |" in minutes_to_markdown(
        [step], minutes
    )


def test_minutes_are_kept_when_a_command_fails_and_runs_again(bench):
    bench.order(**orders(MASK_1[0], exit=1))
    bench.run()
    path = bench.folder / "bench" / "minutes.json"
    text = path.read_text()
    made = str(bench.results / "mask0.75/1/save")
    entries = json.loads(text)
    entries[made]["minutes"] = 90.0
    path.write_text(json.dumps(entries))
    bench.order()
    assert bench.run()[0] == 0
    assert json.loads(path.read_text())[made]["minutes"] >= 90.0


def test_a_share_of_the_cores_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert "OMP_NUM_THREADS" not in child_environment(1)
    assert child_environment(3)["OMP_NUM_THREADS"] == "2"
    assert child_environment(16)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert child_environment(3)["OMP_NUM_THREADS"] == "5"


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


def test_a_second_benchmark_is_refused(bench, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_S", 0.1)
    with (
        locks.one_writer(bench.folder / "bench", "benchmark"),
        pytest.raises(SettingError, match=r"another benchmark writes .* --folder$"),
    ):
        bench.run()
    assert bench.run()[0] == 0


@pytest.mark.slow
def test_so_is_one_beside_a_command_that_was_left_behind(bench):
    bench.order(**orders(MASK_1[0], sleep=60))
    running = start_until(bench, MASK_1[0])
    running.kill()  # and not what it started
    finished(running, 30)
    left_behind = int((bench.folder / f"{MASK_1[0]}.pid").read_text())
    bench.order()
    try:
        with pytest.raises(SettingError, match=f"{left_behind}.*killed still runs"):
            bench.run()
    finally:
        os.kill(left_behind, signal.SIGKILL)
    # What had finished before this program was killed is not run again.
    assert bench.run() == (0, ALL[1:])


def test_what_was_cut_short_by_other_settings_is_not_taken_for_finished(bench):
    bench.run()
    bench.order(**orders(MASK_1[0], exit=1))
    assert bench.run("--number_of_epochs", "5")[0] == 1
    bench.order()
    assert bench.run() == (0, MASK_1)


@pytest.mark.parametrize("name", ["minutes.json", "doit.json"])
@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_file_is_named(bench, name, text):
    (bench.folder / "bench").mkdir()
    (bench.folder / "bench" / name).write_text(text)
    with pytest.raises(DataError, match=rf"{name} cannot be read: (.*; )?delete it"):
        bench.run()


def test_a_folder_of_an_earlier_version_is_run_again(bench):
    bench.run()
    for name in ("doit.json", "minutes.json"):
        (bench.folder / "bench" / name).unlink()
    (bench.folder / "bench" / "state.json").write_text("{}")
    assert bench.run() == (0, ALL)
    assert "> 0.0" in (bench.folder / "bench" / "table.md").read_text()


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


def test_the_file_chooses_the_columns_and_the_last_words(bench, capsys):
    with open(bench.path, "a") as file:
        file.write("columns: [AI, FF]\nclosing: |\n  AI counts.\n  Play it.\n")
    assert bench.run()[0] == 0
    printed = capsys.readouterr().out
    assert printed.endswith("\n\nAI counts.\nPlay it.\n")
    assert printed.count("\n| method ") == 1
    header = next(x for x in printed.splitlines() if x.startswith("| method "))
    assert header.count("|") == 4
    # All columns, and the minutes, are in the file.
    whole = (bench.folder / "bench" / "table.md").read_text()
    assert "AG (%)" in whole
    assert "### Minutes" in whole
    assert "### Minutes" not in printed
    assert bench.run("--columns", "AD", "AG", "SPS")[0] == 0
    printed = capsys.readouterr().out
    header = next(x for x in printed.splitlines() if x.startswith("| method "))
    assert "AD" in header
    assert header.count("|") == 5


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
    command += ["--folder", str(tiny_recipes / "bench")]
    command += ["--condition", "[in_domain, clean]"]
    command += ["--compare", "lmac_td_alpha1", "gradcam"]
    for starts in (4, 0):
        done = finished(started(command), 300)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count(" finished ") == starts
        # Two conditions, three groups (no truth for clean clips), and the minutes.
        for row, count in (("lmac_td_alpha1", 6), ("identity", 5), ("cnn14", 1)):
            assert done.stdout.count(f"\n| {row} ") == count
        assert "lmac_td_alpha1 − gradcam, clip by clip" in done.stdout
