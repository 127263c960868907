"""Guards: refuse to resume, measure or start a run with settings that do not fit."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from lmac_td.data.sources.content import content_of
from lmac_td.data.sources.esc50 import ESC50
from lmac_td.errors import SettingError
from lmac_td.experiment.kept import read_roles, read_settings
from lmac_td.interpreters.baselines import REFERENCES
from lmac_td.names import same_places

INPUTS = ("data_folder", "wham_folder", "ljspeech_folder", "effects_folder")
CONTENT = "content of "  # prefix of a fingerprint's name, before the setting
# Names in settings.json for the identity of a recipe's objects.
TRAINING_MIXTURES = "training mixtures"
OBJECTS = ("dataset", TRAINING_MIXTURES, "classifier")
DATA = ("dataset", "data_folder")
# The name for hashes of the data set's folds, by which it is known wherever it lies.
CLIPS = "clips of dataset"


def check_trained_as(
    folder: Path, settings: Mapping, roles: Mapping, is_fixed: Callable
):
    """Refuse settings that differ from those that a folder was trained with.

    Arguments
    ---------
    folder : Path
    settings : mapping
        The current settings.
    roles : mapping of str to sequence of str
        The roles of each setting.
    is_fixed : callable
        Whether settings of some roles must agree, see
        :func:`lmac_td.experiment.settings.is_fixed_when_resumed`.

    Raises
    ------
    SettingError
        If a fixed setting differs.
    """
    settings = json.loads(json.dumps(settings))  # as a file holds them: keys are texts
    roles = {**read_roles(folder), **roles}
    kept = read_settings(folder)
    for name, trained in kept.items():
        now = settings.get(name)
        if same_places(now, trained) or is_same_content(name, kept, settings):
            continue
        if name == CLIPS:
            if None not in (trained, now) and is_fixed(roles.get(name, ("training",))):
                raise SettingError(
                    f"{folder} was trained on other clips of {settings['dataset']}: "
                    "give the data set that it was trained on, or another "
                    "--output_folder"
                )
        elif name.startswith(CONTENT):
            if None not in (trained, now):
                raise SettingError(_trained_again(folder, name.removeprefix(CONTENT)))
        elif is_fixed(roles.get(name, ("training",))):
            raise SettingError(_differs(folder, name, trained, now, name in settings))


def is_same_content(name: str, first: Mapping, second: Mapping) -> bool:
    """Return whether a setting names the same content at two places.

    Arguments
    ---------
    name : str
        Of a setting.
    first, second : mapping
        Settings of two runs, with hashes of what they name.

    Example
    -------
    >>> hashes = {"content of weights": "0a1b"}
    >>> is_same_content("weights", hashes | {"weights": "a"}, hashes | {"weights": "b"})
    True
    """
    key = CLIPS if name in DATA else f"{CONTENT}{name}"
    return first.get(key) is not None and first.get(key) == second.get(key)


def _content(settings):
    """Return the hashes of a data set's folds; None if they are not known."""
    content = settings.get(CLIPS)
    return content if isinstance(content, Mapping) and content else None


def _trained_again(folder, name):
    return (
        f"{name} was trained again after {folder}: train {folder} again, too "
        "(delete it, or give another --output_folder)"
    )


def _differs(folder, name, trained, now, is_known):
    if not is_known:
        return (
            f"{folder} was trained with {name} {trained!r}, which this recipe does not "
            "have: give the recipe that it was trained with, or another --output_folder"
        )
    remedy = "name it in the recipe" if name in OBJECTS else f"give --{name}"
    return (
        f"{folder} was trained with {name} {trained!r}, not {now!r}: {remedy} as it "
        "was, or another --output_folder"
    )


def check_unseen(
    hparams: Mapping,
    pretrained: Iterable[str],
    unseen: Sequence[str] = ("valid_fold_nums", "test_fold_nums"),
):
    """Refuse a model that was trained on validation or test clips.

    Arguments
    ---------
    hparams : mapping
        A built recipe.
    pretrained : iterable of str
        The settings that name what was trained before: a folder, or several.
    unseen : sequence of str
        The settings that name the folds.

    Raises
    ------
    SettingError
        If the classifier, or another model that the recipe starts from, was trained on
        one of these folds of this data set.
    """
    for source in sorted(pretrained):
        for folder in _folders_of(hparams.get(source)):
            trained = read_settings(folder)
            of_training = set(trained.get("train_fold_nums", ()))
            now = content_of(hparams["dataset"])
            hashes = _content(trained) or {}
            hashes_of_training = {hashes.get(str(fold)) for fold in of_training}
            same = _is_of_this_data_set(trained, hparams["dataset"], now)
            for name in unseen:
                seen = [
                    fold
                    for fold in sorted(hparams[name])
                    if (same and fold in of_training)
                    or (now or {}).get(str(fold), "") in hashes_of_training
                ]
                if seen:
                    raise SettingError(
                        f"{folder} was trained on fold {seen[0]} of {name}: take "
                        f"that out of --{name}, or give another {source}"
                    )


def _folders_of(value):
    """Return the folders that a setting names; objects of a recipe have none."""
    values = value if isinstance(value, list) else [value]
    return [os.path.expanduser(v) for v in values if v and isinstance(v, (str, Path))]


def _is_of_this_data_set(trained, dataset, content):
    """Return whether the settings are those of a training on this data set."""
    if content and content == _content(trained):
        return True
    if "dataset" in trained:
        return same_places(trained["dataset"], dataset.identity)
    if "data_folder" not in trained:
        return False
    # Older settings name no data source: then it was always ESC-50's layout.
    return same_places(ESC50(trained["data_folder"]).identity, dataset.identity)


def check_begins_with(folder: str, settings: Mapping, names: Iterable[str]):
    """Refuse to start from a run whose settings do not fit.

    Arguments
    ---------
    folder : str
        Folder of the run, ``pretrained_interpreter``.
    settings : mapping
        The current settings.
    names : iterable of str
        The settings in which both must agree.

    Raises
    ------
    SettingError
    """
    trained = read_settings(folder)
    for name in sorted(set(names) & set(trained)):
        now = settings.get(name)
        same = same_places(now, trained[name])
        if not (same or is_same_content(name, trained, settings)):
            raise SettingError(
                f"pretrained_interpreter {folder} was trained with {name} "
                f"{trained[name]!r}, not {now!r}: give --{name} as it was, or another "
                "pretrained_interpreter"
            )


def check_row_names(hparams: Mapping):
    """Refuse a method whose row would take the place of a reference row.

    Arguments
    ---------
    hparams : mapping
        A built recipe.

    Raises
    ------
    SettingError
    """
    names, setting = (), "interpreters"
    if "interpreters" in hparams:
        names = hparams["interpreters"]
    elif "interpreter" in hparams:
        names, setting = [hparams["experiment_name"]], "experiment_name"
    for name in names:
        if name in REFERENCES:
            raise SettingError(
                f"{setting} names a method {name!r}, as a reference row of every table "
                "is named: give it another name"
            )


def input_folders(hparams: Mapping) -> list[Path]:
    """Return the folders of recordings that a recipe reads.

    Arguments
    ---------
    hparams : mapping
        A built recipe.

    Returns
    -------
    list of Path
        Those of the data set and of noise and speech, and those that settings name.
        Nothing may be written into them.
    """
    dataset = hparams["dataset"]
    sources = [*hparams["conditions"].values(), *([dataset] * dataset.owns_folder)]
    named = [getattr(source, "folder", None) for source in sources]
    named += [hparams.get(name) for name in INPUTS]
    return [Path(f) for f in named if isinstance(f, (str, Path)) and str(f)]


def check_folder(name: str, folder: str, inputs: Iterable[Path] = ()):
    """Refuse a folder that cannot be written to, before anything is computed.

    Arguments
    ---------
    name : str
        Name of the setting.
    folder : str
        The folder; it need not exist.
    inputs : iterable of Path
        Folders in which nothing may be written, see :func:`input_folders`.

    Raises
    ------
    SettingError
    """
    path = Path(folder).absolute()
    there = next(p for p in (path, *path.parents) if os.path.exists(p))
    if not there.is_dir():
        raise SettingError(f"{name}: {there} is a file: give --{name} a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise SettingError(
            f"{name}: {there} may not be written to: give another --{name}, or change "
            "its permissions"
        )
    for data_folder in inputs:
        if _is_in(path, data_folder):
            raise SettingError(
                f"{name} {folder} lies in the data set {data_folder}: give another "
                f"--{name}"
            )


def _is_in(path, folder):
    """Return whether a path leads into a folder, also by links and `..`."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
