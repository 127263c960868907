"""Score interpreters: faithfulness, conciseness, ground truth, equal size.

Give the settings that the interpreter was trained with. ``--condition all`` scores
every kind of mixture, ``--condition speech`` only one. ``--eval_precision bf16``
computes the interpreters in bfloat16, but never the classifier that measures. Run
options of training, such as ``--compile``, have no effect. ``--target`` explains one
class instead of the decided one.
"""

import argparse
import os
import shutil
import sys

from lmac_td.benchmark.ray_tune import LOCAL
from lmac_td.cli.evaluation import (
    DEFAULT_RECIPE,
    SCORES,
    open_evaluation,
    score_conditions,
)
from lmac_td.cli.evaluation_parts import join_parts, remove_parts, score_part
from lmac_td.cli.evaluation_ray import score_on_ray
from lmac_td.cli.options import text, typed
from lmac_td.errors import SettingError, exit_on_user_error
from lmac_td.evaluation.comparison import comparison_to_markdown
from lmac_td.evaluation.frame import MOST_LINES
from lmac_td.evaluation.invariants import check_invariants
from lmac_td.evaluation.rendering import table_to_markdown
from lmac_td.evaluation.shards import Shard
from lmac_td.evaluation.summary import write_csv, write_json
from lmac_td.files import replace_folder, write_atomically
from lmac_td.report.published import published_markdown
from lmac_td.report.runs import ASKING, CONTROLS
from lmac_td.report.same_mixtures import MIXTURE_SETTINGS
from lmac_td.report.side_by_side import remarks_to_markdown, searches_to_markdown
from lmac_td.runtime.ranks import leave_ranks, meet_ranks, rank_of_torchrun
from lmac_td.training.export_interpreter import add_measured_table

# Settings of the table that are not printed again below it.
SHOWN_ELSEWHERE = (
    "recipe", "remarks", "classes", ASKING, CONTROLS, MIXTURE_SETTINGS
)  # fmt: skip


CLIPS = "clips.csv"


def main(argv=None):
    """Score what the recipe describes, and the reference rows."""
    options, argv, usage = read_options(sys.argv[1:] if argv is None else argv)
    shard, rank = shard_of(options)
    if options.ray is not None:
        score_on_ray(argv, options)
    if rank is not None:
        meet_ranks()
    chosen = options.compare, options.quantus, shard
    evaluation = open_evaluation(argv, usage, *chosen)
    if shard is not None:
        score_part(evaluation, shard)
        if rank is None:
            return
        leave_ranks()
        if rank > 0:
            return
    joins = options.merge or options.ray is not None or rank is not None
    write_evaluation(evaluation, options, joins)


def shard_of(options):
    """Return the shard to score, and the rank of this process under torchrun.

    Raises
    ------
    SettingError
        If options contradict each other.
    """
    given = [
        f"--{name}"
        for name in ("shard", "merge", "ray")
        if getattr(options, name) not in (None, False)
    ]
    rank = rank_of_torchrun()
    if rank is not None:
        given.append("torchrun")
    if len(given) > 1:
        raise SettingError(f"{' and '.join(given)} exclude each other: give one")
    if options.shards is not None and options.ray is None:
        raise SettingError("--shards is for --ray: give both")
    if options.shard is not None and options.compare:
        raise SettingError("--compare needs the whole table: give it with --merge")
    if rank is not None:
        return Shard(*rank), rank[0]
    return (None if options.shard is None else Shard.read(options.shard)), None


def write_evaluation(evaluation, options, joins):
    """Score all, or join the parts of shards; write and print the results."""
    folder, experiment = evaluation.folder, evaluation.experiment
    with experiment.evaluation(folder) as new:
        if joins:
            table, page = join_parts(evaluation, new)
        else:
            table, page = score_conditions(evaluation, new)
        pages = write_pages(new, table, options, evaluation)
        shown = page.write(table)
        compared = evaluation.compared
        comparison = write_comparison(new, table, compared) if compared else None
        if (new / CLIPS).exists():
            shutil.rmtree(new / SCORES, ignore_errors=True)
        # The evaluation of an older model is kept until this one is complete.
        replace_folder(new, folder)
    if joins:
        remove_parts(evaluation)
    add_measured_table(experiment.output_folder, folder.name, pages)
    print(pages)
    if compared:
        print(comparison)
    print_settings(table.settings, folder)
    if shown:
        print(f"Page to listen and compare: {folder / shown.relative_to(new)}")


def read_options(argv):
    """Read this command's options -> options, the recipe's line, the usage."""
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    if options.help:
        rest.append("--help")
    elif not rest or rest[0].startswith("-"):
        rest = [os.path.relpath(DEFAULT_RECIPE), *rest]
    return options, rest, parser.format_help()


def _parser():
    parser = argparse.ArgumentParser(
        prog="eval_faithfulness.py",
        usage="python %(prog)s [RECIPE] [--setting value ...] [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=text,
        default=[],
        metavar="ROW",
        help="compare two rows clip by clip; a row is one of this table, or the "
        "evaluation folder of another run (FOLDER or FOLDER:ROW)",
    )
    parser.add_argument(
        "--published", action="store_true", help="print the papers' rows below ours"
    )
    parser.add_argument(
        "--quantus",
        nargs="+",
        type=text,
        default=[],
        metavar="METRIC",
        help="run metrics of Quantus, such as Sparseness or RelevanceRankAccuracy",
    )
    parser.add_argument(
        "--shard",
        type=text,
        metavar="I/N",
        help="score only shard I of N, counted from 0, and keep its scores for --merge",
    )
    parser.add_argument(
        "--merge",
        action="store_true",
        help="join the scores of all shards to the table that one process writes",
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const=LOCAL,
        type=text,
        metavar="ADDRESS",
        help="score the shards on Ray, started here or at the address, and join them",
    )
    parser.add_argument(
        "--shards",
        metavar="N",
        help="how many shards --ray scores; by default one for each CPU, or GPU",
        **typed("shards", "int", min=1, max=1_000_000),
    )
    parser.add_argument("--help", "-h", action="store_true", help="print this")
    return parser


def write_pages(folder, table, options, evaluation):
    """Write all tables into a folder; return what is to be printed."""
    method_table, quantus = evaluation.method_table, evaluation.quantus
    check_invariants(table)  # before the table is written
    write_clips(folder, table)
    write_json(table, folder / "table.json")
    write_csv(table, folder / "table.csv")
    remarks = remarks_to_markdown(table.settings["remarks"])
    searches = searches_to_markdown(
        *(table.settings.get(key, ()) for key in (ASKING, CONTROLS))
    )
    parts = table_to_markdown(table), remarks, searches
    page = "\n".join(filter(None, parts)).rstrip("\n") + "\n"
    pages = {"table.md": page}
    if method_table is not None:
        pages["method_table.md"] = method_table.to_markdown()
        method_table.to_json(folder / "method_table.json")
        if hasattr(method_table, "draw"):
            method_table.draw(folder)
    if quantus is not None:
        pages["quantus.md"] = quantus.to_markdown()
        quantus.to_csv(folder / "quantus.csv")
    if options.published:
        pages["published.md"] = published_markdown(
            evaluation.data.class_names, table.rows, table.settings["recipe"]["dataset"]
        )
    for name, page in pages.items():
        write_page(folder / name, page)
    return "\n".join(pages.values())


def write_clips(folder, table):
    """Write every clip's scores: clips.csv, or Parquet files of a large table."""
    if len(table) > MOST_LINES:
        table.clips_to_parquet()
        return
    table.clips_to_csv(folder / CLIPS)


def write_comparison(folder, table, compared):
    """Compare two rows of :func:`find_row` clip by clip; write and return the page."""
    for name, scores in compared:
        for condition, row in scores.items():
            table.put(condition, name, row)
    page = comparison_to_markdown(table, *(name for name, _ in compared))
    write_page(folder / "compare.md", page)
    return page


def write_page(path, text):
    """Write a page; if it fails, leave no partial file."""
    with write_atomically(path, "w", encoding="utf-8") as file:
        file.write(text)


def print_settings(settings, folder):
    """Print how the numbers were made, and where the files are."""
    shown = {k: v for k, v in settings.items() if k not in SHOWN_ELSEWHERE}
    print(", ".join(f"{name}: {value}" for name, value in shown.items()))
    print(f"Table, intervals and every clip's scores: {folder}")
    print(f"Sounds and spectrograms: {folder / 'samples'}")


command = exit_on_user_error(many_processes=True)(main)
