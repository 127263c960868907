"""Load the classifier and the interpreters that a recipe names, with weights."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from lmac_td.classifiers.check import check_classifier
from lmac_td.contracts import Classifier
from lmac_td.errors import SettingError
from lmac_td.interpreters.baselines import REFERENCES
from lmac_td.training.checkpoints import has_checkpoint, load_best, load_weights
from lmac_td.training.export_interpreter import INTERPRETER, load_exported


def load_classifier(hparams: Mapping, device: str) -> Classifier:
    """Load the classifier that is explained: trained, frozen and checked.

    Notes of the check, such as dither that gradients need, are printed.

    Arguments
    ---------
    hparams : mapping
        A built recipe; its ``features`` are moved to the device, too.
    device : str

    Returns
    -------
    Classifier
        The classifier, on the device.

    Raises
    ------
    SettingError
        If it cannot be explained.
    CheckpointError
        If its weights are missing or belong to another model.
    """
    classifier = hparams["classifier"]
    if not isinstance(classifier, Classifier):
        raise SettingError(
            f"classifier is a {type(classifier).__name__}, not a Classifier: name a "
            "class of lmac_td.classifiers, as !new:lmac_td.classifiers.modules."
            "ModuleClassifier with your own network"
        )
    classifier.load(
        hparams["pretrained_classifier"], Path(hparams["cache_folder"]) / "pretrained"
    )
    classifier = classifier.freeze().to(device)
    n_samples = round(hparams["signal_length_s"] * hparams["sample_rate"])
    features = hparams["features"].to(device)
    for note in check_classifier(classifier, features, n_samples, device):
        print(note, flush=True)
    hparams["targets"].of(classifier)
    return classifier


def begin_with(hparams: Mapping, folder: str):
    """Load the weights of another run into the interpreter.

    Arguments
    ---------
    hparams : mapping
        A built recipe.
    folder : str
        Output folder of the other run.

    Raises
    ------
    CheckpointError
        If it holds no trained interpreter, or one of other widths.
    """
    epoch = load_weights(hparams["interpreter"], "interpreter", Path(folder) / "save")
    print(f"Starting from {folder}, epoch {epoch}", flush=True)


def trained_interpreters(
    hparams: Mapping, device: str, argv: Sequence[str], recipe: str | Path = ""
) -> tuple[dict, int | None]:
    """Load the interpreters that the recipe measures, with trained weights.

    They are those of the best checkpoint in the output folder. A recipe that a training
    wrote, ``recipe.yaml`` of an output folder, has its weights beside it, which are
    taken if the recipe's output folder has no checkpoint.

    Arguments
    ---------
    hparams : mapping
        A built recipe.
    device : str
    argv : sequence of str
        The command line, to say how to train.
    recipe : str or Path
        The recipe's file.

    Returns
    -------
    dict of str to Interpreter
        The interpreters by the names of their rows, on the device.
    int or None
        The epoch of the checkpoint; None if there is none.

    Raises
    ------
    CheckpointError
        If nothing was trained.
    SettingError
        If two methods give rows of the same name, or one that of a reference.
    """
    epoch = None
    if "interpreters" in hparams:
        interpreters = dict(hparams["interpreters"])
    else:
        interpreters = {hparams["experiment_name"]: hparams["interpreter"]}
        exported = Path(recipe).parent / INTERPRETER
        if not any(p.requires_grad for p in hparams["interpreter"].parameters()):
            pass  # nothing to load
        elif exported.is_file() and not has_checkpoint(hparams["save_folder"]):
            load_exported(hparams["interpreter"], exported)
        else:
            epoch = load_best(
                hparams["checkpointer"],
                hparams["save_folder"],
                f"train it with `python train_interpreter.py {shlex.join(argv)}`",
            )
    for interpreter in interpreters.values():
        interpreter.to(device).eval()
    rows = {}
    for name, interpreter in interpreters.items():
        new = interpreter.rows(name)
        taken = sorted(set(new) & {*rows, *REFERENCES})
        if taken:
            raise SettingError(
                f"{name} gives a row {taken[0]!r}, which another method or a reference "
                "has: give it another name"
            )
        rows |= new
    return rows, epoch
