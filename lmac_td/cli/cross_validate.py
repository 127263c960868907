"""Train and score a recipe once for each fold: each fold is the test once.

    lmac-td cross-validate hparams/lmac.yaml --data urbansound8k
        --data_folder $URBANSOUND8K --wham_folder $WHAM [--jobs 2] [--setting value ...]

The folds are those of the three settings of folds together. For each of them, the
command trains CNN14 (and L2I's dictionary), then the method, and scores it. The fold
before the test fold chooses the checkpoint. The command prints the mean and the
standard deviation over folds, and the table of all clips. There is one log per command,
and after an interruption the same command resumes. Paths are relative to the
repository's root.
"""

import argparse
import sys
from pathlib import Path

from lmac_td.benchmark.folds import (
    evaluations_of,
    folds_to_markdown,
    plan_folds,
    pooled_table,
)
from lmac_td.benchmark.plan import split_options
from lmac_td.benchmark.repository import ROOT, require_clone
from lmac_td.benchmark.schedule import CommandFailedError, run_all
from lmac_td.cli.benchmark import heed_ctrl_c
from lmac_td.cli.options import path, text, typed
from lmac_td.errors import exit_on_user_error
from lmac_td.evaluation.rendering import table_to_markdown
from lmac_td.files import write_atomically
from lmac_td.report.published import published_markdown
from lmac_td.report.runs import read_run


def main(argv=None):
    """Run what the command line names; return the exit code."""
    arguments, rest = _parser().parse_known_args(argv)
    require_clone()
    steps = plan_folds(
        arguments.recipe, split_options(rest), not arguments.evaluate_only
    )
    name = f"results/folds/{Path(arguments.recipe).stem}"
    folder = ROOT / (arguments.folder or name)
    try:
        run_all(steps, folder, arguments.jobs)
    except CommandFailedError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    runs = [read_run(step.path) for step in evaluations_of(steps)]
    table = pooled_table(runs)
    parts = [folds_to_markdown(runs), f"## All clips\n\n{table_to_markdown(table)}"]
    if arguments.published:
        recipe = table.settings["recipe"]
        classes = range(recipe["out_n_neurons"])
        parts.append(published_markdown(classes, table.rows, recipe["dataset"]))
    page = "\n".join(parts)
    with write_atomically(folder / "folds.md", "w", encoding="utf-8") as file:
        file.write(page)
    print(page)
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("recipe", type=text, help="a recipe such as hparams/lmac.yaml")
    parser.add_argument(
        "--jobs",
        default=1,
        help="commands that run at a time",
        **typed("jobs", "int", min=1, max=1024),
    )
    parser.add_argument(
        "--folder",
        type=path,
        help="folder of logs and of the table (results/folds/RECIPE)",
    )
    parser.add_argument(
        "--evaluate_only",
        action="store_true",
        help="for recipes that need no training, such as hparams/evidence.yaml",
    )
    parser.add_argument(
        "--published", action="store_true", help="print the papers' rows below ours"
    )
    return parser


def command():
    """Run the command line; the exit code is 2 for a user's error."""
    heed_ctrl_c()
    with exit_on_user_error("the same command resumes."):
        sys.exit(main())


if __name__ == "__main__":
    command()
