"""Draw the sample clips of an evaluation: mixture, mask, what is kept, true target.

    python recipes/ESC50/draw_samples.py results/evidence/1234/evaluation figure.png
        [--condition in_domain] [--row "evidence 0.5"] [--clips 10]

The figure has one row a clip. The evaluation must have saved samples (``n_samples``).
"""

import argparse

from lmac_td.cli.options import path, text, typed
from lmac_td.errors import SettingError, exit_on_user_error
from lmac_td.experiment.scalar_types import either
from lmac_td.report.clip_grid import clip_grid_figure, clip_rows, features_of
from lmac_td.report.runs import read_run

SUFFIXES = [".png", ".pdf", ".svg"]


def main(argv=None):
    """Draw the samples that the command line names."""
    arguments = _parser().parse_args(argv)
    if arguments.figure.suffix.lower() not in SUFFIXES:
        raise SettingError(
            f"figure is {arguments.figure}: end its name in {either(SUFFIXES)}"
        )
    run = read_run(arguments.evaluation)
    condition = arguments.condition or run.table.conditions[0]
    rows = clip_rows(run, condition, arguments.row, arguments.clips)
    row = arguments.row or run.settings["methods"][0]
    arguments.figure.parent.mkdir(parents=True, exist_ok=True)
    clip_grid_figure(arguments.figure, rows, features_of(run), f"{row}: {condition}")
    print(f"{len(rows)} clips: {arguments.figure}")


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "evaluation", type=path, help="evaluation folder, or table.json"
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
