"""RemOve And Retrain: does a new classifier miss what explanations rank first?

    python recipes/ESC50/roar.py hparams/lmac.yaml [--setting value ...]

This is Hooker et al.'s sanity check (L-MAC's figure 4). The most important bins are
removed from every clip of training, validation and test, and a new classifier is
trained on the rest. Its accuracy on the test clips is compared with the accuracy when
random bins are removed. Give the settings that the interpreter was trained with.
Further options:

    --roar_levels "[0.1, 0.3, 0.5, 0.7, 0.9]"    shares of all bins
    --repeats 3                     trainings per level and ranking
    --roar_epochs 10                epochs, learning rate and batch size of a training
    --roar_lr 0.001  --roar_batch_size 8
    --roar_fill zero                what replaces the removed bins: zero | mean
    --sanity_condition in_domain    the training condition that mixes clips

On the embedded corpus a training takes a minute or less on one core. For a first test
give --roar_levels "[0.1, 0.5, 0.9]" --repeats 1. The command writes roar.md, roar.csv,
roar.png and, after each training, roar.json to <output_folder>/sanity. Finished
trainings are not repeated; more levels and repeats can be added.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lmac_td.cli.sanity import open_explained, read_options, require_ascending
from lmac_td.contracts import Classifier
from lmac_td.errors import exit_on_user_error
from lmac_td.experiment.fingerprint import fingerprint
from lmac_td.experiment.guards import CONTENT
from lmac_td.experiment.open import Experiment
from lmac_td.experiment.settings import changes_explanations
from lmac_td.files import write_atomically
from lmac_td.interpreters.base import Interpreter
from lmac_td.report.figures import lines_figure
from lmac_td.sanity.cells import Cells
from lmac_td.sanity.rankings import LOUDEST, RANDOM, ranking_functions
from lmac_td.sanity.removal import FILLS, SPLITS, Removal, fixed_batches
from lmac_td.sanity.retraining import require_classes
from lmac_td.sanity.roar import (
    accuracies,
    accuracies_to_csv,
    accuracies_to_markdown,
    accuracy_curves,
    complete_cells,
)

OPTIONS = {
    "roar_levels": [0.1, 0.3, 0.5, 0.7, 0.9],
    "repeats": 3,
    "roar_epochs": 10,
    "roar_lr": 0.001,
    "roar_batch_size": 8,
    "roar_fill": "zero",
    "sanity_condition": "in_domain",
}
TYPES = {
    "roar_levels": {"type": "list[float]", "above": 0, "max": 1},
    "repeats": {"type": "int", "min": 1, "max": 1000},
    "roar_epochs": {"type": "int", "min": 1, "max": 1_000_000},
    "roar_lr": {"type": "float", "above": 0, "max": 1000},
    "roar_batch_size": {"type": "int", "min": 1, "max": 65536},
    "roar_fill": {"type": "str", "choices": FILLS},
    "sanity_condition": {"type": "str"},
}
# Values of these settings can be added to finished cells.
EXTENDABLE = ("roar_levels", "repeats")


def open_cells(
    folder: Path, experiment: Experiment, options: argparse.Namespace
) -> Cells:
    """Read the finished cells of a folder.

    Raises
    ------
    DataError
        If their file is damaged.
    SettingError
        If they were made with other settings.
    """
    roles = experiment.roles
    kept = {
        name: value
        for name, value in experiment.settings.items()
        if changes_explanations(roles.get(name, ("training",)))
    }
    own = {k: v for k, v in vars(options).items() if k not in EXTENDABLE}
    content = fingerprint(experiment.output_folder)
    not_compared = {name for name in roles if not changes_explanations(roles[name])}
    return Cells(
        folder / "roar.json",
        kept | own | {f"{CONTENT}output_folder": content},
        not_compared,
    )


def write_results(folder: Path, table: pd.DataFrame, title: str) -> str:
    """Write table and figure, and return the table as Markdown.

    Arguments
    ---------
    folder : Path
    table : pandas.DataFrame
        The result of :func:`lmac_td.sanity.roar.accuracies`.
    title : str
        Title of the figure.
    """
    text = accuracies_to_markdown(table)
    with write_atomically(folder / "roar.md", "w", encoding="utf-8") as file:
        file.write(text)
    accuracies_to_csv(folder / "roar.csv", table)
    with write_atomically(folder / "roar.png") as file:
        lines_figure(
            file,
            {"accuracy of the retrained classifier": accuracy_curves(table)},
            table["removed"].unique().tolist(),
            "share of the bins that were removed",
            title,
            (RANDOM, LOUDEST),
        )
    return text


def complete_table(
    cells: Cells,
    experiment: Experiment,
    methods: Mapping[str, Interpreter],
    classifier: Classifier,
    options: argparse.Namespace,
) -> pd.DataFrame:
    """Train what is missing, and return the accuracies of all methods and levels.

    Arguments
    ---------
    cells : Cells
        Receives what is trained.
    experiment : Experiment
    methods : dict of str to Interpreter
        They rank the bins.
    classifier : Classifier
        The one that they explain.
    options : argparse.Namespace

    Returns
    -------
    pandas.DataFrame
        See :func:`lmac_td.sanity.roar.accuracies`.
    """
    condition, repeats = options.sanity_condition, range(options.repeats)
    hparams = experiment.hparams
    data = experiment.prepare(*SPLITS, conditions=[condition])
    require_classes(classifier, data.class_names)

    def batches_of(split):
        return fixed_batches(data, split, condition, hparams["eval_loader"])

    removal = Removal(
        batches_of,
        hparams["features"],
        classifier,
        options.roar_fill,
        experiment.device,
    )
    rankings = ranking_functions(methods, data.mixing_seed)
    complete_cells(
        cells,
        removal,
        classifier,
        rankings,
        options.roar_levels,
        repeats,
        progress=not experiment.run_opts.noprogressbar,
        epochs=options.roar_epochs,
        lr=options.roar_lr,
        batch_size=options.roar_batch_size,
    )
    return accuracies(cells.frame, rankings, options.roar_levels, repeats)


def main(argv: Sequence[str] | None = None) -> None:
    """Remove and retrain for the interpreters that the recipe describes."""
    argv = sys.argv[1:] if argv is None else argv
    options, argv = read_options(argv, OPTIONS, TYPES)
    require_ascending("roar_levels", options.roar_levels, "[0.1, 0.5]")
    condition = options.sanity_condition
    experiment, methods, classifier = open_explained(argv, __doc__, condition)
    with experiment.sanity_check("roar") as folder:
        cells = open_cells(folder, experiment, options)
        table = complete_table(cells, experiment, methods, classifier, options)
        print(write_results(folder, table, f"RemOve And Retrain ({condition})"))
    print(
        f"Accuracy (%) on the test clips, mean of {options.repeats} trainings, 95 % "
        f"intervals over clips. Table, cells and figure: {folder}"
    )


command = exit_on_user_error("the same command continues where it stopped.")(main)
