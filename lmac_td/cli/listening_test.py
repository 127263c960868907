"""Let people rate explanations: export clips to webMUSHRA, read the ratings.

    lmac-td listening-test export EVALUATION... --out FOLDER [--name NAME]
        [--condition CONDITION] [--subsets 4] [--clips 9] [--reference] [--seed 0]
    lmac-td listening-test read FOLDER RESULTS.csv... --out FOLDER

``export`` writes experiments of the sample clips that all methods of the evaluations
share. Copy ``configs`` into webMUSHRA's folder and give each listener one experiment
(``?config=NAME_1.yaml``). ``read`` writes mean opinion scores with 95 % intervals
(``mos.csv``, ``mos.md``, ``mos.png``) and all ratings (``ratings.csv``).
"""

import argparse

from lmac_td.cli.options import path, text, typed
from lmac_td.errors import exit_on_user_error
from lmac_td.files import write_atomically
from lmac_td.report.listening_test.clips import shared_clips
from lmac_td.report.listening_test.export import STUDY_FILE, export_study
from lmac_td.report.listening_test.ratings import (
    mean_opinion_scores,
    read_ratings,
    scores_figure,
    scores_to_markdown,
)


def main(argv: list[str] | None = None) -> None:
    """Export or read what the command line names."""
    arguments = _parser().parse_args(argv)
    if arguments.verb == "export":
        export(arguments)
    else:
        read(arguments)


def export(arguments: argparse.Namespace) -> None:
    """Write the experiments of a listening test."""
    clips = shared_clips(arguments.evaluations, arguments.condition)
    configs = export_study(
        arguments.out,
        arguments.name,
        clips,
        arguments.subsets,
        arguments.clips,
        arguments.reference,
        arguments.seed,
    )
    methods = ", ".join(clips[0].interpretations)
    print(f"{len(clips)} clips, rated for {methods}")
    print(f"Experiments: {', '.join(path.name for path in configs)}")
    print(f"Copy into webMUSHRA's folder: {arguments.out / 'configs'}")
    print(f"Keep, to read the ratings: {arguments.out / STUDY_FILE}")


def read(arguments: argparse.Namespace) -> None:
    """Write and print the mean opinion scores of a listening test."""
    ratings = read_ratings(arguments.study, arguments.results)
    scores = mean_opinion_scores(ratings)
    page = scores_to_markdown(scores)
    tables = {"ratings": ratings, "mos": scores}
    for name, table in tables.items():
        with write_atomically(arguments.out / f"{name}.csv", "w", newline="") as file:
            table.to_csv(file, index=False)
    with write_atomically(arguments.out / "mos.md", "w", encoding="utf-8") as file:
        file.write(page)
    scores_figure(arguments.out / "mos.png", scores)
    print(page)
    print(f"{ratings['listener'].nunique()} listeners: {arguments.out}")


def _parser():
    parser = argparse.ArgumentParser(
        prog="lmac-td listening-test",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    export = verbs.add_parser("export", help="write experiments for webMUSHRA")
    export.add_argument("evaluations", nargs="+", type=path, help="evaluation folders")
    export.add_argument("--out", type=path, required=True, help="folder to write")
    export.add_argument("--name", type=text, default="explanations", help="of the test")
    export.add_argument(
        "--condition", type=text, help="by default the first evaluation's first"
    )
    export.add_argument(
        "--subsets",
        default=4,
        help="experiments (default: %(default)s)",
        **typed("subsets", "int", min=1, max=1000),
    )
    export.add_argument(
        "--clips",
        default=9,
        help="clips of each (default: %(default)s)",
        **typed("clips", "int", min=1, max=1000),
    )
    export.add_argument(
        "--reference",
        action="store_true",
        help="rate the similarity to the clean target, on pages of the type mushra",
    )
    export.add_argument(
        "--seed", default=0, **typed("seed", "int", min=0, max=2**32 - 1)
    )
    read = verbs.add_parser("read", help="read the ratings")
    read.add_argument("study", type=path, help="the exported folder, or its study.json")
    read.add_argument(
        "results", nargs="+", type=path, help="lms.csv or mushra.csv of webMUSHRA"
    )
    read.add_argument("--out", type=path, required=True, help="folder to write")
    return parser


command = exit_on_user_error()(main)
