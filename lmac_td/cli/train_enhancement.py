"""Train a network that removes noise from speech by a mask.

    python recipes/SpeechEnhancement/train_enhancement.py \\
        recipes/SpeechEnhancement/hparams/enhancement.yaml [--setting value ...]

``--training_condition`` is the noise: ``in_domain`` (real noise), ``speech_shaped`` or
``effects``. After an interruption, the same command resumes from the last checkpoint.
Several processes train together if ``torchrun --nproc_per_node=2`` starts the command;
one of them tests.
"""

import sys

from speechbrain.dataio.dataloader import make_dataloader

from lmac_td.enhancement.brain import EnhancementBrain
from lmac_td.enhancement.mixtures import mixture_dataset
from lmac_td.errors import exit_on_user_error
from lmac_td.experiment.open import open_experiment
from lmac_td.experiment.run_options import COMPILING, refuse_options
from lmac_td.experiment.shipped import SHIPPED
from lmac_td.runtime.distributed import finish_on_main
from lmac_td.training.checkpoints import load_best
from lmac_td.training.fitting import fit

RECIPE = SHIPPED / "recipes" / "SpeechEnhancement" / "hparams" / "enhancement.yaml"
NEEDS = "mask_estimator"  # a setting that only these recipes have


def main(argv=None):
    """Train and test the mask estimator that a recipe describes."""
    argv = sys.argv[1:] if argv is None else argv
    experiment = open_experiment(
        argv, __doc__, needs=NEEDS, default_recipe=RECIPE, trains=True
    )
    refuse_options(experiment.run_opts, "train_enhancement.py", COMPILING)
    experiment.check_resumable()
    with experiment.training():
        train_and_test(experiment)


def train_and_test(experiment):
    """Train until the last epoch, and test."""
    hparams = experiment.hparams
    condition = hparams["training_condition"]
    data = experiment.prepare("train", "valid", "test")
    experiment.create_output_folder()
    experiment.add_tensorboard()
    brain = EnhancementBrain(
        modules={NEEDS: hparams[NEEDS]},
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=experiment.run_opts,
        checkpointer=hparams["checkpointer"](),
    )
    train, valid, test = (
        mixture_dataset(
            data,
            split,
            condition,
            hparams["snr_range_db"],
            hparams["mixtures_per_utterance"],
        )
        for split in ("train", "valid", "test")
    )
    fit(brain, hparams, train, valid)
    finish_on_main(test_best, experiment, brain, test)


def test_best(experiment, brain, test):
    """Print the error of the best epoch on the test split."""
    hparams = experiment.hparams
    epoch = load_best(
        hparams["checkpointer"], hparams["save_folder"], "give --number_of_epochs"
    )
    error = mean_squared_error(brain, test, hparams["eval_loader"])
    print(
        f"Best epoch: {epoch}\n"
        f"Mean squared error of the mask on the test split: {error:.4f}\n"
        + (experiment.nothing_kept or f"Trained: {experiment.output_folder}")
    )


def mean_squared_error(brain, dataset, eval_loader):
    """Return the error of the masks of a dataset, per bin."""
    brain.modules.eval()
    brain.on_stage_start(None)
    for batch in make_dataloader(dataset, **eval_loader):
        brain.evaluate_batch(batch, stage=None)
    return brain.error


command = exit_on_user_error(
    "the same command resumes from the last checkpoint.",
    many_processes=True,
)(main)
