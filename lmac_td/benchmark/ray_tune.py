"""Run the commands of a sweep as trials of Ray Tune, on the machines of a cluster.

A trial trains and scores one run by the benchmark's own runner, with logs and minutes
in a folder of its own, so the same command resumes. All machines see the repository,
the data and the results under the same paths. Needs ``pip install ".[ray]"``.
"""

from __future__ import annotations

import logging
import socket
import time
from dataclasses import replace
from pathlib import Path

from lmac_td.benchmark.minutes import Minutes
from lmac_td.benchmark.schedule import CommandFailedError, run_all
from lmac_td.benchmark.step import Step
from lmac_td.errors import SettingError
from lmac_td.evaluation.columns import metrics_of
from lmac_td.names import file_name
from lmac_td.report.runs import read_runs

LOCAL = "local"
CONNECTING_S = 10
GROWING_S = 300  # a cluster may start machines when it is used
FAILED = "failed"  # in a trial's report: a message, and an exit code


def run_all_on_ray(
    steps: list[Step], folder: Path, address: str = LOCAL, jobs: int = 1
) -> Minutes:
    """Run all steps that are not up to date, one trial of Ray Tune for each run.

    Steps that several runs need are done first, on this machine.

    Arguments
    ---------
    steps : list of Step
        Each comes after those that it needs.
    folder : Path
        Of logs and minutes; trials write to ``trials/<run>`` in it, and Ray to ``ray``.
    address : str
        Of a Ray cluster, ``auto`` for the one that this machine belongs to, or
        ``local``: Ray is started on this machine.
    jobs : int
        Trials at a time on this machine, if Ray is started here. A cluster runs as many
        as it has room for. A trial takes a GPU if there is one.

    Returns
    -------
    Minutes
        The minutes of each command.

    Raises
    ------
    SettingError
        If Ray is not installed, or there is no cluster at the address.
    CommandFailedError
        If a command fails; the other trials end before.
    """
    start_ray(address, jobs)
    from ray import tune

    shared, chains = by_run(steps)
    minutes = run_all(shared, folder)
    trial = tune.with_parameters(_trial, chains=chains, folder=folder)
    results = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1, "gpu": int(has_gpu())}),
        param_space={"run": tune.grid_search(list(chains))},
        run_config=tune.RunConfig(name="ray", storage_path=str(folder), verbose=0),
    ).fit()
    for run in chains:
        minutes.take(Minutes(trial_folder(folder, run) / "minutes.json"))
    for result in results:
        if result.error is not None:
            raise CommandFailedError(f"A trial of Ray failed: {result.error}")
        if FAILED in result.metrics:
            raise CommandFailedError(*result.metrics[FAILED])
    return minutes


def by_run(steps: list[Step]) -> tuple[list[Step], dict[str, list[Step]]]:
    """Part the steps into those that several runs need, and those of each run.

    Arguments
    ---------
    steps : list of Step
        Each comes after those that it needs.

    Returns
    -------
    shared : list of Step
    chains : dict of str to list of Step
        By the name of the evaluation's run.
    """
    needed = {id(step): step.chain for step in steps if step.kind == "evaluate"}
    times = [id(step) for chain in needed.values() for step in chain]
    shared = [step for step in steps if times.count(id(step)) > 1]
    known = {id(step) for step in shared}
    chains = {}
    for step in steps:
        if id(step) in needed:
            own = [need for need in needed[id(step)] if id(need) not in known]
            chains[step.run] = _without(own, known)
    return shared, chains


def _without(chain: list[Step], known: set[int]) -> list[Step]:
    """Return copies of the steps of a chain that do not need the known ones."""
    copies: dict[int, Step] = {}
    for step in chain:
        needs = [copies[id(need)] for need in step.needs if id(need) not in known]
        copies[id(step)] = replace(step, needs=needs)
    return list(copies.values())


def trial_folder(folder: Path, run: str) -> Path:
    """Return the folder of a trial's logs and minutes."""
    return folder / "trials" / file_name(run)


def _trial(config: dict[str, str], chains: dict[str, list[Step]], folder: Path) -> None:
    """Train and score one run; Ray calls this in a process of its own."""
    from ray import tune

    run = config["run"]
    try:
        run_all(chains[run], trial_folder(folder, run))
    except CommandFailedError as error:
        # Not an error of Ray's: its traceback would hide the log's last lines.
        tune.report({FAILED: (str(error), error.exit_code)})
        return
    tune.report(means_of(chains[run][-1]))


def means_of(step: Step) -> dict[str, float]:
    """Return the means of an evaluation's printed metrics, for Ray's own reports.

    Arguments
    ---------
    step : Step
        A finished evaluation.
    """
    table = read_runs([step.path]).table
    return {
        f"{condition}/{row}/{name}": float(scores[name].mean())
        for (condition, row), scores in table.rows.items()
        for name in metrics_of(scores)
    }


def start_ray(address: str, jobs: int | None) -> None:
    """Connect to a cluster, or start Ray on this machine.

    Arguments
    ---------
    address : str
        See :func:`run_all_on_ray`.
    jobs : int, optional
        Tasks at a time on this machine, if Ray is started here; by default one for
        each CPU.

    Raises
    ------
    SettingError
        If Ray is not installed, there is no cluster at the address, or none of its
        machines has room for a task.
    """
    try:
        import ray
        import ray.tune
    except ImportError as error:
        raise SettingError(
            f"--ray needs Ray Tune, which cannot be imported ({error}): install it by "
            'pip install ".[ray]"'
        ) from error
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address == LOCAL:
        ray.init(num_cpus=jobs, include_dashboard=False, **quiet)
    else:
        try:
            _require_listener(address)
            ray.init(address=address, **quiet)
        except (OSError, ValueError) as error:
            raise SettingError(
                f"there is no Ray cluster at {address} ({error}): give --ray its "
                "address, or leave the address out to start Ray on this machine"
            ) from error
    _require_room(0 if address == LOCAL else GROWING_S)


def _require_listener(address: str) -> None:
    """Refuse host:port if nothing listens there; Ray would try for ten minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host:
        socket.create_connection((host, int(port)), CONNECTING_S).close()


def _require_room(seconds: float) -> None:
    """Refuse a cluster on which a task would wait forever, without a word of Ray's."""
    import ray

    end = time.monotonic() + seconds
    while not any(_has_room(node) for node in ray.nodes()):
        if time.monotonic() >= end:
            raise SettingError(
                f"no machine of the Ray cluster has a CPU{' and a GPU' * has_gpu()} "
                "for a task: start one with more by `ray start`, or, if Ray is started "
                "here, give --shards"
            )
        time.sleep(1)


def _has_room(node):
    needs = {"CPU": 1, "GPU": int(has_gpu())}
    there = node["Resources"]
    return node["Alive"] and all(there.get(name, 0) >= needs[name] for name in needs)


def has_gpu() -> bool:
    """Return whether the cluster has a GPU."""
    import ray

    return ray.cluster_resources().get("GPU", 0) >= 1
