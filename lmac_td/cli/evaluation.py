"""Open what an evaluation scores, and score it: all of it, or a shard."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechbrain.dataio.dataloader import make_dataloader
from tqdm import tqdm

from lmac_td.data.prepare import PreparedData
from lmac_td.evaluation import observers
from lmac_td.evaluation.columns import rows_of
from lmac_td.evaluation.loop import evaluate
from lmac_td.evaluation.shards import Shard, batches_of
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.experiment.conditions import evaluation_name
from lmac_td.experiment.guards import check_folder
from lmac_td.experiment.open import Experiment, open_experiment
from lmac_td.experiment.scoring import Trained, load_trained
from lmac_td.experiment.second_classifier import NamedSecondClassifier
from lmac_td.experiment.shipped import HPARAMS
from lmac_td.inference.evaluation_page import EvaluationPage
from lmac_td.interpreters.base import Interpreter
from lmac_td.interpreters.baselines import reference_interpreters
from lmac_td.reading import read_json
from lmac_td.report.runs import ASKING, CONTROLS, find_row
from lmac_td.report.same_mixtures import MIXTURE_SETTINGS, SECOND_CLASSIFIER
from lmac_td.runtime.ranks import rank_of_torchrun

DEFAULT_RECIPE = HPARAMS / "lmac_td.yaml"
# A recipe of this command has one of these settings. It names what is scored.
NEEDS = ("interpreter", "interpreters")
# In the folder of an evaluation.
SCORES, SAMPLES, PAGE = "scores", "samples", "page"


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation scores, loaded and checked.

    Attributes
    ----------
    experiment : Experiment
    conditions : list of str
    folder : Path
        Where the results go.
    trained : lmac_td.experiment.scoring.Trained
    second : NamedSecondClassifier or None
    interpreters : dict of str to Interpreter
        The methods and the reference rows.
    quantus : QuantusScores or None
        To be filled.
    data : PreparedData
    settings : dict
        How the table's numbers are made.
    compared : list
        What :func:`~lmac_td.report.runs.find_row` found for ``--compare``.
    """

    experiment: Experiment
    conditions: list[str]
    folder: Path
    trained: Trained
    second: NamedSecondClassifier | None
    interpreters: Mapping[str, Interpreter]
    quantus: Any
    data: PreparedData
    settings: dict
    compared: list

    @property
    def method_table(self):
        """The recipe's method-specific table, or None."""
        return self.experiment.hparams["method_table"]

    @functools.cached_property
    def clips(self) -> list[str]:
        """Ids of the clips, in the order in which one process scores them."""
        return list(read_json(self.data.manifests["test"]))

    @property
    def rows(self) -> list[str]:
        """Names of the table's rows, in order."""
        return rows_of(self.interpreters)


def open_evaluation(
    argv: Sequence[str],
    usage: str,
    compare: Sequence[str] = (),
    quantus: Sequence[str] = (),
    shard: Shard | None = None,
) -> Evaluation:
    """Load and check everything that an evaluation needs; nothing is written.

    Arguments
    ---------
    argv : sequence of str
        The recipe and its settings.
    usage : str
        What ``--help`` prints first.
    compare : sequence of str
        Rows of ``--compare``.
    quantus : sequence of str
        Names of metrics of Quantus.
    shard : Shard, optional
        Shards that start at the same time share the decoding of clips.

    Raises
    ------
    UserError
    """
    experiment = open_experiment(argv, usage, NEEDS, os.path.relpath(DEFAULT_RECIPE))
    conditions = experiment.conditions()
    folder = folder_of(experiment, conditions)
    trained = load_trained(experiment, argv)
    second = experiment.load_second_classifier(trained.classifier)
    interpreters = with_references(trained.methods, experiment)
    scores = quantus_scores(quantus, experiment)
    check_usable(trained.classifier, interpreters, scores)
    rows = rows_of(interpreters)
    for row in compare:
        find_row(row, rows)  # before anything is written
    decode_from = shard.index / shard.of if shard else 0.0
    data = experiment.prepare("test", conditions=conditions, decode_from=decode_from)
    settings = settings_of_table(experiment, trained, second, data, conditions)
    return Evaluation(
        experiment,
        conditions,
        folder,
        trained,
        second,
        interpreters,
        scores,
        data,
        settings,
        [find_row(row, rows, settings) for row in compare],
    )


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


def score_conditions(evaluation: Evaluation, folder: Path, shard: Shard | None = None):
    """Score every condition under one progress bar; call the observers.

    Arguments
    ---------
    evaluation : Evaluation
    folder : Path
        Receives samples, the files of the page, and the scores of large rows.
    shard : Shard, optional
        Only its batches are scored.

    Returns
    -------
    FaithfulnessTable
    EvaluationPage
    """
    hparams, run_opts = evaluation.experiment.hparams, evaluation.experiment.run_opts
    data = evaluation.data
    table = FaithfulnessTable(evaluation.settings, folder=folder / SCORES)
    page = evaluation_page(evaluation, folder)
    watching = observers_of(evaluation, page, folder)
    datasets = {name: data.dataset("test", name) for name in evaluation.conditions}
    loaders = loaders_of(datasets, hparams["eval_loader"], shard)
    n_batches = sum(map(len, loaders.values()))
    rank = rank_of_torchrun()
    hidden = run_opts.noprogressbar or (rank is not None and rank[0] > 0)
    with tqdm(total=n_batches, disable=hidden, dynamic_ncols=True) as bar:
        for condition, loader in loaders.items():
            bar.set_description(condition)
            evaluate(
                table,
                condition,
                evaluation.interpreters,
                _counted(loader, bar),
                hparams["features"],
                evaluation.trained.classifier,
                device=evaluation.experiment.device,
                progress=False,
                precision=run_opts.eval_precision,
                targets=hparams["targets"],
                second_classifier=evaluation.second and evaluation.second.scorer,
                equal_size_by=hparams["equal_size_by"],
                **watching,
            )
    # Only after the evaluation is it known whether attributions needed dither.
    table.settings["remarks"] = remarks_of(evaluation.trained.methods)
    return table, page


def loaders_of(datasets, settings, shard=None):
    """Return a loader for each dataset; of a shard, for its batches alone."""
    if shard is None:
        return {
            name: make_dataloader(dataset, **settings)
            for name, dataset in datasets.items()
        }
    settings = dict(settings)
    sizes = {name: len(dataset) for name, dataset in datasets.items()}
    batches = batches_of(sizes, settings.pop("batch_size"), shard)
    return {
        name: make_dataloader(dataset, batch_sampler=batches[name], **settings)
        for name, dataset in datasets.items()
        if batches[name]
    }


def _counted(loader, bar):
    for batch in loader:
        yield batch
        bar.update()


def evaluation_page(evaluation, folder):
    """Return the page of the evaluation's samples, to be filled."""
    hparams, data = evaluation.experiment.hparams, evaluation.data
    return EvaluationPage(
        folder / PAGE,
        evaluation.trained.methods,
        hparams["features"],
        data.class_names,
        data.sample_ids("test", hparams["n_samples"]),
    )


def observers_of(evaluation, page, folder):
    """Return the observers of every batch, as arguments of ``evaluate``."""
    hparams, methods = evaluation.experiment.hparams, evaluation.trained.methods
    method_table, data = hparams["method_table"], evaluation.data
    return {
        "on_batch": observers.all_of(
            observers.quantus_scorer(evaluation.quantus, evaluation.interpreters),
            observers.sample_keeper(
                folder / SAMPLES,
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
