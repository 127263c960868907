"""Turn a benchmark's file and the command line's settings into commands.

All checks run here, before the first training.
"""

import difflib
import functools
import json
from pathlib import Path

from lmac_td.benchmark.classifiers import (
    classifiers_of,
    folder_of_classifier,
    settings_of,
)
from lmac_td.benchmark.listing import Listing
from lmac_td.benchmark.options import grouped
from lmac_td.benchmark.repository import EVALUATE, ROOT, TRAIN
from lmac_td.benchmark.step import Step
from lmac_td.errors import SettingError
from lmac_td.experiment.build import resolved_tree, typed_recipe
from lmac_td.experiment.conditions import conditions_of, evaluation_name
from lmac_td.experiment.overlays import AXES
from lmac_td.experiment.recipe import with_references_of
from lmac_td.experiment.run_options import RUN_OPTIONS, read_run_options
from lmac_td.experiment.settings import (
    declarations,
    names_with_role,
    read_by_evaluations_alone,
)
from lmac_td.reading import absence

START = "pretrained_interpreter"  # the setting of the run that a training starts from


def split_options(arguments: list) -> dict:
    """Parse ``--name value`` pairs; a ``--flag`` has the value None.

    Raises
    ------
    SettingError
        If an argument is neither a name nor a value, or a name is given twice.
    """
    options = {}
    for name, values in grouped(arguments).items():
        if len(values) > 1:
            raise SettingError(f"{values[1]!r} has no name: write --name {values[1]}")
        options[name] = values[0] if values else None
    return options


def plan(listing: Listing, options: dict, will_run: bool = True) -> list:
    """Turn the listing and the command line's settings into commands, in order.

    Arguments
    ---------
    listing : Listing
    options : dict of str to str
        The result of :func:`split_options`.
    will_run : bool
        Whether the commands will run, and so need their data.

    Returns
    -------
    list of Step

    Raises
    ------
    SettingError
        If no recipe has a setting, a script or recipe is missing, two runs would
        write into the same folder, or an evaluation would refuse its settings.
    """
    known = set().union(*(_declared(entry) for entry in listing.entries))
    _check_options(listing, options, known)
    _check_classifier_settings(listing, known)
    planner = _Planner(options, will_run)
    prepare = [
        planner.step("prepare", entry, entry["script"], []) for entry in listing.prepare
    ]
    steps, trained = list(prepare), {}
    for entry, classifier, seed in _runs(listing):
        run = _name(entry), _name_of(classifier), seed
        needs = list(prepare)
        if "after" in entry:
            needs.append(_trained_before(entry, run, trained))
        script = entry.get("train", TRAIN)
        if script:
            training = planner.step("train", entry, script, needs, seed, classifier)
            trained[run] = training
            steps.append(training)
            needs = [training]
        script = entry.get("evaluate", EVALUATE)
        steps.append(planner.step("evaluate", entry, script, needs, seed, classifier))
    _check_apart(steps)
    _check_mixtures(listing, [step for step in steps if step.kind == "evaluate"])
    return steps


def _runs(listing):
    """Yield (entry, classifier, seed) of every run of a method, in order."""
    for entry in listing.methods:
        for classifier in classifiers_of(entry, listing.classifiers):
            for seed in entry.get("seeds") or [None]:
                yield entry, classifier, seed


def _name_of(classifier):
    return classifier and classifier["name"]


class _Planner:
    """Creates steps; records which evaluations score reference rows, and folders."""

    def __init__(self, options, will_run):
        self.options, self.will_run = options, will_run
        self.with_references = set()  # names of classifiers
        self.moved = {}  # folders of runs by classifier and the folder without one

    def step(self, kind, entry, script, needs, seed=None, classifier=None):
        """Return the step of an entry, for one seed and classifier."""
        recipe, declared = entry["recipe"], _declared(entry)
        if not (ROOT / script).is_file():
            raise SettingError(
                f"{script} {absence(ROOT / script, 'file')}: name a script from the "
                "root"
            )
        options = dict(self.options)
        if kind == "evaluate" and "references" in declared:
            # They are the same for every method, so one evaluation scores them.
            if _name_of(classifier) in self.with_references:
                options.setdefault("references", "False")
            self.with_references.add(_name_of(classifier))
        given = _given(entry, seed, classifier, options, declared)
        if kind != "evaluate":
            given = _without_evaluation(given, declared)
        if classifier is not None:
            given |= self._folders(kind, entry, classifier, given)
        tree, values = _values(recipe, given, declared)
        _check_folders(recipe, kind, values)
        if kind == "evaluate" and self.will_run:
            _check_conditions(recipe, values)
        flags = [
            part
            for name, text in given.items()
            for part in ([f"--{name}"] if text is None else [f"--{name}", text])
        ]
        plain = _plain(values)
        plain = plain if kind == "evaluate" else _without_evaluation(plain, declared)
        mixture = names_with_role(tree, "mixture")
        deciding = self._deciding(declared)
        return Step(
            run=_run_name(entry, classifier, seed),
            kind=kind,
            arguments=(script, recipe, *flags),
            makes=_makes(entry, kind, values),
            needs=needs,
            settings=plain,
            mixture={name: v for name, v in plain.items() if name in mixture},
            deciding={name: v for name, v in plain.items() if name in deciding},
            classifier=_name_of(classifier),
        )

    def _deciding(self, declared):
        """Return the names of the settings that decide what a command makes."""
        return {
            name
            for name, setting in declared.items()
            if set(setting.roles) != {"run"}
            and not (setting.is_path and name in self.options)
        }

    def _folders(self, kind, entry, classifier, given):
        """Return the settings that lead to the folders of one classifier's runs.

        Where a recipe starts from the output folder of another run of the benchmark, it
        starts from that of the same classifier.
        """
        recipe, name = entry["recipe"], classifier["name"]
        names = {"output_folder", "save_folder", "experiment_name", START}
        _, values = _values(recipe, given, _declared(entry), names)
        _check_folders(recipe, kind, values)
        folder = folder_of_classifier(values, name)
        self.moved[name, Path(values["output_folder"])] = folder
        found = {"output_folder": folder}
        start = values.get(START)
        if start and (name, Path(start)) in self.moved:
            found[START] = self.moved[name, Path(start)]
        return found


def _values(recipe, given, declared, names=None):
    """Return the composed recipe of a command, and its resolved values.

    With ``names``, only these and what they refer to, which is much faster.
    """
    settings = {name: text for name, text in given.items() if name in declared}
    tree = typed_recipe(ROOT / recipe, settings)
    if names is not None:
        tree = with_references_of(tree, names)
    return tree, resolved_tree(recipe, tree)


def _run_name(entry, classifier, seed):
    """Return the name of a run, ``<entry>[-<classifier>][-seed<seed>]``."""
    parts = [_name(entry)]
    parts += [] if classifier is None else [classifier["name"]]
    parts += [] if seed is None else [f"seed{seed}"]
    return "-".join(parts)


def _declared(entry):
    """Return the settings of an entry's recipe by name, with their roles and types."""
    return _declarations(entry["recipe"], tuple(_own_settings(entry).items()))


@functools.lru_cache
def _declarations(recipe, own):
    return declarations(typed_recipe(ROOT / recipe, dict(own)))


def _own_settings(entry):
    return {name: _text(value) for name, value in (entry.get("settings") or {}).items()}


def _given(entry, seed, classifier, options, declared):
    """Return a command's settings and run options, those of later sources last.

    The sources are the classifier, the entry and the user.
    """
    of_classifier = settings_of(classifier).items()
    own = {name: _text(v) for name, v in of_classifier if name in declared}
    own |= _own_settings(entry)
    if seed is not None:
        own["seed"] = _text(seed)
    return own | {
        name: value
        for name, value in options.items()
        if name in RUN_OPTIONS or name in declared
    }


def _makes(entry, kind, values):
    folder = Path(values["output_folder"])
    if kind == "prepare":
        return folder / entry["makes"]
    if kind == "train":
        return Path(values["save_folder"])
    return folder / evaluation_name(_conditions(values)) / "table.json"


def _conditions(values):
    known = list(values.get("conditions", {}))
    return conditions_of(values.get("condition", "all"), known)


def _name(entry):
    """Return the name of an entry's runs, such as ``lmac_td_small_alpha0.75``."""
    settings = (entry.get("settings") or {}).items()
    parts = [_text(v) if name in AXES else f"{name}{_text(v)}" for name, v in settings]
    return entry.get("name", "_".join([Path(entry["recipe"]).stem, *parts]))


def _trained_before(entry, run, trained):
    _, classifier, seed = run
    if (entry["after"], classifier, seed) in trained:
        return trained[entry["after"], classifier, seed]
    names = ", ".join(dict.fromkeys(name for name, *_ in trained)) or "none"
    same = "seed" if classifier is None else f"seed for classifier {classifier}"
    raise SettingError(
        f"{_name(entry)} must come after {entry['after']!r} of the same {same}, but "
        f"what is trained before it is {names}"
    )


def _without_evaluation(values, declared):
    """Return the values without the settings that only an evaluation reads."""
    return {
        name: value
        for name, value in values.items()
        if name not in declared or not read_by_evaluations_alone(declared[name].roles)
    }


def _plain(values):
    """Return plain values as json would read them."""
    plain = {k: v for k, v in values.items() if isinstance(v, (int, float, str, list))}
    return json.loads(json.dumps(plain, default=str))


def _text(value):
    return value if isinstance(value, str) else json.dumps(value)


# --- checks --------------------------------------------------------------------------


def _check_options(listing, options, names):
    """Refuse options that no recipe has, or that the listing varies."""
    listed = {name for entry in listing.entries for name in entry.get("settings") or {}}
    listed |= {"seed" for entry in listing.entries if "seeds" in entry}
    listed |= {name for c in listing.classifiers for name in settings_of(c)}
    listed |= {"output_folder"} if listing.classifiers else set()
    for name, value in options.items():
        if name in listed:
            raise SettingError(
                f"--{name} differs between runs of this benchmark: set it in its file"
            )
        if name in names and value is None:
            raise SettingError(f"--{name} has no value: write --{name} VALUE")
        if name not in names and name not in RUN_OPTIONS:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean --{near[0]}?" if near else "see the recipes' settings"
            raise SettingError(f"no recipe has a setting named {name!r}: {hint}")
    run = {name: value for name, value in options.items() if name in RUN_OPTIONS}
    read_run_options("", {k: "True" if v is None else v for k, v in run.items()})


def _check_classifier_settings(listing, names):
    for classifier in listing.classifiers:
        for name in settings_of(classifier):
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f": did you mean {near[0]!r}?" if near else ""
                raise SettingError(
                    f"classifier {classifier['name']} has {name}, which is no setting "
                    f"of a recipe{hint}"
                )


def _check_folders(recipe, kind, values):
    folders = ("output_folder", "save_folder") if kind == "train" else ["output_folder"]
    for name in folders:
        if name not in values:
            raise SettingError(f"{recipe} has no {name}: name a recipe of hparams")


def _check_apart(steps):
    """Refuse commands that would overwrite each other's output."""
    makers, names = {}, {}
    for step in steps:
        other = makers.setdefault(step.makes, step)
        if other is not step:
            raise SettingError(
                f"`{other.command}` and `{step.command}` would both write "
                f"{step.makes}: leave one out, or change one's experiment_name"
            )
        if names.setdefault(step.name, step) is not step:
            raise SettingError(f"two runs are named {step.run}: rename one of them")


def _check_conditions(recipe, values):
    """Refuse conditions without data now, not after the first training."""
    conditions = _conditions(values)
    folder = values.get("ljspeech_folder")
    needed = "speech" in conditions and not values.get("generate_corpus")
    if needed and folder and not (ROOT / folder).is_dir():
        raise SettingError(
            f"{recipe}: ljspeech_folder {folder} {absence(ROOT / folder)}, but "
            "condition speech needs it: give --ljspeech_folder, or leave speech out of "
            "--condition"
        )


def _check_mixtures(listing, evaluations):
    """Refuse evaluations that cannot be in one table.

    Those of different classifiers are in different tables, but their rows are averaged.
    They must agree in all other settings.
    """
    differing = {name for c in listing.classifiers for name in settings_of(c)}
    first = {}
    for step in evaluations:
        beside = first.setdefault(step.classifier, step)
        _check_same(step, beside, step.mixture.keys() & beside.mixture.keys())
        of_all = next(iter(first.values()))
        shared = step.mixture.keys() & of_all.mixture.keys() - differing
        _check_same(step, of_all, shared)


def _check_same(step, other, names):
    for name in names:
        if step.mixture[name] != other.mixture[name]:
            raise SettingError(
                f"{step.run} has {name} {step.mixture[name]!r}, but {other.run} "
                f"has {other.mixture[name]!r}: runs of one table must agree in it"
            )
