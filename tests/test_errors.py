"""What a command prints when a user can fix the mistake."""

import errno
import os

import pytest

from lmac_td.errors import DataError, SettingError, exit_on_user_error


def printed(capsys, error):
    with pytest.raises(SystemExit) as left, exit_on_user_error():
        raise error
    assert left.value.code == 2
    return capsys.readouterr().err


def test_a_users_mistake_is_one_sentence_and_exit_code_2(capsys):
    assert printed(capsys, SettingError("lr is 0")) == "error: lr is 0\n"
    assert printed(capsys, DataError("a\nb is empty")) == "error: a b is empty\n"


def test_of_a_workers_traceback_the_sentence_is_printed(capsys):
    text = "Caught in worker 0.\nTraceback:\nlmac_td.errors.DataError: x is bad"
    assert printed(capsys, DataError(text)) == "error: x is bad\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.ENAMETOOLONG])
def test_what_the_system_says_of_a_disk_is_a_sentence(capsys, number):
    shown = printed(capsys, OSError(number, os.strerror(number), "some/file"))
    assert shown.startswith(f"error: some/file: {os.strerror(number)}: ")


def test_a_reader_that_leaves_ends_the_command_quietly(capsys):
    with pytest.raises(SystemExit) as left, exit_on_user_error():
        raise BrokenPipeError
    assert left.value.code == 141
    assert capsys.readouterr().err == ""


def test_other_errors_pass():
    with pytest.raises(ChildProcessError), exit_on_user_error():
        raise ChildProcessError(errno.ECHILD, "no child of this process")


def test_an_interruption_says_what_to_do(capsys):
    with pytest.raises(SystemExit) as left, exit_on_user_error("Give it again."):
        raise KeyboardInterrupt
    assert left.value.code == 130
    assert "Give it again." in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOENT])
def test_any_other_error_of_a_path_is_a_sentence(capsys, number):
    reason = os.strerror(number)
    shown = printed(capsys, OSError(number, reason, "some/file"))
    assert shown == f"error: some/file: {reason}: give another path\n"


def test_a_long_path_is_shortened(capsys):
    shown = printed(
        capsys, OSError(errno.ENAMETOOLONG, "File name too long", "a" * 999)
    )
    assert len(shown) < 400
    assert "give a shorter name" in shown
