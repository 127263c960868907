"""Score interpreters: faithfulness, conciseness, ground truth, equal size.

Give the settings that the interpreter was trained with. ``--condition all`` scores
every kind of mixture, ``--condition speech`` only one. ``--eval_precision bf16``
computes the interpreters in bfloat16, but never the classifier that measures. Run
options of training, such as ``--compile``, have no effect. ``--target`` explains one
class instead of the decided one.
"""

import argparse
import os
import sys

from speechbrain.dataio.dataloader import make_dataloader
from tqdm import tqdm

from lmac_td.errors import exit_on_user_error
from lmac_td.evaluation import observers
from lmac_td.evaluation.columns import rows_of
from lmac_td.evaluation.comparison import comparison_to_markdown
from lmac_td.evaluation.invariants import check_invariants
from lmac_td.evaluation.loop import evaluate
from lmac_td.evaluation.rendering import table_to_markdown
from lmac_td.evaluation.summary import write_csv, write_json
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.experiment.conditions import evaluation_name
from lmac_td.experiment.guards import check_folder
from lmac_td.experiment.open import open_experiment
from lmac_td.experiment.scoring import load_trained
from lmac_td.experiment.shipped import HPARAMS
from lmac_td.files import replace_folder, write_atomically
from lmac_td.inference.evaluation_page import EvaluationPage
from lmac_td.interpreters.baselines import reference_interpreters
from lmac_td.report.published import published_markdown
from lmac_td.report.runs import ASKING, CONTROLS, find_row
from lmac_td.report.same_mixtures import MIXTURE_SETTINGS, SECOND_CLASSIFIER
from lmac_td.report.side_by_side import remarks_to_markdown, searches_to_markdown
from lmac_td.training.export_interpreter import add_measured_table

DEFAULT_RECIPE = HPARAMS / "lmac_td.yaml"
# A recipe of this command has one of these settings. It names what is scored.
NEEDS = ("interpreter", "interpreters")
# Settings of the table that are not printed again below it.
SHOWN_ELSEWHERE = (
    "recipe", "remarks", "classes", ASKING, CONTROLS, MIXTURE_SETTINGS
)  # fmt: skip


def main(argv=None):
    """Score what the recipe describes, and the reference rows."""
    options, argv, usage = read_options(sys.argv[1:] if argv is None else argv)
    experiment = open_experiment(argv, usage, NEEDS, os.path.relpath(DEFAULT_RECIPE))
    conditions = experiment.conditions()
    folder = folder_of(experiment, conditions)
    trained = load_trained(experiment, argv)
    second = experiment.load_second_classifier(trained.classifier)
    interpreters = with_references(trained.methods, experiment)
    quantus = quantus_scores(options.quantus, experiment)
    check_usable(trained.classifier, interpreters, quantus)
    rows = rows_of(interpreters)
    for row in options.compare:
        find_row(row, rows)  # before anything is written
    data = experiment.prepare("test", conditions=conditions)
    settings = settings_of_table(experiment, trained, second, data, conditions)
    compared = [find_row(row, rows, settings) for row in options.compare]

    with experiment.evaluation(folder) as new:
        page = evaluation_page(experiment, trained, data, new)
        watching = observers_of(
            experiment, trained, interpreters, data, quantus, page, new
        )
        table = score_conditions(
            experiment, trained, second, interpreters, data, settings, watching
        )
        pages = write_pages(new, table, options, experiment, data, quantus)
        shown = page.write(table)
        # The evaluation of an older model is kept until this one is complete.
        replace_folder(new, folder)
    add_measured_table(experiment.output_folder, folder.name, pages)
    print(pages)
    if compared:
        print(write_comparison(folder, table, compared))
    print_settings(table.settings, folder)
    if shown:
        print(f"Page to listen and compare: {folder / shown.relative_to(new)}")


def read_options(argv):
    """Read this command's options -> options, the recipe's line, the usage."""
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
        default=[],
        metavar="METRIC",
        help="run metrics of Quantus, such as Sparseness or RelevanceRankAccuracy",
    )
    parser.add_argument("--help", "-h", action="store_true", help="print this")
    options, rest = parser.parse_known_args(argv)
    if options.help:
        rest.append("--help")
    elif not rest or rest[0].startswith("-"):
        rest = [os.path.relpath(DEFAULT_RECIPE), *rest]
    return options, rest, parser.format_help()


def folder_of(experiment, conditions):
    """Return the evaluation's folder; a single condition has its own."""
    folder = experiment.output_folder / evaluation_name(conditions)
    check_folder("output_folder", folder)
    return folder


def with_references(methods, experiment):
    """Return the methods, and the reference rows if the recipe asks for them."""
    features = experiment.hparams["features"].to(experiment.device)
    if not experiment.hparams["references"]:
        return methods
    return methods | reference_interpreters(features)


def quantus_scores(names, experiment):
    """Return the scores of Quantus to fill; None if no metric is named."""
    if not names:
        return None
    # Importing Quantus takes seconds, and few evaluations need it.
    from lmac_td.evaluation.quantus import QuantusScores

    return QuantusScores(names, experiment.hparams["features"])


def check_usable(classifier, interpreters, quantus):
    """Refuse a classifier that a method or a metric of Quantus cannot use."""
    for interpreter in interpreters.values():
        interpreter.check(classifier)
    if quantus is not None:
        quantus.check(classifier)


def settings_of_table(experiment, trained, second, data, conditions):
    """Return how the table's numbers were made."""
    methods = trained.methods
    snr_db = {name: data.snr_db[name] for name in conditions if name in data.snr_db}
    precision, dither = experiment.run_opts.eval_precision, trained.classifier.dither_db
    recipe = experiment.settings  # hashes the weights: once
    return {
        "test_fold_nums": data.folds["test"],
        "checkpoint chosen on fold": None
        if trained.epoch is None
        else data.folds["valid"],
        "epoch": trained.epoch,
        "seed": experiment.hparams["seed"],
        "mixing_seed": data.mixing_seed,
        "snr_db": snr_db,
        "conditions": list(conditions),
        "methods": list(methods),
        "classifier_input": {name: m.classifier_input for name, m in methods.items()},
        "classifier": trained.classifier.name,
        "classes": list(trained.classifier.labels),
        **({} if dither is None else {"classifier dither (dB)": dither}),
        **({} if second is None else {SECOND_CLASSIFIER: second.description}),
        "target": experiment.hparams["target"],
        "remarks": remarks_of(methods),
        **searches_of(methods),
        **({} if precision == "fp32" else {"eval_precision": precision}),
        MIXTURE_SETTINGS: mixture_settings(recipe, experiment.roles),
        "recipe": recipe,
    }


def mixture_settings(settings, roles):
    """Return the names of the settings that tables must agree in, except SNRs."""
    return sorted(
        name
        for name in settings
        if "mixture" in roles.get(name, ()) and "snr" not in name
    )


def remarks_of(methods):
    """Return the remarks about each method that are printed below the table."""
    return {name: method.remark for name, method in methods.items() if method.remark}


def searches_of(methods):
    """Return the methods that ask the classifier what to keep, and the controls."""
    asking = [name for name, method in methods.items() if method.asks_classifier]
    controls = [name for name, method in methods.items() if method.is_control]
    found = {ASKING: asking, CONTROLS: controls}
    return {key: names for key, names in found.items() if names}


def evaluation_page(experiment, trained, data, folder):
    """Return the page of the evaluation's samples, to be filled."""
    hparams = experiment.hparams
    return EvaluationPage(
        folder / "page",
        trained.methods,
        hparams["features"],
        data.class_names,
        data.sample_ids("test", hparams["n_samples"]),
    )


def score_conditions(
    experiment, trained, second, interpreters, data, settings, watching
):
    """Score every condition under one progress bar; call the observers.

    Returns
    -------
    FaithfulnessTable
    """
    hparams, run_opts = experiment.hparams, experiment.run_opts
    table = FaithfulnessTable(settings)
    loaders = {
        condition: make_dataloader(
            data.dataset("test", condition), **hparams["eval_loader"]
        )
        for condition in settings["conditions"]
    }
    n_batches = sum(map(len, loaders.values()))
    hidden = run_opts.noprogressbar
    with tqdm(total=n_batches, disable=hidden, dynamic_ncols=True) as bar:
        for condition, loader in loaders.items():
            bar.set_description(condition)
            evaluate(
                table,
                condition,
                interpreters,
                _counted(loader, bar),
                hparams["features"],
                trained.classifier,
                device=experiment.device,
                progress=False,
                precision=run_opts.eval_precision,
                targets=hparams["targets"],
                second_classifier=second and second.scorer,
                equal_size_by=hparams["equal_size_by"],
                **watching,
            )
    # Only after the evaluation is it known whether attributions needed dither.
    table.settings["remarks"] = remarks_of(trained.methods)
    return table


def observers_of(experiment, trained, interpreters, data, quantus, page, folder):
    """Return the observers of every batch, as arguments of ``evaluate``."""
    hparams, methods = experiment.hparams, trained.methods
    method_table = hparams["method_table"]
    return {
        "on_batch": observers.all_of(
            observers.quantus_scorer(quantus, interpreters),
            observers.sample_keeper(
                folder / "samples",
                methods,
                hparams["features"],
                data.class_names,
                data.sample_ids("test", hparams["n_samples"]),
            ),
            page.on_batch,
            observers.method_table_filler(method_table, methods),
        ),
        "on_without_target": observers.without_target_filler(method_table, methods),
    }


def _counted(loader, bar):
    for batch in loader:
        yield batch
        bar.update()


def write_pages(folder, table, options, experiment, data, quantus):
    """Write all tables into a folder; return what is to be printed."""
    method_table = experiment.hparams["method_table"]
    check_invariants(table)  # before the table is written
    table.clips_to_csv(folder / "clips.csv")
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
            data.class_names, table.rows, table.settings["recipe"]["dataset"]
        )
    for name, text in pages.items():
        write_page(folder / name, text)
    return "\n".join(pages.values())


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
