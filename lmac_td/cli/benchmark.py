"""Train and measure everything that a file lists, and put it in one table.

    python recipes/ESC50/benchmark.py recipes/ESC50/esc10.yaml \\
        --data_folder $ESC10 --wham_folder $NOISE --ljspeech_folder $SPEECH \\
        --condition all [--jobs 2] [--columns NAME ...] [--by_condition NAME ...]
        [--compare ROW ROW] [--scores_folder FOLDER] [--report_only]
        [--setting value ...]

The benchmark runs the single commands, each with its own log. At the end it writes the
table of ``compare_runs.py`` (Markdown and CSV), figures, and the minutes of each
command. After an interruption, the same command resumes; finished runs are not
repeated. A setting is passed to every command whose recipe has it. Settings of
evaluations, such as ``condition``, are passed to evaluations only. One evaluation
scores the reference rows, see ``references``. SpeechBrain's run options are passed to
all commands. The file may name the ``columns`` of the printed table, and a text to
print last (``closing``). If it lists ``classifiers``, every method runs for each of
them, and the table also has means over classifiers. ``--scores_folder`` receives the
scores of each run as soon as it is finished, and runs whose scores it holds are not
repeated; ``--report_only`` runs nothing and makes the table of what is finished. Paths
are relative to the repository's root.
"""

import argparse
import signal
import sys

from lmac_td.benchmark.kept_runs import KeptRuns, available
from lmac_td.benchmark.listing import read_listing
from lmac_td.benchmark.minutes import Minutes
from lmac_td.benchmark.plan import plan, split_options
from lmac_td.benchmark.report import comparisons_to_markdown, conditions_to_markdown
from lmac_td.benchmark.repository import ROOT, require_clone
from lmac_td.benchmark.run import run_and_report
from lmac_td.benchmark.schedule import run_all
from lmac_td.cli.options import add_columns, path, text, typed
from lmac_td.errors import SettingError, exit_on_user_error
from lmac_td.report.side_by_side import choose_columns


def main(argv=None):
    """Run what the command line names; return the exit code."""
    arguments, settings = _parser().parse_known_args(argv)
    require_clone()
    listing = read_listing(arguments.benchmark)
    columns = choose_columns(arguments.columns or listing.columns)
    by_condition = choose_columns(arguments.by_condition, "--by_condition")
    steps = plan(listing, split_options(settings), not arguments.report_only)
    folder = ROOT / arguments.folder
    kept = arguments.scores_folder and KeptRuns(ROOT / arguments.scores_folder)

    def run():
        if arguments.report_only:
            return finished_steps(steps, folder, kept)
        return run_missing(steps, folder, arguments.jobs, kept)

    def add(runs):
        if by_condition and runs:
            print(conditions_to_markdown(runs, by_condition))
        for pair in arguments.compare if runs else ():
            print(comparisons_to_markdown(runs, *pair))

    intervals = not arguments.no_intervals
    return run_and_report(run, folder, columns, intervals, add, listing.closing)


def run_missing(steps, folder, jobs, kept):
    """Run the steps of runs that are not kept; return all steps, and their minutes."""
    missing = kept.missing(steps) if kept else steps
    if len(missing) < len(steps):
        done = f"{len(steps) - len(missing)} of {len(steps)} commands are not needed"
        print(f"{done}: {kept.folder} has the scores of their runs.")

    minutes = run_all(missing, folder, jobs, kept.keep if kept else None)
    return list(available(steps, minutes, kept)), minutes


def finished_steps(steps, folder, kept):
    """Return the steps that are finished or kept, and the minutes of all.

    A step is finished if its last command was the same and was successful.
    """
    minutes = Minutes(folder / "minutes.json")
    for step in steps if kept else ():
        if minutes.is_finished(step):
            kept.keep(step, minutes)
    finished = list(available(steps, minutes, kept))
    if not any(step.kind == "evaluate" for step in finished):
        raise SettingError(
            f"--report_only: no evaluation is finished in {folder}: run the same "
            "command without it, or give the --folder of that run"
        )
    print(f"{len(finished)} of {len(steps)} commands are finished.")
    return finished, minutes


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "benchmark", type=text, help="a file such as recipes/ESC50/esc10.yaml"
    )
    parser.add_argument(
        "--jobs",
        default=1,
        help="commands that run at a time",
        **typed("jobs", "int", min=1, max=1024),
    )
    parser.add_argument(
        "--folder",
        type=path,
        default="results/benchmark",
        help="folder of logs, minutes, tables and figures (default: %(default)s)",
    )
    parser.add_argument(
        "--scores_folder",
        type=path,
        metavar="FOLDER",
        help="receives the scores of each finished run; a run that it holds with the "
        "same settings is not repeated",
    )
    parser.add_argument(
        "--report_only",
        action="store_true",
        help="run nothing; make the table of the evaluations that are finished",
    )
    add_columns(parser)
    parser.add_argument(
        "--compare",
        nargs=2,
        type=text,
        metavar="ROW",
        action="append",
        default=[],
        help="compare two rows clip by clip; may be given several times; with several "
        "classifiers, names without seeds",
    )
    return parser


def heed_ctrl_c():
    """Let Ctrl-C stop the program and its commands.

    In the background of a shell it is ignored, and commands would inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def command():
    """Run the command line; the exit code is 2 for a user's error."""
    heed_ctrl_c()
    with exit_on_user_error("the same command resumes."):
        sys.exit(main())
