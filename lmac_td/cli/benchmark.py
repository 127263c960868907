"""Train and measure everything that a file lists, and put it in one table.

    python recipes/ESC50/benchmark.py recipes/ESC50/esc10.yaml \\
        --data_folder $ESC10 --wham_folder $NOISE --ljspeech_folder $SPEECH \\
        --condition all [--jobs 2] [--columns NAME ...] [--compare ROW ROW]
        [--setting value ...]

The benchmark runs the single commands, each with its own log. At the end it writes the
table of ``compare_runs.py`` (Markdown and CSV), figures, and the minutes of each
command. After an interruption, the same command resumes; finished runs are not
repeated. A setting is passed to every command whose recipe has it. Settings of
evaluations, such as ``condition``, are passed to evaluations only. One evaluation
scores the reference rows, see ``references``. SpeechBrain's run options are passed to
all commands. The file may name the ``columns`` of the printed table, and a text to
print last (``closing``). Paths are relative to the repository's root.
"""

import argparse
import contextlib
import signal
import sys

from lmac_td.benchmark.listing import read_listing
from lmac_td.benchmark.plan import ROOT, plan, split_options
from lmac_td.benchmark.report import write_report
from lmac_td.benchmark.schedule import CommandFailedError, run_all
from lmac_td.errors import SettingError, exit_on_user_error
from lmac_td.evaluation.comparison import comparison_to_markdown
from lmac_td.report.side_by_side import choose_columns


def main(argv=None):
    """Run what the command line names; return the exit code."""
    arguments, settings = _parser().parse_known_args(argv)
    if arguments.jobs < 1:
        raise SettingError(f"jobs is {arguments.jobs}: give --jobs 1 or more")
    listing = read_listing(arguments.benchmark)
    columns = choose_columns(arguments.columns or listing.columns)
    steps = plan(listing, split_options(settings))
    folder = ROOT / arguments.folder
    try:
        minutes = run_all(steps, folder, arguments.jobs)
    except CommandFailedError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    runs = write_report(steps, minutes, folder, columns)
    for pair in arguments.compare if runs is not None else ():
        print(comparison_to_markdown(runs.table, *pair))
    print(f"Table (.md, .csv) and figures: {folder}")
    if listing.closing:
        print(f"\n{listing.closing.strip()}")
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("benchmark", help="a file such as recipes/ESC50/esc10.yaml")
    parser.add_argument(
        "--jobs", type=int, default=1, help="commands that run at a time"
    )
    parser.add_argument(
        "--folder",
        default="results/benchmark",
        help="folder of logs, minutes, tables and figures (default: %(default)s)",
    )
    parser.add_argument(
        "--columns", nargs="+", default=[], metavar="NAME", help='such as AI "eta (99)"'
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar="ROW",
        action="append",
        default=[],
        help="compare two rows clip by clip; may be given several times",
    )
    return parser


def _interrupt(number, frame):
    raise KeyboardInterrupt


def command():
    """Run the command line; the exit code is 2 for a user's error."""
    # In the background of a shell, Ctrl-C is ignored, and commands would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):  # a closed terminal must leave no command behind
        with contextlib.suppress(AttributeError):
            if signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
                signal.signal(getattr(signal, name), _interrupt)
    with exit_on_user_error("Interrupted: the same command resumes."):
        sys.exit(main())
