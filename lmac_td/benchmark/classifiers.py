"""The classifiers of a benchmark: every method runs for each of them.

A benchmark's file lists them by name, each with the settings that its runs get::

    classifiers:
      - name: first
        pretrained_classifier: classifiers/first
        second_classifier: [classifiers/second, classifiers/third]

An entry of ``methods`` may restrict itself to some of them: ``classifiers: [first]``.
The runs of a classifier have output folders of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lmac_td.errors import SettingError

WEIGHTS = "pretrained_classifier"


def check_classifiers(
    path: str | Path, classifiers: Sequence[Mapping], methods: Sequence[Mapping]
) -> None:
    """Refuse a list of classifiers that cannot work.

    Arguments
    ---------
    path : str or Path
        The benchmark's file, for messages.
    classifiers : sequence of dict
        Its ``classifiers``.
    methods : sequence of dict
        Its ``methods``, which may name some of them.

    Raises
    ------
    SettingError
    """
    if not isinstance(classifiers, list):
        raise SettingError(f"{path}: classifiers must be a list of entries")
    names = []
    for classifier in classifiers:
        name = classifier.get("name") if isinstance(classifier, dict) else None
        named = isinstance(name, str) and re.fullmatch(r"[\w.+-]+", name)
        if not named or WEIGHTS not in classifier:
            raise SettingError(
                f"{path}: an entry of classifiers is {classifier!r}: it must have "
                f"{WEIGHTS}, and a name of letters, digits, '_', '.', '+' and '-'"
            )
        names.append(name)
    for name in names:
        if names.count(name) > 1:
            raise SettingError(f"{path}: two classifiers are named {name!r}")
    for entry in methods:
        chosen = entry.get("classifiers", names)
        listed = isinstance(chosen, list) and set(map(str, chosen)) <= set(names)
        if not listed or ("classifiers" in entry and not chosen):
            known = ", ".join(names) or "none"
            raise SettingError(
                f"{path}: classifiers of {entry['recipe']} is {chosen!r}: list names "
                f"of the file's classifiers, which are {known}"
            )
        if "classifiers" in entry and len(set(chosen)) != len(chosen):
            raise SettingError(
                f"{path}: classifiers of {entry['recipe']} names one of them twice"
            )


def classifiers_of(entry: Mapping, classifiers: Sequence[Mapping]) -> list:
    """Return the classifiers that a method runs for, ``[None]`` without a list.

    Example
    -------
    >>> listed = [{"name": "first"}, {"name": "second"}]
    >>> classifiers_of({"classifiers": ["second"]}, listed)
    [{'name': 'second'}]
    >>> classifiers_of({}, [])
    [None]
    """
    if not classifiers:
        return [None]
    chosen = entry.get("classifiers", [c["name"] for c in classifiers])
    return [c for c in classifiers if c["name"] in chosen]


def settings_of(classifier: Mapping | None) -> dict:
    """Return the settings of a listed classifier, by name.

    Example
    -------
    >>> settings_of({"name": "first", "pretrained_classifier": "a"})
    {'pretrained_classifier': 'a'}
    """
    return {k: v for k, v in (classifier or {}).items() if k != "name"}


def folder_of_classifier(values: Mapping, name: str) -> str:
    """Return the output folder of a run for one of several classifiers.

    The classifier's name is inserted before the folder that is named by the
    experiment; if there is none, it is the last part.

    Arguments
    ---------
    values : mapping
        The settings of the run: ``output_folder`` and, usually, ``experiment_name``.
    name : str
        The name of the classifier.

    Example
    -------
    >>> values = {"output_folder": "results/lmac/1", "experiment_name": "lmac"}
    >>> folder_of_classifier(values, "first")
    'results/first/lmac/1'
    """
    parts = list(Path(values["output_folder"]).parts)
    experiment = values.get("experiment_name")
    place = parts.index(experiment) if experiment in parts else len(parts)
    return str(Path(*parts[:place], name, *parts[place:]))
