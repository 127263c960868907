"""One writer at a time: the second is refused by name; a dead one holds nothing."""

import os
import signal
import subprocess
import sys

import pytest

from lmac_td import locks
from lmac_td.errors import SettingError
from lmac_td.locks import one_writer
from tests.commands import kill_all

HOLD = """
import sys, time
from lmac_td.locks import one_writer
with one_writer(sys.argv[1], "training"):
    print("holding", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_S", 0.2)


@pytest.fixture
def other(tmp_path):
    """Another process that holds a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "holding\n"
    yield process
    kill_all(process)


def test_the_second_is_refused_with_the_name_of_the_first(other, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    with (
        pytest.raises(SettingError, match=f"process {other.pid} on ") as refusal,
        one_writer(tmp_path / "run", "training"),
    ):
        pass
    assert "another training writes into" in str(refusal.value)
    assert str(tmp_path / "run") in str(refusal.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_other_work_and_other_folders_are_free(other, tmp_path):
    with one_writer(tmp_path / "run", "evaluation"), one_writer(tmp_path, "training"):
        pass


def test_a_killed_process_holds_nothing(other, tmp_path):
    os.kill(other.pid, signal.SIGKILL)
    other.wait(10)
    with one_writer(tmp_path / "run", "training"):
        pass
    assert not (tmp_path / "run" / ".training.owner").exists()


def test_a_new_folder_is_removed_if_nothing_was_written(tmp_path):
    with (
        pytest.raises(ValueError, match="x"),
        one_writer(tmp_path / "a" / "b", "training"),
    ):
        raise ValueError("x")
    assert not any(tmp_path.iterdir())
    with one_writer(tmp_path / "a" / "b", "training"):
        (tmp_path / "a" / "b" / "results").touch()
    assert (tmp_path / "a" / "b" / "results").exists()
