"""``benchmarks/gpu.sh``: every part writes its figures, and no part stops others."""

import json
import math
import os
import subprocess
import sys
import time
import venv

import pytest
import torch

from benchmarks import sides
from benchmarks.gpu import environment, figures, parts, runner, speed
from benchmarks.gpu.scale import DRY, Run, Scale
from tests.conftest import ROOT

SCRIPT = str(ROOT / "benchmarks" / "gpu.sh")


def status_of(folder):
    return {part["name"]: part for part in figures.read(folder, "status")["parts"]}


@pytest.fixture
def quick(monkeypatch):
    """Replace the parts by single lines of Python, on a complete machine."""
    lines = {}
    found = environment.Environment(["Python"])
    monkeypatch.setattr(environment, "check", lambda *_: found)
    monkeypatch.setattr(runner, "call_of", lambda name, *_: (exec, lines[name]))

    def build(limit_s=60, **given):
        lines.update(given)
        every = tuple(runner.Part(name, limit_s, least_s=1) for name in given)
        monkeypatch.setattr(runner, "PARTS", every)

    return build


def test_the_runner_knows_every_part():
    assert {part.name for part in runner.PARTS} == parts.PARTS.keys()


def test_a_part_that_fails_is_recorded_and_the_others_run(quick, tmp_path, capsys):
    write = f"open({str(tmp_path)!r} + '/last', 'w')"
    quick(first="pass", second="print('on'); raise ValueError('a | b')", last=write)
    assert runner.main([str(tmp_path)]) == 1
    status = status_of(tmp_path)
    found = {name: part["status"] for name, part in status.items()}
    assert found == {"first": "done", "second": "failed", "last": "done"}
    assert status["second"]["note"] == "ValueError: a | b (exit code 1)"
    assert (tmp_path / "last").exists()
    assert "| second | failed |" in (tmp_path / "gpu.md").read_text()
    assert "Traceback" in (tmp_path / "log.txt").read_text()
    assert "second failed: ValueError" in capsys.readouterr().out


def test_a_part_is_stopped_at_its_limit_with_its_children(quick, tmp_path):
    path = tmp_path / "alive"
    beat = f"open({str(path)!r}, 'a').write('.')"
    child = f"import time\nfor _ in range(600): {beat}; time.sleep(0.1)"
    parent = f"import subprocess as s, sys; s.run([sys.executable, '-c', {child!r}])"
    quick(limit_s=3, slow=parent, next="pass")
    begin = time.monotonic()
    assert runner.main([str(tmp_path)]) == 1
    assert time.monotonic() - begin < 20
    status = status_of(tmp_path)
    assert (status["slow"]["status"], status["next"]["status"]) == ("stopped", "done")
    size = path.stat().st_size
    assert size > 0
    time.sleep(0.5)
    assert path.stat().st_size == size


def test_a_part_without_enough_time_is_skipped(quick, tmp_path):
    quick(first="pass")
    assert runner.main([str(tmp_path), "--budget", "3"]) == 1
    status = status_of(tmp_path)["first"]
    assert status["status"] == "skipped"
    assert status["note"] == "0 s left, at least 1 needed"


def test_figures_of_an_earlier_run_are_deleted(quick, tmp_path):
    quick(first="pass")
    figures.write(tmp_path, "train", {"markdown": "## Old"})
    assert "## Old" in (tmp_path / "gpu.md").read_text()
    assert runner.main([str(tmp_path)]) == 0
    assert "## Old" not in (tmp_path / "gpu.md").read_text()


def test_no_package_is_missing_here():
    """Distributions have other names than their modules."""
    assert len(environment.requirements()) > 10
    assert environment.missing(environment.requirements()) == []


def test_missing_packages_are_named(tmp_path):
    """With a Python that has no packages, not even PyTorch."""
    venv.create(tmp_path / "bare", with_pip=False)
    done = subprocess.run(
        [SCRIPT, str(tmp_path / "out"), "--dry"],
        env={"PATH": os.environ["PATH"], "PYTHON": str(tmp_path / "bare/bin/python")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "error: PyTorch is missing" in done.stderr
    assert "Traceback" not in done.stderr
    summary = (tmp_path / "out" / "gpu.md").read_text()
    for package in environment.requirements():
        assert package in summary
    assert "'speechbrain>=" in summary  # as pip takes it
    assert "'torch==" not in summary


def test_a_missing_package_does_not_stop_the_run(monkeypatch):
    monkeypatch.setattr(environment, "missing", lambda names: ["quantus"])
    monkeypatch.setattr(environment, "probe", lambda: {"torch": "2", "gpu": None})
    found = environment.check(dry=True)
    assert found.problem is None
    assert "missing packages: quantus" in found.lines
    assert any("--install" in line and "'quantus>=" in line for line in found.lines)


def test_without_a_gpu_one_sentence_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(environment, "probe", lambda: {"torch": "2", "gpu": None})
    assert runner.main([str(tmp_path)]) == 2
    assert "torch 2 finds no CUDA GPU" in capsys.readouterr().err
    assert "error: torch 2 finds no CUDA GPU" in (tmp_path / "gpu.md").read_text()


def test_pip_does_not_change_pytorch(monkeypatch):
    calls = []
    monkeypatch.setattr(environment, "_pip", lambda given, _: calls.append(given))
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.99.0+cu130")
    result = environment.install_packages(
        ["torchaudio", "soxr"], environment.requirements(), 60
    )
    assert result == "installed by pip: torchaudio, soxr"
    audio, others = calls
    assert audio == ["--no-deps", "torchaudio==2.99.0"]
    assert others[0] == "--constraint"
    assert others[2:] == [environment.requirements()["soxr"]]


def test_a_failure_of_pip_is_reported(monkeypatch):
    monkeypatch.setattr(environment, "_pip", lambda *_: "no index")
    result = environment.install_packages(["soxr"], environment.requirements(), 60)
    assert result == "pip install failed: no index"


class Task:
    """A task that runs out of memory from a batch size on."""

    def __init__(self, full_at):
        self.full_at = full_at

    def take(self, n_clips):
        self.n_clips = n_clips

    def __call__(self):
        if self.n_clips >= self.full_at:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")


def speed_rows(monkeypatch, folder, mode, full_at, seconds=math.inf):
    monkeypatch.setattr(speed, "build", lambda *_: Task(full_at))
    run = Run(folder, Scale("cpu", {}, repeats=1), time.time() + seconds)
    speed.speed("train", mode, run)
    rows = [r for r in figures.read(folder, "train")["rows"] if r["mode"] == mode]
    return [(row["batch_size"], row.get("note")) for row in rows]


def test_batches_double_until_memory_is_full(monkeypatch, tmp_path):
    rows = speed_rows(monkeypatch, tmp_path, "bf16", full_at=8)
    assert rows == [(1, None), (2, None), (4, None), (8, "out of memory")]
    # Compiled networks start at the largest batch that fits without compilation.
    rows = speed_rows(monkeypatch, tmp_path, "bf16_compile", full_at=3)
    assert rows == [(4, "out of memory"), (2, None)]
    table = (tmp_path / "gpu.md").read_text()
    assert table.count("out of memory") == 2


def test_batches_double_while_there_is_time(monkeypatch, tmp_path):
    rows = speed_rows(monkeypatch, tmp_path, "float32", full_at=8, seconds=-1)
    assert rows == [(1, None), (2, "no time left")]


def test_full_memory_is_distinguished_from_other_errors():
    for text in ("CUDA error: out of memory", "CUDNN_STATUS_ALLOC_FAILED"):
        assert speed.is_out_of_memory(RuntimeError(text))
    assert not speed.is_out_of_memory(RuntimeError("shapes do not match"))


def test_a_row_of_the_speed_table():
    row = {"mode": "tf32", "batch_size": 2, "first_s": 3.0, "seconds": [0.5, 0.4, 0.6]}
    row["peak_gb"] = 7.0
    cells = speed.speed_row(row, {"TF32": 100.0}, {"float32": 5.0}, {2: 1.5})
    assert cells[2:] == [
        "0.500 [0.400, 0.600]", "3.00", "4", "3.00", "7.00", "10", "20"
    ]  # fmt: skip
    cells = speed.speed_row(row, {}, {}, {})
    assert [cells[5], *cells[7:]] == ["–", "–", "–"]


def test_an_evaluation_takes_weights_and_precision():
    settings = DRY.recipe_settings(sides.DEFAULT)
    interpreter = sides.training(sides.DEFAULT, settings, 2, "cpu").brain.modules[
        "interpreter"
    ]
    weights = {key: torch.zeros_like(v) for key, v in interpreter.state_dict().items()}
    plain, half, zeros = (
        sides.evaluation_batch(sides.DEFAULT, settings, 2, "cpu", **given)()
        for given in ({}, {"precision": "bf16"}, {"weights": weights})
    )
    assert half["FF"] == pytest.approx(plain["FF"], abs=0.05)
    assert half["FF"] != plain["FF"]
    assert zeros["FF"] != pytest.approx(plain["FF"], abs=1e-3)


@pytest.mark.slow
def test_a_dry_run_writes_every_figure(tmp_path):
    done = subprocess.run(
        [SCRIPT, "--dry", str(tmp_path), "--budget", "900"],  # CPUs may be busy
        env={**os.environ, "PYTHON": sys.executable},
        cwd=tmp_path,  # any folder
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    status = status_of(tmp_path)
    assert list(status) == [part.name for part in runner.PARTS]
    assert {part["status"] for part in status.values()} == {"done"}
    rates = figures.read(tmp_path, "rates")["gflop_per_s"]
    assert rates["float32"] > 0
    for work in ("train", "eval"):
        rows = figures.read(tmp_path, work)["rows"]
        found = [(row["mode"], row["batch_size"]) for row in rows]
        modes = ("published", "float32", "tf32", "bf16")
        both = [(mode, n) for mode in modes for n in (1, 2)]
        assert found == [*both, ("bf16_compile", 2)]
        assert all(min(row["seconds"]) > 0 and row["peak_gb"] > 0 for row in rows)
    training = figures.read(tmp_path, "bf16_training")
    assert {name: len(v) for name, v in training["losses"].items()} == {
        "float32": DRY.steps, "bf16": DRY.steps
    }  # fmt: skip
    first, half = (training["losses"][name][0] for name in ("float32", "bf16"))
    assert half == pytest.approx(first, rel=0.05)
    assert half != first
    equal = figures.read(tmp_path, "gpu_equals_cpu")
    assert equal["CPU"] == equal["GPU"]  # both are the CPU here
    summary = (tmp_path / "gpu.md").read_text()
    assert summary in done.stdout
    for title in ("Matrix rate", "A training step", "An evaluation batch", "in bf16"):
        assert title in summary
    assert not list(tmp_path.glob(".*"))  # nothing half-written
    assert json.loads((tmp_path / "status.json").read_text())["dry"] is True
