"""Run commands in forked processes: they pay for no import, and end for certain.

The system's alarm ends each of them after a limit, whatever it waits for, and also if
the process that started it is gone.
"""

import atexit
import importlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

import speechbrain as sb
import torch

from tests.commands import call, command

# Each forked process would import them anew; optimisers import torch._dynamo.
for name in ("evaluate", "train", "train_classifier", "train_nmf"):
    importlib.import_module(f"lmac_td.cli.{name}")
importlib.import_module("torch._dynamo")

LIMIT_S = 300  # of each process
PATIENCE_S = 30  # of the launcher, until it kills a process that should end


def fork(function, *arguments, outputs=None, **settings):
    """Call a function in a forked process.

    Arguments
    ---------
    function : callable
        Returns an exit code, or None for 0. Its exceptions are printed.
    *arguments, **settings
        Of the function.
    outputs : pair of open files, optional
        In the place of stdout and stderr.

    Returns
    -------
    int
        The id of the process.
    """
    sb.utils.logger.get_environment_description()  # is kept: see conftest.py
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LIMIT_S)
        atexit._clear()  # only what the function registers is called at the end
        if outputs is not None:
            for number, file in enumerate(outputs, start=1):
                os.dup2(file.fileno(), number)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        code = function(*arguments, **settings) or 0
    except SystemExit as leaving:
        code = leaving.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def fork_command(script, *arguments, prepare=None, **settings):
    """Run a command in a forked process, after a preparation there -> its id."""

    def prepared():
        if prepare is not None:
            prepare()
        return call(script, *arguments, **settings)

    with open(os.devnull, "w") as nowhere:
        return fork(prepared, outputs=(nowhere, nowhere))


def wait_for(child, what="a forked process"):
    """Wait until a process ends -> its exit code; minus the signal that ended it."""
    try:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except BaseException:  # pytest's own limit
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    assert code != -signal.SIGALRM, f"{what} did not end within {LIMIT_S} seconds"
    return code


def killed_after(seconds, child):
    """Kill a process unless it ends before -> whether it was killed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return False
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


class TwoProcesses:
    """Call a function in two forked processes, as ``torchrun`` starts them.

    This process holds their store, and ends the other one if one fails, as the launcher
    does. ``test_torchrun.py`` compares the variables with those of the launcher.

    Arguments
    ---------
    function : callable
    *arguments, **settings
        Of the function.
    """

    def __init__(self, function, *arguments, **settings):
        self.what = function, arguments
        self.outputs = tempfile.TemporaryFile("a+"), tempfile.TemporaryFile("a+")  # noqa: SIM115
        listening = socket.create_server(("127.0.0.1", 0))
        self.variables = variables(listening.getsockname()[1])
        self.running = [
            fork(
                self._call, rank, function, *arguments, outputs=self.outputs, **settings
            )
            for rank in (0, 1)
        ]
        self.ids = list(self.running)  # by rank
        # After the forks: the store has a thread.
        self.store = torch.distributed.TCPStore(
            "127.0.0.1",
            listening.getsockname()[1],
            is_master=True,
            wait_for_workers=False,
            master_listen_fd=listening.detach(),
        )

    def _call(self, rank, function, *arguments, **settings):
        names = "RANK", "LOCAL_RANK", "ROLE_RANK"
        os.environ.update(self.variables, **dict.fromkeys(names, str(rank)))
        return function(*arguments, **settings)

    def kill(self, rank):
        """Kill one -> whether it was running."""
        child = self.ids[rank]
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT  # wait() asks for its exit code
        was_running = os.waitid(os.P_PID, child, flags) is None
        os.kill(child, signal.SIGKILL)
        return was_running

    def wait(self):
        """Wait for both, and end both -> CompletedProcess of the first that failed."""
        failed, kill_at = 0, float("inf")
        try:
            while self.running:
                for child in list(self.running):
                    ended, status = os.waitpid(child, os.WNOHANG)
                    if ended:
                        self.running.remove(child)
                        code = os.waitstatus_to_exitcode(status)
                        if code and not failed:
                            failed, kill_at = code, time.monotonic() + PATIENCE_S
                            self._send(signal.SIGTERM)
                if time.monotonic() > kill_at:
                    self._send(signal.SIGKILL)
                time.sleep(0.005)
        finally:
            self._send(signal.SIGKILL)
            for child in self.running:
                os.waitpid(child, 0)
            self.store = None
        texts = []
        for file in self.outputs:
            file.seek(0)
            texts.append(file.read())
            file.close()
        ends = f"{self.what} did not end within {LIMIT_S} seconds: {texts[1][-3000:]}"
        assert failed != -signal.SIGALRM, ends
        return subprocess.CompletedProcess(self.what, failed, *texts)

    def _send(self, number):
        for child in self.running:
            os.kill(child, number)


def variables(port):
    """The variables of ``torchrun --nproc_per_node=2`` that are the same for both."""
    return {
        **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE", "ROLE_WORLD_SIZE"), "2"),
        "GROUP_RANK": "0",
        "GROUP_WORLD_SIZE": "1",
        "ROLE_NAME": "default",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_RUN_ID": "forked",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


def launched(script, *arguments, check=True, **settings):
    """Run a command in two processes -> CompletedProcess of the first that failed."""
    arguments = [*arguments, "--noprogressbar"]
    done = TwoProcesses(call, script, *arguments, **settings).wait()
    done.args = command(script, *arguments, **settings)
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done
