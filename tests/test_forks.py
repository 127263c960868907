"""Processes of the tests end for certain, and leave none."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from tests import forks
from tests.commands import finished, started, wait_until
from tests.forks import TwoProcesses, fork, killed_after, wait_for


def test_a_process_that_waits_forever_is_named(monkeypatch):
    monkeypatch.setattr(forks, "LIMIT_S", 1)
    child = fork(time.sleep, 60)
    with pytest.raises(AssertionError, match="a sleeper did not end within 1 seconds"):
        wait_for(child, "a sleeper")
    assert not psutil.pid_exists(child)


def test_two_processes_that_wait_for_each_other_are_named(monkeypatch):
    monkeypatch.setattr(forks, "LIMIT_S", 1)
    both = TwoProcesses(time.sleep, 60)
    with pytest.raises(AssertionError, match="did not end within 1 seconds"):
        both.wait()
    assert not any(map(psutil.pid_exists, both.ids))


def fails_alone():
    print(os.environ["RANK"], file=sys.stderr, flush=True)
    if os.environ["RANK"] == "1":
        raise ValueError("seen")
    time.sleep(60)


def test_the_other_one_is_ended_with_one_that_fails():
    both = TwoProcesses(fails_alone)
    done = both.wait()
    assert done.returncode == 1
    assert "ValueError: seen" in done.stderr
    assert not any(map(psutil.pid_exists, both.ids))


def test_exit_codes_and_signals():
    assert wait_for(fork(int)) == 0
    assert wait_for(fork(sys.exit, 3)) == 3
    assert wait_for(fork(int, "x")) == 1
    assert killed_after(0.1, fork(time.sleep, 60))
    assert not killed_after(60, fork(int))


def test_what_a_process_started_ends_with_it():
    whole = started(["sh", "-c", "sleep 60 & sleep 60"])
    parts = wait_until(psutil.Process(whole.pid).children, "a child", 10)
    with pytest.raises(subprocess.TimeoutExpired):
        finished(whole, 0.2)
    assert psutil.wait_procs(parts, timeout=10)[1] == []
