"""Run the commands of the repository, in this process or in one of their own."""

import io
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

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


def run_as_a_user(script, *arguments, check=True, cwd=ROOT, **settings):
    """Run a command in a process of its own.

    Importing torch takes seconds: only for what needs a process, such as exit codes.
    """
    done = subprocess.run(
        command(script, *arguments, **settings),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def run(script, *arguments, check=True, **settings):
    """Run a command in this process.

    Returns
    -------
    CompletedProcess
        As :func:`subprocess.run` returns it, with text.
    """
    argv = command(script, *arguments, **settings)[1:]
    stdout, stderr, returncode = io.StringIO(), io.StringIO(), 0
    before = sys.argv, list(sys.path), sys.excepthook
    sys.argv, sys.path = argv, [str(Path(argv[0]).parent), *sys.path]
    try:
        with redirect_stdout(stdout), redirect_stderr(stderr):
            runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as leaving:
        returncode = leaving.code
    finally:
        sys.argv, sys.path, sys.excepthook = before
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
