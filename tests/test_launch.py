"""Processes that a launcher started: who of them speaks, and what is refused."""

import socket

import pytest
import torch

from lmac_td import launch
from lmac_td.errors import SettingError, exit_on_user_error


@pytest.fixture
def second_of_two(monkeypatch):
    """The environment of the second of two processes; their store is here."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    store = torch.distributed.TCPStore("localhost", port, is_master=True)
    for name, value in {
        "RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2,
        "MASTER_ADDR": "localhost", "MASTER_PORT": port,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    return store


def fails_with(error, **settings):
    """Fail as a command does -> its exit code."""
    with pytest.raises(SystemExit) as leaving, exit_on_user_error(**settings):
        raise error
    return leaving.value.code


def test_without_a_launcher():
    assert not launch.is_launched()
    assert launch.number_launched() == launch.number_here() == 1
    assert launch.rank() == launch.local_rank() == 0
    assert launch.speaks_first()
    assert not launch.another_has_spoken()


def test_a_mistake_of_all_is_printed_once(second_of_two, capsys):
    assert not launch.another_has_spoken()
    for printed in ("error: wrong\n", "", ""):
        assert fails_with(SettingError("wrong"), many_processes=True) == 2
        assert capsys.readouterr().err == printed
    assert launch.another_has_spoken()


def test_what_follows_a_mistake_of_another_process_is_silent(second_of_two, capsys):
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    assert launch.speaks_first()  # the other one
    launch.has_spoken()
    assert fails_with(lost, many_processes=True) == 2
    assert capsys.readouterr().err == ""


def test_a_process_that_was_killed_is_a_sentence(second_of_two, capsys):
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    assert fails_with(lost, many_processes=True) == 2
    assert "another process of this command has ended ([gloo" in capsys.readouterr().err


def test_other_errors_stay_what_they_are(second_of_two):
    entered = exit_on_user_error(many_processes=True)
    with pytest.raises(RuntimeError, match="shapes"), entered:
        raise RuntimeError("shapes do not fit")


def test_a_launch_is_refused_by_a_command_of_one_process(second_of_two, capsys):
    assert fails_with(AssertionError("was called")) == 2
    assert "start it without torchrun" in capsys.readouterr().err


def test_another_attempt_of_the_launcher_speaks_again(second_of_two, monkeypatch):
    assert launch.speaks_first()
    launch.has_spoken()
    assert not launch.speaks_first()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert launch.speaks_first()


def test_without_a_store_the_main_process_speaks(second_of_two, monkeypatch):
    monkeypatch.delenv("MASTER_PORT")
    assert not launch.speaks_first()
    monkeypatch.setenv("RANK", "0")
    assert launch.speaks_first()
