"""The runs of a sweep as trials of Ray Tune."""

import sys

import pytest

from lmac_td.benchmark import ray_tune
from lmac_td.benchmark.minutes import Minutes
from lmac_td.benchmark.ray_tune import by_run, run_all_on_ray, trial_folder
from lmac_td.benchmark.schedule import CommandFailedError
from lmac_td.benchmark.step import Step
from lmac_td.errors import SettingError
from tests.cli.bench import COMMAND
from tests.forks import fork, wait_for


def runs_of(folder, alphas):
    """A shared step, and a training and an evaluation for each value of alpha."""
    for kind in ("prepare", "train", "evaluate"):
        (folder / f"{kind}.py").write_text(COMMAND)
    (folder / "orders.json").write_text("{}")

    def step(kind, run, alpha, makes, needs):
        out = folder / "results" / f"a{alpha}" / "7"
        arguments = (str(folder / f"{kind}.py"), "a.yaml", "--alpha", alpha)
        return Step(run, kind, arguments, out / makes, needs)

    steps = [step("prepare", "shared", "0", "model", [])]
    for alpha in alphas:
        run = f"alpha {alpha}-seed1"
        train = step("train", run, alpha, "save", [steps[0]])
        steps += [train, step("evaluate", run, alpha, "evaluation", [train])]
    return steps


def test_steps_that_several_runs_need_are_apart(tmp_path):
    steps = runs_of(tmp_path, ["0.2", "0.8"])
    shared, chains = by_run(steps)
    assert shared == steps[:1]
    assert chains == {
        "alpha 0.2-seed1": steps[1:3],
        "alpha 0.8-seed1": steps[3:],
    }
    for train, evaluate in chains.values():
        assert train.needs == []
        assert evaluate.needs[0] is train


def test_without_ray_one_sentence_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingError, match=r'pip install "\.\[ray\]"'):
        run_all_on_ray(runs_of(tmp_path, ["0.2"]), tmp_path / "sweep")


def in_a_process(check, folder):
    """Check something with Ray in a process of its own.

    Ray leaves threads, and other tests fork this process.
    """
    pytest.importorskip("ray.tune")
    child = fork(shut_down_after, check, folder)
    assert wait_for(child, check.__name__) == 0  # it prints its error


def shut_down_after(check, folder):
    import ray

    try:
        check(folder)
    finally:
        ray.shutdown()


def trials_run_once(folder):
    steps = runs_of(folder, ["0.2", "0.8"])
    sweep = folder / "sweep"
    (folder / "orders.json").write_text('{"train a 0.8 7": {"exit": 2}}')
    with pytest.raises(CommandFailedError, match=r"train failed \(exit code 2\)") as e:
        run_all_on_ray(steps, sweep, jobs=2)
    assert e.value.exit_code == 2
    first = sorted((folder / "calls").read_text().splitlines())
    assert first == [
        "evaluate a 0.2 7", "prepare a 0 7", "train a 0.2 7", "train a 0.8 7"
    ]  # fmt: skip
    (folder / "orders.json").write_text("{}")
    ray_tune.start_ray = lambda *_: None  # it runs
    minutes = run_all_on_ray(steps, sweep, jobs=2)
    assert all(minutes.is_finished(step) for step in steps)
    again = (folder / "calls").read_text().splitlines()[len(first) :]
    assert again == ["train a 0.8 7", "evaluate a 0.8 7"]
    log = trial_folder(sweep, "alpha 0.8-seed1") / "logs"
    assert len(list(log.iterdir())) == 2
    assert Minutes(sweep / "minutes.json").is_finished(steps[-1])


@pytest.mark.slow
def test_trials_run_once_and_the_same_command_resumes(tmp_path):
    in_a_process(trials_run_once, tmp_path)


def a_cluster_without_a_cpu_is_refused(folder):
    with pytest.raises(SettingError, match="no machine of the Ray cluster has a CPU"):
        ray_tune.run_all_on_ray(runs_of(folder, ["0.2"]), folder / "sweep", jobs=0)


@pytest.mark.slow
def test_a_cluster_without_a_cpu_is_refused(tmp_path):
    """A task would wait for one without a word."""
    in_a_process(a_cluster_without_a_cpu_is_refused, tmp_path)
    assert not (tmp_path / "calls").exists()


def test_a_cluster_that_does_not_exist_is_refused(tmp_path):
    pytest.importorskip("ray.tune")
    with pytest.raises(SettingError, match=r"no Ray cluster at 127\.0\.0\.1:1"):
        ray_tune.run_all_on_ray(
            runs_of(tmp_path, ["0.2"]), tmp_path / "sweep", "127.0.0.1:1"
        )
