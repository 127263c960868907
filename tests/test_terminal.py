"""Commands in any terminal, with any pipe, and when they are asked to end."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tests.commands import ROOT, finished

ASCII = {
    "PYTHONIOENCODING": "ascii", "LC_ALL": "C",
    "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
}  # fmt: skip


def start(work, *arguments, environment=(), **pipes):
    """Start a command that does some work; it imports nothing slow."""
    script = f"""
import os, signal, sys, time
from pathlib import Path
from lmac_td.errors import SettingError, exit_on_user_error
from lmac_td.files import temporary_folder_beside, write_atomically

@exit_on_user_error("the same command resumes.")
def command():
{textwrap.indent(textwrap.dedent(work), "    ")}

command()
"""
    script = script.encode("ascii", "backslashreplace").decode()
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **dict(environment)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **pipes,
    )


def finish(process):
    done = finished(process, 60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_terminal_shows_every_name(encoding):
    work = "print('犬 é'); raise SettingError('犬 é is no file')"
    environment = ASCII | {"PYTHONIOENCODING": encoding}
    code, out, err = finish(start(work, environment=environment))
    assert code == 2, err
    shown = "犬 é".encode(encoding, "backslashreplace").decode(encoding)
    assert out.decode(encoding).strip() == shown
    assert err.decode(encoding).strip() == f"error: {shown} is no file"


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1"])
def test_names_of_files_are_read_as_utf_8_in_every_locale(tmp_path, locale):
    work = """
        name = Path(sys.argv[1])
        name.mkdir()
        with write_atomically(name / 'a.txt', 'w') as file:
            file.write(name.name)
    """
    folder = tmp_path / "собака 犬"
    environment = ASCII | {"LC_ALL": locale}
    code, _, err = finish(start(work, str(folder), environment=environment))
    assert code == 0, err
    assert (folder / "a.txt").read_text("utf-8") == folder.name


def test_a_name_that_is_no_text_keeps_its_bytes(tmp_path):
    work = """
        name = Path(sys.argv[1])
        with write_atomically(name.with_suffix('.txt'), 'w') as file:
            file.write(name.name)
        print(name.name)
    """
    environment = {"PYTHONIOENCODING": "utf-8"}
    name = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    process = start(work, os.fsdecode(name), environment=environment)
    code, out, err = finish(process)
    assert code == 0, err
    assert out == b"caf\\udce9.wav\n"
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "rb") as file:
        assert file.read() == b"caf\xe9.wav"


@pytest.mark.parametrize("lines", [1, 100_000])
@pytest.mark.parametrize("closed", ["stdout", "both"])
def test_a_reader_that_leaves_ends_a_command_quietly(lines, closed):
    """One line stays in the buffer until the end, many lines fill the pipe."""
    work = f"""
        sys.stdin.readline()
        for _ in range({lines}):
            print('row', file=sys.stdout)
    """
    process = start(work, stdin=subprocess.PIPE)
    process.stdout.close()
    if closed == "both":
        process.stderr.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    process.stdin = None
    process.stdout = None
    if closed == "both":
        process.stderr = None
    done = finished(process, 60)
    assert done.returncode == 141
    assert not done.stderr


def test_a_mistake_that_nobody_reads_has_its_exit_code():
    process = start("sys.stdin.readline(); raise SettingError('x')", stdin=-1)
    process.stderr.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    process.stdin = process.stderr = None
    assert finished(process, 60).returncode == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("times", [1, 3])
def test_a_signal_tidies_and_says_how_to_go_on(tmp_path, number, times):
    work = f"""
        with temporary_folder_beside('{tmp_path}/new/result') as scratch:
            print('ready', flush=True)
            try:
                time.sleep(60)
            finally:
                time.sleep(0.3)
    """
    process = start(work)
    assert process.stdout.readline() == b"ready\n"
    for _ in range(times if number != signal.SIGINT else 1):
        process.send_signal(number)
    code, _, err = finish(process)
    assert code == 128 + number
    assert b"Traceback" not in err
    assert err.decode().strip().endswith(": the same command resumes.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "command",
    [["train_interpreter.py"], ["eval_faithfulness.py"], ["-m", "lmac_td.cli", "show"]],
)
def test_a_signal_while_libraries_are_imported(tmp_path, number, command):
    """The library that a command imports first takes long here."""
    for name in ("torch", "speechbrain", "ruamel", "numpy"):
        slow = "import time\nprint('importing', flush=True)\ntime.sleep(60)\n"
        (tmp_path / f"{name}.py").write_text(slow)
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"importing\n"
    process.send_signal(number)
    code, _, err = finish(process)
    assert code == 128 + number
    assert b"Traceback" not in err
    assert b"give the same command again" in err


def test_a_forked_worker_ends_at_a_signal_without_a_word():
    work = """
        worker = os.fork()
        if not worker:
            time.sleep(60)
        time.sleep(0.3)
        os.kill(worker, signal.SIGTERM)
        print(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
    """
    code, out, err = finish(start(work))
    assert (code, out, err) == (0, b"-15\n", b"")


def test_signals_that_are_ignored_stay_so():
    """As under ``nohup``."""
    work = "os.kill(os.getpid(), signal.SIGHUP); print('goes on')"
    ignore = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    assert finish(start(work, **ignore)) == (0, b"goes on\n", b"")


def test_a_library_that_raises_its_own_interruption_keeps_the_signal():
    work = """
        print('ready', flush=True)
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None
    """
    process = start(work)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert (code, b"SIGTERM" in err) == (143, True)
