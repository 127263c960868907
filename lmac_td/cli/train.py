"""Train an interpreter of a frozen classifier.

    python train_interpreter.py hparams/lmac_td.yaml [--setting value ...]

Interrupted, the same command goes on from the last checkpoint. Of SpeechBrain's run
options, ``--precision bf16`` trains with the networks in bfloat16 (signals, loss and
metrics stay in float32), and ``--compile`` compiles the networks.
"""

import shlex
import sys

from lmac_td.data.epoch_seeds import use_epoch_seeded_sampler
from lmac_td.errors import SettingError, exit_on_user_error
from lmac_td.experiment.open import open_experiment
from lmac_td.runtime.compilation import networks_to_compile
from lmac_td.training.brain import InterpreterBrain, brain_modules


def main(argv=None):
    """Train what the recipe describes."""
    argv = sys.argv[1:] if argv is None else argv
    experiment = open_experiment(argv, __doc__, needs="interpreter")
    hparams = experiment.hparams
    if not any(p.requires_grad for p in hparams["interpreter"].parameters()):
        raise SettingError(
            f"{experiment.recipe} has nothing to train: measure it with "
            f"`python eval_faithfulness.py {shlex.join(argv)}`"
        )
    experiment.check_resumable()
    classifier = experiment.load_classifier()
    hparams["interpreter"].check(classifier)
    # Refuses what cannot be compiled, before anything is written.
    networks_to_compile(hparams["interpreter"], classifier, experiment.run_opts)
    experiment.load_interpreter()
    data = experiment.prepare("train", "valid")
    experiment.create_output_folder()
    experiment.add_tensorboard()

    brain = InterpreterBrain(
        modules=brain_modules(hparams, classifier),
        opt_class=hparams["opt_class"],
        hparams={
            **hparams,
            "class_names": data.class_names,
            "sample_ids": data.sample_ids("valid", hparams["n_samples"]),
        },
        run_opts=experiment.run_opts,
        checkpointer=hparams["checkpointer"](),
    )
    train = data.dataset("train")
    brain.fit(
        hparams["epoch_counter"],
        train,
        data.dataset("valid"),
        train_loader_kwargs=use_epoch_seeded_sampler(
            brain, train, hparams["train_loader"], hparams["seed"]
        ),
        valid_loader_kwargs=hparams["eval_loader"],
    )
    print(
        f"Trained: {experiment.output_folder}\n"
        f"Measure it: python eval_faithfulness.py {shlex.join(argv)}"
    )


command = exit_on_user_error(
    "Interrupted: the same command goes on from the last epoch."
)(main)
