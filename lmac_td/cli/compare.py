"""Put several evaluations in one table: seeds of a method, values of alpha, methods.

    python recipes/ESC50/compare_runs.py results/lmac_td_small_*/*/evaluation
        [--columns NAME ...] [--by_condition NAME ...] [--csv FILE] [--published]
        [--compare ROW ROW]

The command reads what ``eval_faithfulness.py`` wrote. The table has one row per run and
each reference row once. If a method has several seeds, it also has their mean and
standard deviation. Remarks on the methods follow. ``--columns`` prints only these
columns, in one table per condition, and ``--no_intervals`` without intervals;
``--by_condition`` adds a table for each of its columns, with the conditions side by
side; ``--csv`` writes all columns with their intervals; ``--published`` adds what the
papers report; ``--compare`` compares two rows clip by clip instead.
"""

import argparse

from lmac_td.cli.options import add_columns, path, text
from lmac_td.errors import exit_on_user_error
from lmac_td.evaluation.comparison import comparison_to_markdown
from lmac_td.evaluation.summary import write_csv
from lmac_td.report.published import published_markdown
from lmac_td.report.runs import read_runs
from lmac_td.report.side_by_side import (
    by_condition_to_markdown,
    choose_columns,
    runs_to_markdown,
)


def main(argv=None):
    """Print the table of the runs that the command line names."""
    arguments = _parser().parse_args(argv)
    columns = choose_columns(arguments.columns)
    by_condition = choose_columns(arguments.by_condition, "--by_condition")
    runs = read_runs(arguments.evaluations)
    pair = arguments.compare
    compared = comparison_to_markdown(runs.table, *pair) if pair else None
    if arguments.csv:
        write_csv(runs.table, arguments.csv)
    if compared:
        print(compared)
        return
    print(runs_to_markdown(runs, columns, not arguments.no_intervals))
    if by_condition:
        print(by_condition_to_markdown(runs, by_condition))
    if arguments.published:
        recipe = runs.table.settings["recipe"]
        classes = range(recipe["out_n_neurons"])
        identity = recipe.get("dataset", "")  # older evaluations have none
        print(published_markdown(classes, runs.table.rows, identity))


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "evaluations",
        nargs="+",
        type=path,
        help="evaluation folder, or table.json, of each run",
    )
    add_columns(parser)
    parser.add_argument(
        "--csv", type=path, metavar="FILE", help="write all columns here"
    )
    parser.add_argument(
        "--published", action="store_true", help="print the papers' rows below ours"
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=text,
        metavar="ROW",
        help="names of two rows to compare",
    )
    return parser


command = exit_on_user_error()(main)
