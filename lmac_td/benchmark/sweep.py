"""Turn a recipe and several values of its settings into a benchmark's listing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lmac_td.benchmark.listing import Listing
from lmac_td.benchmark.repository import ROOT, TRAIN
from lmac_td.errors import SettingError
from lmac_td.experiment.build import resolved_tree, typed_recipe
from lmac_td.experiment.run_options import RUN_OPTIONS
from lmac_td.experiment.settings import declarations, read_by_evaluations_alone


def sweep_listing(
    recipe: str,
    swept: Mapping[str, Sequence[str]],
    fixed: Mapping[str, str],
    n_seeds: int = 1,
    train: bool = True,
) -> Listing:
    """List every combination of the swept values of a recipe's settings.

    Arguments
    ---------
    recipe : str
        Path of the recipe.
    swept : mapping of str to sequence of str
        The values of each setting.
    fixed : mapping of str to str
        Settings and run options of all runs.
    n_seeds : int
        Seeds 1 to ``n_seeds`` run for each combination.
    train : bool
        False for recipes that need no training.

    Returns
    -------
    Listing

    Raises
    ------
    SettingError
        If the recipe has no such setting, or it is one of evaluations only.
    """
    settings = {name: v for name, v in fixed.items() if name not in RUN_OPTIONS}
    declared = declarations(typed_recipe(ROOT / recipe, settings))
    for name in swept:
        if name not in declared:
            raise SettingError(f"{recipe} has no setting {name}: see lmac-td show")
        if train and read_by_evaluations_alone(declared[name].roles):
            raise SettingError(
                f"--{name} is read by evaluations only, so there is nothing to train: "
                "add --evaluate_only, or sweep another setting"
            )
    points = [
        dict(zip(swept, values, strict=True))
        for values in itertools.product(*swept.values())
    ]
    names = _experiment_names(recipe, swept, points, settings)
    methods = [
        {
            "recipe": recipe,
            "name": name_of(point),
            "settings": {
                **point,
                "experiment_name": name,
                **_folder_of_seed(recipe, {**settings, "experiment_name": name}, seed),
            },
            "seeds": [seed],
            "train": TRAIN if train else None,
        }
        for point, name in zip(points, names, strict=True)
        for seed in range(1, n_seeds + 1)
    ]
    return Listing(methods=methods)


def _folder_of_seed(recipe, settings, seed):
    """Return an output folder for a seed if the recipe's does not depend on it."""

    def folder(seed):
        tree = typed_recipe(ROOT / recipe, {**settings, "seed": str(seed)})
        return resolved_tree(recipe, tree)["output_folder"]

    if folder(seed) != folder(seed + 1):
        return {}
    return {"output_folder": f"{folder(seed)}/{seed}"}


def name_of(point: Mapping[str, str]) -> str:
    """Return the name of a combination, such as ``alpha 0.5``.

    Example
    -------
    >>> name_of({"alpha": "0.5", "size": "small"})
    'alpha 0.5, size small'
    """
    return ", ".join(f"{name} {value}" for name, value in point.items())


def _experiment_names(recipe, swept, points, settings):
    """Return a name for each point: the recipe's, and the values that it leaves out."""

    def own_name(point):
        tree = typed_recipe(ROOT / recipe, {**settings, **point})
        return resolved_tree(recipe, tree)["experiment_name"]

    def tells(key):
        names = {own_name({**points[0], key: value}) for value in swept[key]}
        return len(names) == len(swept[key])

    left_out = [key for key in swept if not tells(key)]
    return [
        "_".join(
            [own_name(point), *(f"{key}{_in_path(point[key])}" for key in left_out)]
        )
        for point in points
    ]


def _in_path(value):
    """Return a value as part of a folder's name."""
    try:
        value = json.dumps(json.loads(value), separators=("-", "-"))
    except ValueError:
        value = Path(value).stem
    return "".join(c if c.isalnum() or c in "+-." else "_" for c in value)
