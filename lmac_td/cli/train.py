"""Train an interpreter of a frozen classifier.

    python train_interpreter.py hparams/lmac_td.yaml [--setting value ...]

After an interruption, the same command resumes from the last checkpoint, and gives the
same weights. Several processes train together: ``torchrun --nproc_per_node=2
train_interpreter.py hparams/lmac_td.yaml``.
``--precision bf16`` computes the networks in bfloat16 (signals, loss and metrics stay
in float32). ``--compile`` compiles the networks.
"""

import shlex
import sys
from pathlib import Path

from lmac_td.errors import SettingError, exit_on_user_error
from lmac_td.experiment.guards import CLIPS
from lmac_td.experiment.open import open_experiment
from lmac_td.experiment.settings import names_with_role
from lmac_td.runtime.compilation import networks_to_compile
from lmac_td.runtime.distributed import finish_on_main
from lmac_td.training.brain import InterpreterBrain, brain_modules
from lmac_td.training.export_interpreter import export_interpreter, interpreter_card
from lmac_td.training.fitting import fit


def main(argv=None):
    """Train the interpreter that a recipe describes."""
    argv = sys.argv[1:] if argv is None else argv
    experiment = open_experiment(argv, __doc__, needs="interpreter", trains=True)
    interpreter = experiment.hparams["interpreter"]
    if not any(p.requires_grad for p in interpreter.parameters()):
        raise SettingError(
            f"{experiment.recipe} has nothing to train: score it with "
            f"`python eval_faithfulness.py {shlex.join(argv)}`"
        )
    experiment.check_resumable()
    classifier = experiment.load_classifier()
    interpreter.check(classifier)
    # This refuses what cannot be compiled, before anything is written.
    networks_to_compile(interpreter, classifier, experiment.run_opts)
    experiment.load_interpreter()
    with experiment.training():
        data = experiment.prepare("train", "valid")
        experiment.create_output_folder()
        experiment.add_tensorboard()
        train(experiment, classifier, data)
        finish_on_main(export, experiment, classifier, shlex.join(map(str, argv)))


def train(experiment, classifier, data):
    """Train until the last epoch of the recipe."""
    hparams = experiment.hparams
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
    train, valid = data.dataset("train"), data.dataset("valid")
    fit(brain, hparams, train, valid, repeats=hparams["repeats"])


def export(experiment, classifier, arguments):
    """Write what opens the trained interpreter into the output folder, and say so."""
    hparams = experiment.hparams
    pretrained = names_with_role(experiment.tree, "pretrained")
    settings = {
        name: value
        for name, value in experiment.settings.items()
        if "training" in experiment.roles.get(name, ()) and name != CLIPS
    }
    export_interpreter(
        experiment.output_folder,
        Path(hparams["save_folder"]),
        classifier,
        {name: hparams[name] for name in pretrained - {"pretrained_interpreter"}},
        interpreter_card(
            hparams["experiment_name"],
            classifier,
            settings,
            f"python train_interpreter.py {arguments}",
            hparams.get("data_licence"),
        ),
    )
    print(
        experiment.nothing_kept
        or f"Trained: {experiment.output_folder}\n"
        f"Score it: python eval_faithfulness.py {arguments}"
    )


command = exit_on_user_error(
    "the same command resumes from the last checkpoint.",
    many_processes=True,
)(main)
