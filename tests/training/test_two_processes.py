"""Trainings by two processes on a CPU, which exchange gradients by gloo."""

import json

import pytest

from tests.forks import TwoProcesses
from tests.training import two_processes

CHECKS = [name for name in vars(two_processes) if name.startswith("check_")]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What both processes saw in each check, started once for all of them."""
    folder = tmp_path_factory.mktemp("checks")
    results = folder.with_name("results.json")
    done = TwoProcesses(two_processes.main, folder, results).wait()
    paths = [results.with_name(f"{results.name}.{rank}") for rank in (0, 1)]
    assert all(path.exists() for path in paths), done.stderr[-5000:]
    of_both = [json.loads(path.read_text()) for path in paths]
    return of_both, done


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_two_processes(seen, check):
    of_both, done = seen
    for rank, of_process in enumerate(of_both):
        assert check in of_process, done.stderr[-5000:]
        assert "error" not in of_process[check], f"{rank}: {of_process[check]['error']}"
