#!/usr/bin/env python
"""Score interpreters: faithfulness, conciseness, ground truth, equal size.

    python eval_faithfulness.py [hparams/lmac_td.yaml] [--setting value ...]
        [--compare ROW ROW] [--published] [--quantus METRIC ...]

Give it the settings that the interpreter was trained with. ``--condition all`` scores
every kind of mixture, ``--condition speech`` one alone. ``--compare`` sets two rows
against each other clip by clip; a row is one of this table, or the evaluation folder
of another run. ``--published`` prints what the papers report beside it. ``--quantus``
runs metrics of Quantus, such as Sparseness or RelevanceRankAccuracy.
"""

import argparse
import shlex
import shutil
import sys
from pathlib import Path

from speechbrain.dataio.dataloader import make_dataloader

from lmac_td import evaluation
from lmac_td.checkpoints import load_best
from lmac_td.errors import exit_on_user_error
from lmac_td.experiment import MIXTURE_SETTINGS, RUN_SETTINGS, open_experiment
from lmac_td.files import write_atomically
from lmac_td.interpreters.baselines import reference_interpreters
from lmac_td.metrics.table import (
    FaithfulnessTable,
    check_invariants,
    comparison_to_markdown,
)
from lmac_td.report.published import published_markdown
from lmac_td.report.runs import add_run, check_row
from lmac_td.report.samples import save_samples

DEFAULT_RECIPE = Path(__file__).parent / "hparams" / "lmac_td.yaml"
# Of the table's settings, those that are not told again below it.
TOLD_ELSEWHERE = ("recipe", "remarks")


def read_options(argv):
    """What this command has besides a recipe's settings, and the rest of its line."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--compare", nargs=2, default=[], metavar="ROW")
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--quantus", nargs="+", default=[], metavar="METRIC")
    options, rest = parser.parse_known_args(argv)
    if not rest or rest[0].startswith("-"):
        rest = [str(DEFAULT_RECIPE), *rest]
    return options, rest


def load_interpreters(experiment, argv):
    """The recipe's interpreters by the names of their rows, and the epoch they are of.

    The epoch is None where there was nothing to train.
    """
    hparams, epoch = experiment.hparams, None
    if "interpreters" in hparams:
        return hparams["interpreters"], epoch
    interpreter = hparams["interpreter"]
    if any(p.requires_grad for p in interpreter.parameters()):
        epoch = load_best(
            hparams["checkpointer"],
            hparams["save_folder"],
            f"train it with `python train_interpreter.py {shlex.join(argv)}`",
        )
    return {hparams["experiment_name"]: interpreter}, epoch


def quantus_scores(names, features):
    """Metrics of Quantus, or None where none is named."""
    if not names:
        return None
    # It takes seconds to import, and few ask for it.
    from lmac_td.quantus_bridge import QuantusScores

    return QuantusScores(names, features)


def main(argv=None):
    """Score what the recipe describes, beside the baselines that explain nothing."""
    options, argv = read_options(sys.argv[1:] if argv is None else argv)
    experiment = open_experiment(argv, __doc__, needs=("interpreter", "interpreters"))
    hparams, device = experiment.hparams, experiment.device
    conditions = experiment.conditions()
    experiment.check_trained_as(RUN_SETTINGS | MIXTURE_SETTINGS)
    methods, trained_epoch = load_interpreters(experiment, argv)
    features = hparams["features"].to(device)
    quantus = quantus_scores(options.quantus, features)
    for interpreter in methods.values():
        interpreter.to(device).eval()
    interpreters = dict(methods)
    if hparams["references"]:
        interpreters |= reference_interpreters(features)
    for row in options.compare:
        check_row(row, evaluation.rows_of(interpreters))
    classifier = experiment.load_classifier().to(device)
    data = experiment.prepare("test", conditions=conditions)

    table = FaithfulnessTable(
        settings={
            "test_fold_nums": data.folds["test"],
            "checkpoint chosen on fold": data.folds["valid"],
            "epoch": trained_epoch,
            "seed": hparams["seed"],
            "mixing_seed": data.mixing_seed,
            "snr_db": {
                name: data.snr_db[name] for name in conditions if name != "clean"
            },
            "methods": list(methods),
            "heard": {name: method.heard for name, method in methods.items()},
            "remarks": {name: m.remark for name, m in methods.items() if m.remark},
            "recipe": experiment.settings,
        }
    )
    # One condition alone leaves the table of several as it is.
    name = "evaluation" if len(conditions) > 1 else f"evaluation_{conditions[0]}"
    folder = experiment.output_folder / name
    shutil.rmtree(folder, ignore_errors=True)  # of an older model, perhaps
    samples = folder / "samples"
    sample_ids = data.sample_ids("test", hparams["n_samples"])
    own = hparams["own_table"]

    def keep(condition, row, batch, heard):
        if quantus is not None:
            quantus.add(condition, row, batch.id, heard, interpreters[row])
        if row not in methods:
            return
        save_samples(
            samples / condition / (row if len(methods) > 1 else ""),
            batch,
            heard,
            features,
            data.class_names,
            sample_ids,
            parts=methods[row].parts,
        )
        if own is not None:
            own.add(condition, batch, heard, methods[row])

    for condition in conditions:
        loader = make_dataloader(
            data.dataset("test", condition), **hparams["eval_loader"]
        )
        evaluation.evaluate(
            table,
            condition,
            interpreters,
            loader,
            features,
            classifier,
            device=device,
            on_heard=keep,
            progress=not experiment.run_opts.noprogressbar,
        )
    table.clips_to_csv(folder / "clips.csv")
    check_invariants(table)  # before there is a table that anybody could quote
    table.to_json(folder / "table.json")
    table.to_csv(folder / "table.csv")
    remarks = "".join(
        f"\n{name}: {remark}\n" for name, remark in table.settings["remarks"].items()
    )
    pages = {"table.md": table.to_markdown() + remarks}
    if own is not None:
        pages["own_table.md"] = own.to_markdown()
        own.to_json(folder / "own_table.json")
    if quantus is not None:
        pages["quantus.md"] = quantus.to_markdown()
        quantus.to_csv(folder / "quantus.csv")
    if options.published:
        pages["published.md"] = published_markdown(data.class_names, table.rows)
    if options.compare:
        rows = [add_run(table, row) for row in options.compare]
        pages["compare.md"] = comparison_to_markdown(table, *rows)
    for page, text in pages.items():
        with write_atomically(folder / page, "w", encoding="utf-8") as file:
            file.write(text)
    print("\n".join(pages.values()))
    told = {k: v for k, v in table.settings.items() if k not in TOLD_ELSEWHERE}
    print(", ".join(f"{name}: {value}" for name, value in told.items()))
    print(f"Table, intervals and every clip's scores: {folder}")
    print(f"Sounds and spectrograms: {samples}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
