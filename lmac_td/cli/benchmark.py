"""Train and measure everything that a file lists, and put it in one table.

    python recipes/ESC50/benchmark.py recipes/ESC50/esc10.yaml \\
        --data_folder $ESC10 --wham_folder $NOISE --ljspeech_folder $SPEECH \\
        --condition all [--jobs 2] [--compare ROW ROW] [--setting value ...]

Runs the commands that one would type, each with a log of its own, and ends with the
table of ``compare_runs.py`` (Markdown and CSV), figures, and the minutes of each.
Interrupted, the same command goes on where it was; what is finished is not run again.
Settings go to every command whose recipe has them (``condition`` and the like to the
evaluations alone; rows that explain nothing are scored once, ``references``),
SpeechBrain's run options to all. Paths are read from the repository's root.
"""

import argparse
import contextlib
import difflib
import fcntl
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import ruamel.yaml
from hyperpyyaml import resolve_references
from speechbrain.utils.run_opts import RunOptions

from lmac_td.errors import (
    DataError,
    SettingError,
    exit_on_user_error,
    require_choice,
    require_number,
)
from lmac_td.evaluation.comparison import comparison_to_markdown
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.evaluation.summary import write_csv
from lmac_td.experiment.open import EVALUATION_MIXTURES, conditions_of
from lmac_td.experiment.recipe import compose, compose_text
from lmac_td.files import write_atomically
from lmac_td.report.overview import curves_figure, gain_figure
from lmac_td.report.runs import read_runs
from lmac_td.report.side_by_side import runs_to_markdown

ROOT = Path(__file__).resolve().parent.parent.parent
TRAIN, EVALUATE = "train_interpreter.py", "eval_faithfulness.py"
ENTRY_KEYS = {
    "prepare": {"script", "recipe", "makes", "settings", "name"},
    "methods": {
        "recipe", "settings", "seeds", "name", "after", "train", "evaluate",
    },
}  # fmt: skip
# No training reads them.
EVALUATION_SETTINGS = {"condition", "references", *EVALUATION_MIXTURES}
# Evaluations that differ in one of these do not belong in one table.
MIXTURE_SETTINGS = (
    "data_folder", "wham_folder", "test_fold_nums", "mixing_seed", "wham_snr_db",
    "condition", *EVALUATION_MIXTURES,
)  # fmt: skip
CUT_SHORT = ("running", "interrupted", "failed")  # "running": this program was killed
PATIENCE_S = 20  # between asking a command to stop and killing it
POLL_S = 0.1
NOTE_PERIOD_S = 60  # the minutes so far are kept this often
LINES_SHOWN = 15  # of the log of a command that failed


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes
    ----------
    run : str
        The name of what is trained or measured; training and evaluation share it.
    kind : str
        ``"prepare"``, ``"train"`` or ``"evaluate"``.
    arguments : tuple of str
        The script, the recipe and the settings.
    makes : Path
        A file or folder that is there when the command was successful, from the root.
    needs : list of Step
        Steps to be finished before.
    settings : dict
        The recipe's plain settings: what is finished was run with the same.
    """

    run: str
    kind: str
    arguments: tuple
    makes: Path
    needs: list = field(default_factory=list, repr=False, compare=False)
    settings: dict = field(default_factory=dict, repr=False, compare=False)

    @property
    def command(self):
        """What one would type."""
        return f"python {shlex.join(self.arguments)}"

    @property
    def name(self):
        """The name of its log."""
        return re.sub(r"[^\w.+-]+", "_", f"{self.run}-{self.kind}")

    def is_made(self):
        """Whether there is what it makes; it may be unfinished."""
        return (ROOT / self.makes).exists()


# --- what to run ---------------------------------------------------------------------


def read_benchmark(path):
    """Entries of a benchmark's file: ``{"prepare": [...], "methods": [...]}``.

    Raises
    ------
    SettingError
        If it is missing, or lists what is no entry.
    """
    try:
        tree = ruamel.yaml.YAML(typ="safe").load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ruamel.yaml.error.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise SettingError(
            f"{path} cannot be read: {problem}; name a file such as "
            "recipes/ESC50/esc10.yaml"
        ) from error
    if not isinstance(tree, dict) or not set(tree) <= set(ENTRY_KEYS):
        raise SettingError(f"{path} must have the lists `prepare` and `methods` alone")
    entries = {}
    for section, keys in ENTRY_KEYS.items():
        entries[section] = tree.get(section) or []
        for entry in entries[section]:
            _check_entry(path, section, keys, entry)
    if not any(entries.values()):
        raise SettingError(f"{path} lists nothing to run: see its `prepare`, `methods`")
    return entries


def _check_entry(path, section, keys, entry):
    required = {"script", "recipe", "makes"} & keys
    if not isinstance(entry, dict) or not required <= set(entry):
        raise SettingError(
            f"{path}: an entry of {section} is {entry!r}: it must have "
            f"{', '.join(sorted(required))}"
        )
    for key in set(entry) - keys:
        raise SettingError(
            f"{path}: {entry['recipe']} has a key {key!r}, but an entry of {section} "
            f"can have {', '.join(sorted(keys))} only"
        )
    if not isinstance(entry.get("settings") or {}, dict):
        raise SettingError(
            f"{path}: settings of {entry['recipe']} must be names: values"
        )
    if "evaluate" in entry and not entry["evaluate"]:
        raise SettingError(
            f"{path}: {entry['recipe']} is not evaluated: name a script, leave "
            "`evaluate` out, or list it in `prepare`"
        )
    if "seeds" in entry and not (isinstance(entry["seeds"], list) and entry["seeds"]):
        raise SettingError(
            f"{path}: seeds of {entry['recipe']} must be a list of seeds"
        )


def split_options(arguments):
    """``--name value`` pairs of a command line, and ``--flag`` with the value None.

    Raises
    ------
    SettingError
        If a word is neither a name nor a value.
    """
    options = {}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--"):
            raise SettingError(f"{name!r} has no name: write --name {name}")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else None
        options[name[2:]] = value
    return options


def plan(entries, options):
    """All commands, in order, from the entries and the command line's settings.

    Arguments
    ---------
    entries : dict
        Of :func:`read_benchmark`.
    options : dict of str to str
        Of :func:`split_options`.

    Returns
    -------
    list of Step

    Raises
    ------
    SettingError
        If no recipe has a setting, a script or recipe is missing, or two runs would
        write into the same folder.
    """
    known = _check_options(entries, options)
    with_references = []

    def step(kind, entry, script, needs, seed=None):
        given, recipe = dict(options), entry["recipe"]
        if kind == "evaluate" and "references" in known[recipe]:
            # They are the same beside every method: once is enough.
            if with_references:
                given.setdefault("references", "False")
            with_references.append(recipe)
        values, flags = _settings(entry, seed, kind, given, known[recipe])
        if not (ROOT / script).is_file():
            raise SettingError(f"{script} does not exist: name a script from the root")
        run = _name(entry) if seed is None else f"{_name(entry)}-seed{seed}"
        arguments = (script, entry["recipe"], *flags)
        makes = _makes(entry, kind, values)
        read = values.items() if kind == "evaluate" else _without_evaluation(values)
        made = Step(run, kind, arguments, makes, needs, _plain(read))
        return made, {name: values.get(name) for name in MIXTURE_SETTINGS}

    prepare = [
        step("prepare", entry, entry["script"], [])[0] for entry in entries["prepare"]
    ]
    steps, trained, mixtures = list(prepare), {}, {}
    for entry in entries["methods"]:
        for seed in entry.get("seeds") or [None]:
            needs = list(prepare)
            if "after" in entry:
                needs.append(_trained_before(entry, seed, trained))
            script = entry.get("train", TRAIN)
            if script:
                training, _ = step("train", entry, script, needs, seed)
                trained[_name(entry), seed] = training
                steps.append(training)
                needs = [training]
            script = entry.get("evaluate", EVALUATE)
            evaluation, mixture = step("evaluate", entry, script, needs, seed)
            _check_mixture(entry["recipe"], evaluation.settings)
            mixtures[evaluation.run] = mixture
            steps.append(evaluation)
    _check_apart(steps)
    _check_mixtures(mixtures)
    return steps


def _check_apart(steps):
    """Refuse commands that would write over each other."""
    makers, names = {}, {}
    for step in steps:
        other = makers.setdefault(step.makes, step)
        if other is not step:
            raise SettingError(
                f"`{other.command}` and `{step.command}` would both write "
                f"{step.makes}: leave one out, or give one another experiment_name"
            )
        if names.setdefault(step.name, step) is not step:
            raise SettingError(f"two runs are named {step.run}: give one another name")


def _check_mixture(recipe, settings):
    """Refuse before the first training what an evaluation would refuse after it."""
    known = compose(ROOT / recipe).get("conditions", {})
    conditions = conditions_of(settings.get("condition", "all"), known)
    require_choice("snr", settings.get("snr", "paper"), ("paper", "published"))
    for name in EVALUATION_MIXTURES:
        if name.endswith("_db") and name in settings:
            require_number(name, settings[name], above=-math.inf)
    folder = settings.get("ljspeech_folder", "")
    needed = "speech" in conditions and not settings.get("generate_corpus")
    if needed and folder and not (ROOT / folder).is_dir():
        raise SettingError(
            f"{recipe}: ljspeech_folder {folder} does not exist, but condition speech "
            "needs it: give --ljspeech_folder, or leave speech out of --condition"
        )


def _check_mixtures(mixtures):
    """Refuse evaluations that could not stand in one table."""
    for run, mixture in mixtures.items():
        first = next(iter(mixtures))
        for name, value in mixture.items():
            if value != mixtures[first][name]:
                raise SettingError(
                    f"{run} has {name} {value!r}, but {first} has "
                    f"{mixtures[first][name]!r}: runs of one table must agree in it"
                )


def _check_options(entries, options):
    """The settings of every recipe, by its path; unknown options are refused."""
    every = [*entries["prepare"], *entries["methods"]]
    known = {entry["recipe"]: set(compose(ROOT / entry["recipe"])) for entry in every}
    listed = {name for entry in every for name in entry.get("settings") or {}}
    listed |= {"seed" for entry in every if "seeds" in entry}
    names = set().union(*known.values())
    for name, value in options.items():
        if name in listed:
            raise SettingError(
                f"--{name} is what runs of this benchmark differ in: change it there"
            )
        if name in names and value is None:
            raise SettingError(f"--{name} has no value: write --{name} VALUE")
        if name not in names and not _is_run_option(name):
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean --{near[0]}?" if near else "see the recipes' settings"
            raise SettingError(f"no recipe has a setting named {name!r}: {hint}")
    return known


def _is_run_option(name):
    return name in RunOptions.__dataclass_fields__


def _name(entry):
    settings = (entry.get("settings") or {}).items()
    stem = "_".join(
        [Path(entry["recipe"]).stem, *(f"{name}{_text(v)}" for name, v in settings)]
    )
    return entry.get("name", stem)


def _trained_before(entry, seed, trained):
    if (entry["after"], seed) in trained:
        return trained[entry["after"], seed]
    names = ", ".join(dict.fromkeys(name for name, _ in trained)) or "none"
    raise SettingError(
        f"{_name(entry)} is to come after {entry['after']!r} of the same seed, but "
        f"what is trained before it is {names}"
    )


def _settings(entry, seed, kind, options, known):
    """All that a recipe says for a command, and what its command line says of it."""
    recipe = entry["recipe"]
    own = {name: _text(value) for name, value in (entry.get("settings") or {}).items()}
    for name in set(own) - known:
        raise SettingError(f"{recipe} has no setting named {name!r}: see its settings")
    if seed is not None:
        own["seed"] = _text(seed)
    given = own | {
        name: value
        for name, value in options.items()
        if _is_run_option(name) or name in known
    }
    if kind != "evaluate":
        given = dict(_without_evaluation(given))
    flags = [
        part
        for name, value in given.items()
        for part in ([f"--{name}"] if value is None else [f"--{name}", value])
    ]
    return _plain_settings(recipe, given, known, kind), flags


def _makes(entry, kind, values):
    folder = Path(values["output_folder"])
    if kind == "prepare":
        return folder / entry["makes"]
    if kind == "train":
        return Path(values["save_folder"])
    condition = values.get("condition", "all")
    one = condition[0] if isinstance(condition, list) else condition
    alone = one != "all" and condition in (one, [one])
    return folder / (f"evaluation_{one}" if alone else "evaluation") / "table.json"


def _plain_settings(recipe, settings, known, kind):
    """What a recipe says with some settings, references resolved, nothing built."""
    given = "".join(f"{k}: {v}\n" for k, v in settings.items() if k in known)
    try:
        text = resolve_references(compose_text(ROOT / recipe), given or None)
        values = ruamel.yaml.YAML().load(text)
    except (ValueError, ruamel.yaml.error.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise SettingError(f"{recipe} cannot be read: {problem}") from error
    for name in (
        ("output_folder", "save_folder") if kind == "train" else ["output_folder"]
    ):
        if name not in values:
            raise SettingError(f"{recipe} has no {name}: name a recipe of hparams")
    return values


def _without_evaluation(values):
    return [(k, v) for k, v in values.items() if k not in EVALUATION_SETTINGS]


def _plain(items):
    """Numbers, words and lists of them, as json gives them back."""
    plain = {k: v for k, v in items if isinstance(v, (int, float, str, list))}
    return json.loads(json.dumps(plain, default=str))


def _text(value):
    return value if isinstance(value, str) else json.dumps(value)


# --- running it ----------------------------------------------------------------------


class State:
    """What was run, how it ended and how long it took, in a file.

    Kept by what a command makes, so that a command that makes the same with other
    settings takes its place.

    Arguments
    ---------
    path : Path
        Of the file; none is made before something is run.

    Raises
    ------
    DataError
        If the file is damaged.
    """

    def __init__(self, path):
        self.path = path
        try:
            self.entries = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self.entries = {}
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} cannot be read: delete it to run everything again"
            ) from error

    def of(self, step):
        """What is known of a step, or of another command that made the same."""
        return self.entries.get(str(step.makes), {})

    def is_finished(self, step):
        """Whether a step need not be run."""
        known = self.of(step)
        return (
            known.get("command") == step.command
            and known.get("settings") == step.settings
            and known["status"] == "finished"
            and step.is_made()
        )

    def start(self, step, steps):
        """Note that a step runs, and that what builds on it is to be done again."""
        known, made = self.of(step), step.is_made()
        cut_short = (
            known.get("command") == step.command and known["status"] in CUT_SHORT
        )
        trains = step.kind != "evaluate"
        goes_on = cut_short or (trains and made)
        self.entries[str(step.makes)] = {
            "command": step.command,
            "settings": step.settings,
            "status": "running",
            "exit": None,
            "minutes": known.get("minutes", 0.0) if goes_on else 0.0,
            # Trained, at least in part, before it was run from here.
            "unmeasured": trains and made and known.get("unmeasured", True),
        }
        for other in steps:
            if step in other.needs and self.of(other):
                self.of(other)["status"] = "outdated"
        self.save()

    def note(self, step, **what):
        """Change what is known of a step that was started."""
        self.of(step).update(what)
        self.save()

    def save(self):
        """Write the file."""
        with write_atomically(self.path, "w", encoding="utf-8") as file:
            json.dump(self.entries, file, indent=1)


class CommandFailedError(Exception):
    """A command of the benchmark failed; ``exit_code`` is what to leave with."""

    def __init__(self, message, exit_code=1):
        super().__init__(message)
        self.exit_code = exit_code


class Job:
    """A command that runs.

    Arguments
    ---------
    step : Step
    log : Path
        Receives all that it says.
    environment : dict of str to str
    lock : file
        Stays locked for as long as the command lives.
    minutes_before : float
        Those of earlier attempts.
    """

    def __init__(self, step, log, environment, lock, minutes_before):
        self.step, self.log, self.minutes_before = step, log, minutes_before
        self.started = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                [sys.executable, *step.arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
                # Ctrl-C reaches this program alone, which stops each command once.
                start_new_session=True,
            )

    @property
    def minutes(self):
        """Wall-clock minutes of all attempts."""
        return self.minutes_before + (time.monotonic() - self.started) / 60

    def failure(self):
        """What to tell the user; None if it succeeded."""
        code, step = self.process.returncode, self.step
        if code == 0 and step.is_made():
            return None
        said = self.log.read_text(encoding="utf-8", errors="replace")
        lines = said.replace("\r", "\n").splitlines()[-LINES_SHOWN:]
        how = f"exit code {code}" if code else f"it did not make {step.makes}"
        lines.append(f"{step.name} failed ({how}): {step.command}")
        lines.append(f"All that it said: {self.log}")
        return "\n".join(lines)


@contextlib.contextmanager
def lock_folder(folder):
    """Refuse a folder where another benchmark, or what it left behind, is at work.

    Yields
    ------
    file
        To be given to every command.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingError(
                f"another benchmark, or a command that one left behind, still runs in "
                f"{folder}: wait for it or stop it, or give another --folder"
            ) from error
        yield file


def run_all(steps, state, folder, jobs=1):
    """Run all steps that are not finished, several at a time.

    Arguments
    ---------
    steps : list of Step
        Each after those that it needs.
    state : State
    folder : Path
        For logs.
    jobs : int
        How many commands at a time.

    Raises
    ------
    CommandFailedError
        If one fails; those that run beside it are stopped.
    """
    environment = child_environment(jobs)
    waiting, running, done = list(steps), [], set()
    noted = time.monotonic()
    with lock_folder(folder) as lock:
        try:
            while len(done) < len(steps):
                for step in _ready(waiting, done)[: jobs - len(running)]:
                    waiting.remove(step)
                    if state.is_finished(step):
                        done.add(step)
                        _say(f"{len(done)} of {len(steps)} was finished: {step.name}")
                        continue
                    state.start(step, steps)
                    log = folder / "logs" / f"{step.name}.log"
                    _say(f"starting {step.name}: {step.command}")
                    before = state.of(step)["minutes"]
                    running.append(Job(step, log, environment, lock, before))
                if running:
                    time.sleep(POLL_S)
                for job in [j for j in running if j.process.poll() is not None]:
                    running.remove(job)
                    _end(job, state)
                    done.add(job.step)
                    _say(
                        f"{len(done)} of {len(steps)} finished: {job.step.name} "
                        f"({job.minutes:.1f} min)"
                    )
                if time.monotonic() - noted > NOTE_PERIOD_S:
                    noted = time.monotonic()
                    for job in running:
                        state.note(job.step, minutes=job.minutes)
        finally:
            _stop(running, state)


def _ready(waiting, done):
    return [step for step in waiting if done.issuperset(step.needs)]


def _say(line):
    print(line, flush=True)


def child_environment(jobs):
    """The environment of the commands: a share of the cores."""
    defaults = {
        "TQDM_MININTERVAL": "30",  # s; a log is no terminal
        "PYTHONUNBUFFERED": "1",  # so that one can follow a log
    }
    if jobs > 1:
        defaults["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))
    return defaults | os.environ


def _end(job, state):
    """Note how a command ended; raise if it failed."""
    code, failure = job.process.returncode, job.failure()
    status = "failed" if failure else "finished"
    state.note(job.step, status=status, exit=code, minutes=job.minutes)
    if failure:
        raise CommandFailedError(failure, 2 if code == 2 else 1)


def _stop(running, state):
    """Stop what runs as Ctrl-C would; kill it when asked twice, or if it takes long."""
    for job in running:
        job.process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + PATIENCE_S
    with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        for job in running:
            job.process.wait(max(0.0, deadline - time.monotonic()))
    for job in running:
        job.process.kill()
        code = job.process.wait()
        state.note(job.step, status="interrupted", exit=code, minutes=job.minutes)


# --- what comes of it ----------------------------------------------------------------


def read_evaluations(steps):
    """All evaluations in one table -> Runs; None where nothing was evaluated."""
    tables = [ROOT / step.makes for step in steps if step.kind == "evaluate"]
    return read_runs(tables) if tables else None


def minutes_to_markdown(steps, state):
    """The minutes of all runs."""
    rows = {}
    for step in steps:
        known = state.of(step)
        cells = rows.setdefault(step.run, ["–", "–"])
        more = "> " if known.get("unmeasured") else ""
        cells[step.kind == "evaluate"] = f"{more}{known['minutes']:.1f}"
    minutes = markdown_table(
        ["run", "training (min)", "evaluation (min)"],
        [[run, *cells] for run, cells in rows.items()],
    )
    return f"### Minutes\n\n{minutes}"


def save_overview(folder, table):
    """Write table.csv, and two figures a condition."""
    write_csv(table, folder / "table.csv")
    for condition in dict.fromkeys(condition for condition, _ in table.rows):
        curves_figure(folder / f"curves_{condition}.png", table, condition)
        gain_figure(folder / f"gain_{condition}.png", table, condition)


def main(argv=None):
    """Run what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("benchmark", help="a file such as recipes/ESC50/esc10.yaml")
    parser.add_argument("--jobs", type=int, default=1, help="commands at a time")
    parser.add_argument(
        "--folder",
        default="results/benchmark",
        help="for state.json, logs, table.md and .csv, figures (default: %(default)s)",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar="ROW",
        action="append",
        default=[],
        help="two rows of the table, clip by clip; may be given several times",
    )
    arguments, settings = parser.parse_known_args(argv)
    if arguments.jobs < 1:
        raise SettingError(f"jobs is {arguments.jobs}: give --jobs 1 or more")
    steps = plan(read_benchmark(arguments.benchmark), split_options(settings))
    folder = ROOT / arguments.folder
    state = State(folder / "state.json")
    try:
        run_all(steps, state, folder, arguments.jobs)
    except CommandFailedError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    sections, runs = [], read_evaluations(steps)
    if runs is not None:
        sections.append(runs_to_markdown(runs))
    sections.append(minutes_to_markdown(steps, state))
    markdown = "\n".join(sections)
    with write_atomically(folder / "table.md", "w", encoding="utf-8") as file:
        file.write(markdown)
    print(f"\n{markdown}")
    if runs is not None:
        save_overview(folder, runs.table)
        for pair in arguments.compare:
            print(comparison_to_markdown(runs.table, *pair))
    print(f"Table (.md, .csv) and figures: {folder}")
    return 0


def _interrupt(number, frame):
    raise KeyboardInterrupt


def command():
    """Run the command line; exit code 2 for a mistake of the user."""
    # In the background of a shell, Ctrl-C is ignored, and commands would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):  # a closed terminal must leave no command behind
        with contextlib.suppress(AttributeError):
            if signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
                signal.signal(getattr(signal, name), _interrupt)
    with exit_on_user_error("Interrupted: the same command goes on where it was."):
        sys.exit(main())
