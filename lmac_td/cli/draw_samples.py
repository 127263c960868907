"""Draw the sample clips of evaluations: mixture, mask, what is kept, true target.

    python recipes/ESC50/draw_samples.py results/evidence/1234/evaluation figure.png
        [--condition in_domain] [--row "evidence 0.5"] [--clips 10]
    python recipes/ESC50/draw_samples.py "results/evidence/1234/evaluation:evidence 0.5"
        results/lmac/1234/evaluation figure.png [--condition in_domain] [--clips 10]

The figure has one row a clip. With several evaluations, each as ``FOLDER`` or
``FOLDER:ROW``, the columns are what each of them keeps, between the mixture and the
true target. Evaluations must have saved samples (``n_samples``).
"""

import argparse

from lmac_td.cli.options import path, text, typed
from lmac_td.errors import SettingError, exit_on_user_error
from lmac_td.experiment.scalar_types import either
from lmac_td.report.clip_grid import (
    clip_grid_figure,
    clip_rows,
    compared_rows,
    features_of,
)
from lmac_td.report.runs import named_row, read_run

SUFFIXES = [".png", ".pdf", ".svg"]


def main(argv=None):
    """Draw the samples that the command line names."""
    arguments = _parser().parse_args(argv)
    if arguments.figure.suffix.lower() not in SUFFIXES:
        raise SettingError(
            f"figure is {arguments.figure}: end its name in {either(SUFFIXES)}"
        )
    chosen = [_run_and_row(text, arguments.row) for text in arguments.evaluations]
    run, row = chosen[0]
    condition = arguments.condition or run.table.conditions[0]
    if len(chosen) == 1:
        rows = clip_rows(run, condition, row, arguments.clips)
        title = f"{row}: {condition}"
    else:
        rows = compared_rows(_by_name(chosen), condition, arguments.clips)
        title = f"what is kept: {condition}"
    arguments.figure.parent.mkdir(parents=True, exist_ok=True)
    clip_grid_figure(arguments.figure, rows, features_of(run), title)
    print(f"{len(rows)} clips: {arguments.figure}")


def _run_and_row(text, row):
    """Return the evaluation and the row that ``FOLDER`` or ``FOLDER:ROW`` names."""
    folder, name = named_row(text)
    if name and row:
        raise SettingError(f"--row {row}: {text} names a row, too: leave one out")
    run = read_run(folder)
    return run, name or row or run.settings["methods"][0]


def _by_name(chosen):
    """Return evaluations and rows by the names of their columns, which differ."""
    found = {}
    for run, row in chosen:
        if (run.path, row) in [(other.path, its) for other, its in found.values()]:
            raise SettingError(f"{run.path.parent} is named twice with {row}")
        found[f"{row} ({run.path.parent})" if row in found else row] = run, row
    return found


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "evaluations",
        nargs="+",
        type=text,
        metavar="EVALUATION",
        help="evaluation folder, or table.json; FOLDER:ROW names one of its methods",
    )
    parser.add_argument("figure", type=path, help="the png file to write")
    parser.add_argument(
        "--condition", type=text, help="by default the evaluation's first"
    )
    parser.add_argument(
        "--row", type=text, help="name of a method; by default the first"
    )
    parser.add_argument(
        "--clips",
        default=10,
        help="at most so many",
        **typed("clips", "int", min=1, max=1000),
    )
    return parser


command = exit_on_user_error()(main)
