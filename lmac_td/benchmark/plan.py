"""Turn a benchmark's file and the command line's settings into commands.

Everything that can be checked is checked here, before the first training.
"""

import difflib
import json
import math
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from speechbrain.utils.run_opts import RunOptions

from lmac_td.benchmark.listing import Listing
from lmac_td.errors import SettingError, require_choice, require_number
from lmac_td.experiment.open import EVALUATION_MIXTURES, conditions_of
from lmac_td.experiment.overlays import AXES
from lmac_td.experiment.recipe import plain_settings

ROOT = Path(__file__).resolve().parents[2]
TRAIN, EVALUATE = "train_interpreter.py", "eval_faithfulness.py"
# No training reads them.
EVALUATION_SETTINGS = {"condition", "references", *EVALUATION_MIXTURES}
# Evaluations that differ in one of these do not belong in one table.
MIXTURE_SETTINGS = (
    "data_folder", "wham_folder", "test_fold_nums", "mixing_seed", "wham_snr_db",
    "condition", *EVALUATION_MIXTURES,
)  # fmt: skip


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
        A file or folder that exists when the command was successful, from the root.
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
    def command(self) -> str:
        """What one would type."""
        return f"python {shlex.join(self.arguments)}"

    @property
    def name(self) -> str:
        """The name of its log."""
        return re.sub(r"[^\w.+-]+", "_", f"{self.run}-{self.kind}")

    @property
    def path(self) -> Path:
        """Where to find what it makes."""
        return ROOT / self.makes

    def is_made(self) -> bool:
        """Whether what it makes exists; it may be unfinished."""
        return self.path.exists()


def split_options(arguments: list) -> dict:
    """``--name value`` pairs of a command line; a ``--flag`` has the value None.

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


def plan(listing: Listing, options: dict) -> list:
    """All commands, in order, from the listing and the command line's settings.

    Arguments
    ---------
    listing : Listing
    options : dict of str to str
        Of :func:`split_options`.

    Returns
    -------
    list of Step

    Raises
    ------
    SettingError
        If no recipe has a setting, a script or recipe is missing, two runs would
        write into the same folder, or an evaluation would refuse its settings.
    """
    known = [_setting_names(entry) for entry in listing.entries]
    _check_options(listing, options, set().union(*known))
    planner = _Planner(options)
    names = iter(known)
    prepare = [
        planner.step("prepare", entry, next(names), entry["script"], [])
        for entry in listing.prepare
    ]
    steps, trained, mixtures = list(prepare), {}, {}
    for entry in listing.methods:
        known = next(names)
        for seed in entry.get("seeds") or [None]:
            needs = list(prepare)
            if "after" in entry:
                needs.append(_trained_before(entry, seed, trained))
            script = entry.get("train", TRAIN)
            if script:
                training = planner.step("train", entry, known, script, needs, seed)
                trained[_name(entry), seed] = training
                steps.append(training)
                needs = [training]
            script = entry.get("evaluate", EVALUATE)
            evaluation = planner.step("evaluate", entry, known, script, needs, seed)
            _check_mixture(entry, evaluation.settings)
            mixtures[evaluation.run] = {
                name: evaluation.settings.get(name) for name in MIXTURE_SETTINGS
            }
            steps.append(evaluation)
    _check_apart(steps)
    _check_mixtures(mixtures)
    return steps


class _Planner:
    """Makes steps; remembers whether an evaluation scores the reference rows."""

    def __init__(self, options):
        self.options = options
        self.scores_references = False

    def step(self, kind, entry, known, script, needs, seed=None):
        """The step of an entry; ``known`` are the names of its recipe's settings."""
        if not (ROOT / script).is_file():
            raise SettingError(f"{script} does not exist: name a script from the root")
        given = dict(self.options)
        if kind == "evaluate" and "references" in known:
            # They are the same beside every method: one evaluation scores them.
            if self.scores_references:
                given.setdefault("references", "False")
            self.scores_references = True
        given = _given(entry, seed, kind, given, known)
        values = _read(entry, {k: v for k, v in given.items() if k in known})
        _check_folders(entry["recipe"], kind, values)
        flags = [
            part
            for name, value in given.items()
            for part in ([f"--{name}"] if value is None else [f"--{name}", value])
        ]
        read = values if kind == "evaluate" else _without_evaluation(values)
        return Step(
            run=_name(entry) if seed is None else f"{_name(entry)}-seed{seed}",
            kind=kind,
            arguments=(script, entry["recipe"], *flags),
            makes=_makes(entry, kind, values),
            needs=needs,
            settings=_plain(read),
        )


def _setting_names(entry):
    return set(_read(entry, _own_settings(entry)))


def _read(entry, given):
    """The plain settings of an entry's recipe, with others in their place."""
    overrides = "".join(f"{name}: {value}\n" for name, value in given.items())
    return plain_settings(ROOT / entry["recipe"], overrides)


def _own_settings(entry):
    return {name: _text(value) for name, value in (entry.get("settings") or {}).items()}


def _given(entry, seed, kind, options, known):
    """The settings and run options of a command: the entry's, then the options."""
    own = _own_settings(entry)
    if seed is not None:
        own["seed"] = _text(seed)
    given = own | {
        name: value
        for name, value in options.items()
        if _is_run_option(name) or name in known
    }
    return given if kind == "evaluate" else _without_evaluation(given)


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


def _name(entry):
    """The name of an entry's runs, such as ``lmac_td_small_alpha0.75``."""
    settings = (entry.get("settings") or {}).items()
    parts = [_text(v) if name in AXES else f"{name}{_text(v)}" for name, v in settings]
    return entry.get("name", "_".join([Path(entry["recipe"]).stem, *parts]))


def _trained_before(entry, seed, trained):
    if (entry["after"], seed) in trained:
        return trained[entry["after"], seed]
    names = ", ".join(dict.fromkeys(name for name, _ in trained)) or "none"
    raise SettingError(
        f"{_name(entry)} is to come after {entry['after']!r} of the same seed, but "
        f"what is trained before it is {names}"
    )


def _without_evaluation(values):
    return {k: v for k, v in values.items() if k not in EVALUATION_SETTINGS}


def _plain(values):
    """Numbers, texts and lists of them, as json gives them back."""
    plain = {k: v for k, v in values.items() if isinstance(v, (int, float, str, list))}
    return json.loads(json.dumps(plain, default=str))


def _text(value):
    return value if isinstance(value, str) else json.dumps(value)


def _is_run_option(name):
    return name in RunOptions.__dataclass_fields__


# --- checks --------------------------------------------------------------------------


def _check_options(listing, options, names):
    """Refuse options that no recipe has, or that the listing varies."""
    listed = {name for entry in listing.entries for name in entry.get("settings") or {}}
    listed |= {"seed" for entry in listing.entries if "seeds" in entry}
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


def _check_folders(recipe, kind, values):
    folders = ("output_folder", "save_folder") if kind == "train" else ["output_folder"]
    for name in folders:
        if name not in values:
            raise SettingError(f"{recipe} has no {name}: name a recipe of hparams")


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


def _check_mixture(entry, settings):
    """Refuse before the first training what an evaluation would refuse after it."""
    recipe = entry["recipe"]
    known = _read(entry, _own_settings(entry)).get("conditions", {})
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
