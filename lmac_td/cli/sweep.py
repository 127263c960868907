"""Train and score a recipe with several values of its settings.

    lmac-td sweep hparams/lmac_td.yaml --alpha 0 0.25 0.5 0.75 1 --seeds 3 \\
        --data_folder $ESC50 --wham_folder $WHAM [--jobs 2] [--setting value ...]

A setting with several values is swept; with several such settings, every combination
runs. A setting with one value is that of all runs. The sweep runs on the benchmark's
runner: one log per command, and after an interruption the same command resumes. At the
end it writes one table with intervals, per condition one figure of faithfulness against
sound quality, and a page to listen to the values side by side. Paths are relative to
the repository's root.
"""

import argparse
import sys
from pathlib import Path

from lmac_td.benchmark.options import grouped
from lmac_td.benchmark.plan import plan
from lmac_td.benchmark.ray_tune import LOCAL, run_all_on_ray
from lmac_td.benchmark.repository import ROOT, require_clone
from lmac_td.benchmark.run import run_and_report
from lmac_td.benchmark.schedule import run_all
from lmac_td.benchmark.sweep import sweep_listing
from lmac_td.cli.benchmark import heed_ctrl_c
from lmac_td.cli.options import path, text, typed
from lmac_td.errors import SettingError, exit_on_user_error
from lmac_td.report.sweep import sweep_figure


def main(argv=None):
    """Run what the command line names; return the exit code."""
    arguments, rest = _parser().parse_known_args(argv)
    require_clone()
    given = grouped(rest)
    swept = {name: values for name, values in given.items() if len(values) > 1}
    if not swept:
        raise SettingError(
            "no setting has several values: write for instance --alpha 0 0.5 1"
        )
    fixed = {name: (v[0] if v else None) for name, v in given.items() if len(v) < 2}
    listing = sweep_listing(
        arguments.recipe, swept, fixed, arguments.seeds, not arguments.evaluate_only
    )
    folder = ROOT / (arguments.folder or f"results/sweep/{Path(arguments.recipe).stem}")
    steps = plan(listing, fixed)

    def run():
        if arguments.ray is None:
            return steps, run_all(steps, folder, arguments.jobs)
        return steps, run_all_on_ray(steps, folder, arguments.ray, arguments.jobs)

    def draw(runs):
        for condition in runs[None].table.conditions:
            sweep_figure(folder / f"sweep_{condition}.png", runs[None], condition)

    return run_and_report(run, folder, add=draw)


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "recipe", type=text, help="a recipe such as hparams/lmac_td.yaml"
    )
    parser.add_argument(
        "--seeds",
        default=1,
        help="seeds 1 to SEEDS run for each value",
        **typed("seeds", "int", min=1, max=1000),
    )
    parser.add_argument(
        "--jobs",
        default=1,
        help="commands that run at a time",
        **typed("jobs", "int", min=1, max=1024),
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const=LOCAL,
        type=text,
        metavar="ADDRESS",
        help="run as trials of Ray Tune, on the cluster at this address (auto: the one "
        "of this machine; without an address, Ray is started here)",
    )
    parser.add_argument(
        "--folder",
        type=path,
        help="folder of logs, table and figures (results/sweep/RECIPE)",
    )
    parser.add_argument(
        "--evaluate_only",
        action="store_true",
        help="for recipes that need no training, such as hparams/evidence.yaml",
    )
    return parser


def command():
    """Run the command line; the exit code is 2 for a user's error."""
    heed_ctrl_c()
    with exit_on_user_error("the same command resumes."):
        sys.exit(main())


if __name__ == "__main__":
    command()
