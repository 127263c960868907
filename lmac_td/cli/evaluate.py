"""Score interpreters: faithfulness, conciseness, ground truth, equal size.

    python eval_faithfulness.py [hparams/lmac_td.yaml] [--setting value ...]
        [--compare ROW ROW] [--published] [--quantus METRIC ...]

Give it the settings that the interpreter was trained with. ``--condition all`` scores
every kind of mixture, ``--condition speech`` one alone. ``--compare`` sets two rows
against each other clip by clip; a row is one of this table, or the evaluation folder
of another run (FOLDER or FOLDER:ROW). ``--published`` prints what the papers report
beside it. ``--quantus`` runs metrics of Quantus, such as Sparseness or
RelevanceRankAccuracy. Of SpeechBrain's run options, ``--eval_precision bf16``
computes the interpreters in bfloat16, never the classifier that measures; those of
training, such as ``--compile``, change nothing. ``--target`` asks for one class instead
of the one that was decided.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from speechbrain.dataio.dataloader import make_dataloader

from lmac_td.errors import exit_on_user_error
from lmac_td.evaluation import loop
from lmac_td.evaluation.table import (
    FaithfulnessTable,
    check_invariants,
    comparison_to_markdown,
)
from lmac_td.experiment.open import open_experiment
from lmac_td.files import temporary_folder_beside, write_atomically
from lmac_td.interpreters.baselines import reference_interpreters
from lmac_td.report.published import published_markdown
from lmac_td.report.runs import find_row, remarks_to_markdown
from lmac_td.report.samples import save_samples

DEFAULT_RECIPE = Path(__file__).parents[2] / "hparams" / "lmac_td.yaml"
# Of the table's settings, those that are not shown again below it.
SHOWN_ELSEWHERE = ("recipe", "remarks")


def read_options(argv):
    """What this command has besides a recipe's settings, and the rest of its line."""
    parser = argparse.ArgumentParser(
        usage=__doc__.strip(), add_help=False, allow_abbrev=False
    )
    parser.add_argument("--compare", nargs=2, default=[], metavar="ROW")
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--quantus", nargs="+", default=[], metavar="METRIC")
    options, rest = parser.parse_known_args(argv)
    if not rest or rest[0].startswith("-"):
        rest = [str(DEFAULT_RECIPE), *rest]
    return options, rest


def quantus_scores(names, features):
    """Metrics of Quantus, or None where none is named."""
    if not names:
        return None
    # It takes seconds to import, and few ask for it.
    from lmac_td.evaluation.quantus.bridge import QuantusScores

    return QuantusScores(names, features)


def settings_of_table(experiment, classifier, methods, epoch, data, conditions):
    """How the table's numbers were made."""
    snr_db = {name: data.snr_db[name] for name in conditions if name in data.snr_db}
    precision, dither = experiment.run_opts.eval_precision, classifier.dither_db
    return {
        "test_fold_nums": data.folds["test"],
        "checkpoint chosen on fold": None if epoch is None else data.folds["valid"],
        "epoch": epoch,
        "seed": experiment.hparams["seed"],
        "mixing_seed": data.mixing_seed,
        "snr_db": snr_db,
        "conditions": list(conditions),
        "methods": list(methods),
        "classifier_input": {name: m.classifier_input for name, m in methods.items()},
        "classifier": classifier.name,
        **({} if dither is None else {"classifier dither (dB)": dither}),
        "target": experiment.hparams["target"],
        "remarks": remarks_of(methods),
        **({} if precision == "fp32" else {"eval_precision": precision}),
        "recipe": experiment.settings,
    }


def remarks_of(methods):
    """What a reader of the table must know of each method."""
    return {name: method.remark for name, method in methods.items() if method.remark}


def compare(table, rows):
    """Markdown of two rows of :func:`find_row`, clip by clip."""
    for name, scores in rows:
        table.rows |= {(condition, name): s for condition, s in scores.items()}
    return comparison_to_markdown(table, *(name for name, _ in rows))


def write_pages(folder, table, options, class_names, own, quantus):
    """Write all tables into a folder; return what is to be printed."""
    check_invariants(table)  # before there is a table that anybody could quote
    table.clips_to_csv(folder / "clips.csv")
    table.to_json(folder / "table.json")
    table.to_csv(folder / "table.csv")
    remarks = remarks_to_markdown(table.settings["remarks"])
    pages = {"table.md": f"{table.to_markdown()}\n{remarks}".rstrip("\n") + "\n"}
    if own is not None:
        pages["own_table.md"] = own.to_markdown()
        own.to_json(folder / "own_table.json")
    if quantus is not None:
        pages["quantus.md"] = quantus.to_markdown()
        quantus.to_csv(folder / "quantus.csv")
    if options.published:
        pages["published.md"] = published_markdown(class_names, table.rows)
    for page, text in pages.items():
        write_page(folder / page, text)
    return "\n".join(pages.values())


def write_page(path, text):
    """Write a page, whole or not at all."""
    with write_atomically(path, "w", encoding="utf-8") as file:
        file.write(text)


def main(argv=None):
    """Score what the recipe describes, beside the baselines that explain nothing."""
    options, argv = read_options(sys.argv[1:] if argv is None else argv)
    experiment = open_experiment(argv, __doc__, needs=("interpreter", "interpreters"))
    hparams, device = experiment.hparams, experiment.device
    conditions = experiment.conditions()
    experiment.check_measurable()
    methods, epoch = experiment.interpreters(argv)
    features = hparams["features"].to(device)
    quantus, own = quantus_scores(options.quantus, features), hparams["own_table"]
    beside = reference_interpreters(features) if hparams["references"] else {}
    interpreters = {**methods, **beside}
    names = loop.rows_of(interpreters)
    for row in options.compare:
        find_row(row, names)  # before anything is loaded or written
    classifier = experiment.load_classifier()
    for interpreter in interpreters.values():
        interpreter.check(classifier)
    if quantus is not None:
        quantus.check(classifier)
    data = experiment.prepare("test", conditions=conditions)
    settings = settings_of_table(
        experiment, classifier, methods, epoch, data, conditions
    )
    rows = [find_row(row, names, settings) for row in options.compare]

    table = FaithfulnessTable(settings)
    sample_ids = data.sample_ids("test", hparams["n_samples"])

    def keep(condition, row, decided, explained):
        if quantus is not None:
            clip_ids = decided.clip_ids
            quantus.add(condition, row, clip_ids, explained, interpreters[row])
        if row not in methods:
            return
        save_samples(
            new / "samples" / condition / (row if len(methods) > 1 else ""),
            decided,
            explained,
            features,
            data.class_names,
            sample_ids,
            parts=methods[row].parts,
        )
        if own is not None:
            own.add(condition, decided, explained, methods[row])

    # One condition alone leaves the table of several as it is.
    name = "evaluation" if len(conditions) > 1 else f"evaluation_{conditions[0]}"
    folder = experiment.output_folder / name
    with temporary_folder_beside(folder) as scratch:
        new = scratch / name
        for condition in conditions:
            loader = make_dataloader(
                data.dataset("test", condition), **hparams["eval_loader"]
            )
            loop.evaluate(
                table,
                condition,
                interpreters,
                loader,
                features,
                classifier,
                device=device,
                on_batch=keep,
                progress=not experiment.run_opts.noprogressbar,
                precision=experiment.run_opts.eval_precision,
                targets=hparams["targets"],
            )
        # Only now is it known whether gradients of attributions needed dither.
        table.settings["remarks"] = remarks_of(methods)
        pages = write_pages(new, table, options, data.class_names, own, quantus)
        # Of an older model, perhaps; it stays until this one is whole.
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(new, folder)
    print(pages)
    if rows:
        comparison = compare(table, rows)
        write_page(folder / "compare.md", comparison)
        print(comparison)
    shown = {k: v for k, v in settings.items() if k not in SHOWN_ELSEWHERE}
    print(", ".join(f"{name}: {value}" for name, value in shown.items()))
    print(f"Table, intervals and every clip's scores: {folder}")
    print(f"Sounds and spectrograms: {folder / 'samples'}")


command = exit_on_user_error()(main)
