"""Cross-validation: train and score a recipe once for each fold of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from lmac_td.benchmark.listing import Listing
from lmac_td.benchmark.plan import plan
from lmac_td.benchmark.repository import ROOT, TRAIN
from lmac_td.benchmark.step import Step
from lmac_td.errors import SettingError
from lmac_td.evaluation.markdown import markdown_table, number
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.experiment.build import resolved_tree, typed_recipe
from lmac_td.metrics.registry import find
from lmac_td.report.runs import Run

CLASSIFIER = "recipes/ESC50/train_classifier.py", "hparams/cnn14.yaml"
DICTIONARY = "recipes/ESC50/train_nmf.py", "hparams/nmf.yaml"
_SPLITS = "train_fold_nums", "valid_fold_nums", "test_fold_nums"
COLUMNS = ("AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP")


def splits_of(folds: Sequence[int]) -> list[dict[str, list[int]]]:
    """Return the splits of a cross-validation.

    Each fold is the test once. The fold before it is the validation, and the others
    train.

    Arguments
    ---------
    folds : sequence of int
        At least three.

    Returns
    -------
    list of dict of str to list of int
        By the names of the settings.

    Raises
    ------
    SettingError
        If there are fewer than three folds.

    Example
    -------
    >>> splits_of([1, 2, 3])[0]
    {'train_fold_nums': [2], 'valid_fold_nums': [3], 'test_fold_nums': [1]}
    """
    if len(folds) < 3:
        raise SettingError(
            f"the folds are {list(folds)}: a cross-validation needs three or more, to "
            "train, to choose the checkpoint and to test"
        )
    return [
        {
            "train_fold_nums": [f for f in folds if f not in (test, folds[i - 1])],
            "valid_fold_nums": [folds[i - 1]],
            "test_fold_nums": [test],
        }
        for i, test in enumerate(folds)
    ]


def plan_folds(recipe: str, options: Mapping[str, str], train: bool = True) -> list:
    """Turn a recipe into the commands of a cross-validation, in order.

    A fold has its own classifier, its own dictionary if the recipe has one, and its own
    folder, ``<results_folder>/fold<number>``.

    Arguments
    ---------
    recipe : str
        A recipe of an interpreter of CNN14.
    options : mapping of str to str
        Settings and run options of all commands. The folds are those of the three
        settings of folds together.
    train : bool
        False for recipes that need no training.

    Returns
    -------
    list of Step

    Raises
    ------
    SettingError
        If there are too few folds, ``output_folder`` is given, or a command would
        refuse its settings.
    """
    tree, values = _composed(recipe, options)
    if "output_folder" in options:
        raise SettingError(
            "output_folder would be that of all folds: give --results_folder instead"
        )
    folds = sorted({fold for name in _SPLITS for fold in values[name]})
    steps = []
    of_fold = (*_SPLITS, "results_folder")
    options = {name: v for name, v in options.items() if name not in of_fold}
    for split in splits_of(folds):
        (fold,) = split["test_fold_nums"]
        own = {**split, "results_folder": f"{values['results_folder']}/fold{fold}"}
        prepare = [_entry(CLASSIFIER, own, f"classifier-fold{fold}", "classifier")]
        found = {"pretrained_classifier": _folder(*CLASSIFIER, own, options)}
        if "nmf_dictionary" in tree:
            prepare.append(_entry(DICTIONARY, own, f"nmf-fold{fold}", "dictionary"))
            found["nmf_dictionary"] = _folder(*DICTIONARY, own, options, "dictionary")
        method = {
            "recipe": recipe,
            "name": f"fold{fold}",
            "settings": {**own, **found},
            "train": TRAIN if train else None,
        }
        steps += plan(Listing(prepare=prepare, methods=[method]), dict(options))
    return steps


def _entry(script_and_recipe, settings, name, makes):
    script, recipe = script_and_recipe
    own = typed_recipe(ROOT / recipe)
    settings = {key: value for key, value in settings.items() if key in own}
    return {
        "script": script,
        "recipe": recipe,
        "settings": settings,
        "name": name,
        "makes": makes,
    }


def _folder(script, recipe, own, options, name="classifier"):
    """Return the folder that a command writes, below its output folder."""
    _, values = _composed(recipe, {key: str(v) for key, v in own.items()} | options)
    return f"{values['output_folder']}/{name}"


def _composed(recipe, options):
    """Return a recipe with those options that it knows, and its resolved values.

    Options that no command knows are refused later, see
    :func:`lmac_td.benchmark.plan.plan`.
    """
    known = typed_recipe(ROOT / recipe)
    given = {name: value for name, value in options.items() if name in known}
    tree = typed_recipe(ROOT / recipe, given)
    return tree, resolved_tree(recipe, tree)


def evaluations_of(steps: Sequence[Step]) -> list[Step]:
    """Return the evaluations among steps."""
    return [step for step in steps if step.kind == "evaluate"]


def pooled_table(runs: Sequence[Run]) -> FaithfulnessTable:
    """Return one table with the clips of all folds.

    Arguments
    ---------
    runs : sequence of Run
        The evaluation of each fold; their clips differ.

    Returns
    -------
    FaithfulnessTable
        Its means and intervals are over all clips.
    """
    settings = dict(runs[0].settings)
    settings["test_fold_nums"] = [
        fold for run in runs for fold in run.settings["test_fold_nums"]
    ]
    table = FaithfulnessTable(settings)
    for condition, method in runs[0].table.rows:
        rows = [run.table.row(condition, method) for run in runs]
        table.put(condition, method, pd.concat(rows, ignore_index=True))
    for run in runs:
        for condition, clip_ids in run.table.without_target.items():
            table.add_without_target(condition, clip_ids)
    return table


def folds_to_markdown(runs: Sequence[Run]) -> str:
    """Return the mean and the standard deviation over folds of each row.

    Arguments
    ---------
    runs : sequence of Run
        The evaluation of each fold.

    Returns
    -------
    str
        Markdown, a section per condition.
    """
    first, sections = runs[0].table, []
    for condition in first.conditions:
        lines = []
        for name, method in first.rows:
            if name != condition:
                continue
            means = pd.DataFrame([run.table.means(condition, method) for run in runs])
            cells = []
            for column in COLUMNS:
                decimals = find(column).decimals
                mean, sd = means[column].mean(), means[column].std(ddof=1)
                cells.append(f"{number(mean, decimals)} ± {number(sd, decimals)}")
            lines.append([method, *cells])
        title = f"### {condition}: mean ± standard deviation of {len(runs)} folds\n\n"
        sections.append(title + markdown_table(["method", *COLUMNS], lines))
    return "\n".join(sections)
