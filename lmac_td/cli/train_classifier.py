"""Train CNN14 on a data set with noise, so that it can be explained.

    python recipes/ESC50/train_classifier.py hparams/cnn14.yaml [--setting value ...]

The command prints the accuracy on each test fold, with noise and without, and writes a
figure of the confusions. With ``--activation sigmoid`` the classifier learns all labels
of a clip as tags, and the command prints AUPRC and F1. The folder to give as
``pretrained_classifier`` is ``<output_folder>/classifier``; it holds a model card, too.
After an interruption, the same command resumes from the last checkpoint, and gives the
same weights. Several processes train together if ``torchrun --nproc_per_node=2`` starts
the command; one of them tests.
"""

import shlex
import sys

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.errors import SettingError, exit_on_user_error
from lmac_td.evaluation.markdown import compact_table
from lmac_td.experiment.open import open_experiment
from lmac_td.experiment.run_options import COMPILING, refuse_options
from lmac_td.experiment.shipped import HPARAMS
from lmac_td.runtime.distributed import finish_on_main
from lmac_td.training import tagger
from lmac_td.training.checkpoints import load_best
from lmac_td.training.classifier import (
    ClassifierBrain,
    save_test,
    test,
    tested_conditions,
)
from lmac_td.training.export import accuracies, export, model_card, write_card
from lmac_td.training.fitting import fit


def main(argv=None):
    """Train, test and export the classifier that a recipe describes."""
    argv = sys.argv[1:] if argv is None else argv
    experiment = open_experiment(
        argv,
        __doc__,
        needs="clean_probability",
        default_recipe=HPARAMS / "cnn14.yaml",
        trains=True,
    )
    refuse_options(experiment.run_opts, "train_classifier.py", COMPILING)
    hparams = experiment.hparams
    classifier = hparams["classifier"]
    if not isinstance(classifier, Cnn14Classifier):
        raise SettingError(
            f"{experiment.recipe}: classifier is a {type(classifier).__name__}, but "
            "this command trains CNN14: take the classifier out of `extends`"
        )
    experiment.check_resumable()
    conditions = tested_conditions(hparams["conditions"], hparams["training_condition"])
    with experiment.training():
        data = experiment.prepare(
            "train",
            "valid",
            "test",
            conditions=conditions,
            n_classes=hparams["out_n_neurons"],
        )
        experiment.create_output_folder()
        experiment.add_tensorboard()
        brain = train(experiment, data)
        arguments = shlex.join(map(str, argv))
        finish_on_main(test_and_export, experiment, brain, data, conditions, arguments)


def test_and_export(experiment, brain, data, conditions, arguments):
    """Test and export the best epoch; print the accuracies."""
    hparams = experiment.hparams
    classifier = hparams["classifier"]
    command_line = f"python recipes/ESC50/train_classifier.py {arguments}"
    epoch = load_best(
        hparams["checkpointer"],
        hparams["save_folder"],
        f"train it with `{command_line}`",
    )
    hparams["averaged"].finish(classifier, hparams["half_precision_weights"])
    folder = experiment.output_folder
    quality, table = report(brain, data, conditions, hparams, folder)
    classifier.labels = tuple(data.class_names)
    exported = folder / "classifier"
    export(classifier, exported, hparams["half_precision_weights"])
    card = model_card(hparams, data.class_names, quality, epoch, command_line)
    write_card(exported, card)
    experiment.save_settings(exported)
    print(table)
    print(
        f"Best epoch: {epoch}, chosen on fold {data.folds['valid']}\n"
        + (experiment.nothing_kept or f"pretrained_classifier: {exported}")
    )


def train(experiment, data):
    """Train until the last epoch of the recipe -> ClassifierBrain."""
    hparams = experiment.hparams
    brain = ClassifierBrain(
        modules={
            name: hparams[name] for name in ("features", "classifier", "averaged")
        },
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=experiment.run_opts,
        checkpointer=hparams["checkpointer"](),
    )
    clips = data.dataset(
        "train",
        clean_probability=hparams["clean_probability"],
        snr_range_db=hparams["snr_range_db"],
    )
    fit(brain, hparams, clips, data.dataset("valid"))
    return brain


def report(brain, data, conditions, hparams, folder):
    """Test on both splits and write the results of the test.

    Returns
    -------
    str
        Both results, for the model card.
    str
        That of the test, to be printed.
    """
    has_tags = hparams["classifier"].activation == "sigmoid"
    run = tagger.test if has_tags else test
    results = {
        split: {
            name: run(brain, data, split, name, hparams["eval_loader"])
            for name in conditions
        }
        for split in ("valid", "test")
    }
    tested = results["test"]
    if has_tags:
        tagger.save_test(tested, folder)
        return tagger.quality(results), tagger.scores_table(tested)
    save_test(tested, data.class_names, folder, hparams["experiment_name"])
    return accuracies(results), accuracy_table(tested, chosen_on=data.folds["valid"])


def accuracy_table(results, chosen_on):
    """Format the accuracies by condition and fold as Markdown."""
    rows = []
    for condition, result in results.items():
        for fold, accuracy in result["accuracy"].items():
            note = " (chose the checkpoint)" if fold in chosen_on else ""
            n_clips = result["clips"][fold]
            rows.append([condition, f"{fold}{note}", n_clips, f"{accuracy:.3f}"])
    return compact_table(["condition", "test fold", "clips", "accuracy"], rows)


command = exit_on_user_error(
    "the same command resumes from the last checkpoint.",
    many_processes=True,
)(main)
