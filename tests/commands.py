"""Run the commands of the repository, in this process or in one of their own."""

import contextlib
import io
import runpy
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
CLASSIFIER = "recipes/ESC50/train_classifier.py"
TRAIN_NMF = "recipes/ESC50/train_nmf.py"
TRAIN = "train_interpreter.py"
EVALUATE = "eval_faithfulness.py"
COMPARE = "recipes/ESC50/compare_runs.py"
BENCHMARK = "recipes/ESC50/benchmark.py"
RANDOMISE = "recipes/ESC50/randomise_classifier.py"
ROAR = "recipes/ESC50/roar.py"
STABILITY = "recipes/ESC50/stability.py"


def command(script, *arguments, **settings):
    """The command line: the interpreter, the script, arguments, ``--name value``."""
    flags = [part for k, v in settings.items() for part in (f"--{k}", str(v))]
    return [sys.executable, str(ROOT / script), *map(str, arguments), *flags]


def started(line, cwd=ROOT, **options):
    """Start a process whose output is text for this one."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(line, cwd=cwd, text=True, **pipes, **options)


def finished(process, seconds):
    """Wait until a process ends -> CompletedProcess.

    If it takes longer, it is killed with all that it started, and the test fails.
    """
    try:
        stdout, stderr = process.communicate(timeout=seconds)
    finally:
        kill_all(process)
    done = subprocess.CompletedProcess
    return done(process.args, process.returncode, stdout, stderr)


def wait_until(condition, what, seconds=60):
    """Wait until something is true -> what the condition returns then."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds} seconds for {what}"
        time.sleep(0.005)
    return found


def kill_all(process):
    """Kill a process, if it runs, and all that it started."""
    if process.poll() is None:
        whole = psutil.Process(process.pid)
        for one in (*whole.children(recursive=True), whole):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait(10)


def run_as_a_user(script, *arguments, check=True, cwd=ROOT, seconds=300, **settings):
    """Run a command in a process of its own.

    Importing torch takes seconds: only for what needs a process, such as exit codes.
    """
    done = finished(started(command(script, *arguments, **settings), cwd), seconds)
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def call(script, *arguments, **settings):
    """Run a command in this process -> its exit code."""
    argv = command(script, *arguments, **settings)[1:]
    before = sys.argv, list(sys.path), sys.excepthook
    sys.argv, sys.path = argv, [str(Path(argv[0]).parent), *sys.path]
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as leaving:
        return leaving.code
    finally:
        sys.argv, sys.path, sys.excepthook = before
    return 0


def run(script, *arguments, check=True, **settings):
    """Run a command in this process.

    Returns
    -------
    CompletedProcess
        As :func:`subprocess.run` returns it, with text.
    """
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        returncode = call(script, *arguments, **settings)
    argv = command(script, *arguments, **settings)[1:]
    done = subprocess.CompletedProcess(
        argv, returncode, stdout.getvalue(), stderr.getvalue()
    )
    assert not check or returncode == 0, done.stderr[-3000:]
    return done


def refused(script, *arguments, run=run, **settings):
    """Run a command that must fail for a user's mistake; return its one sentence."""
    done = run(script, *arguments, check=False, **settings)
    assert done.returncode == 2, (done.returncode, done.stderr[-3000:])
    assert "Traceback" not in done.stderr + done.stdout
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr[-3000:]
    return errors[0]
