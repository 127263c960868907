"""Export a trained classifier: weights, labels and a model card."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch

from lmac_td.classifiers.cnn14 import LABELS, WEIGHTS, Cnn14Classifier
from lmac_td.errors import TrainingError
from lmac_td.evaluation.markdown import compact_table
from lmac_td.files import write_atomically
from lmac_td.runtime.loading import first_not_finite

CARD = "README.md"


def export(
    classifier: Cnn14Classifier, folder: Path, half_precision: bool = False
) -> None:
    """Write ``model.safetensors`` and ``labels.json``, for ``pretrained_classifier``.

    Arguments
    ---------
    classifier : Cnn14Classifier
    folder : Path
        Created if it is missing.
    half_precision : bool
        Write the weights of convolutions and linear layers as float16.

    Raises
    ------
    TrainingError
        If weights are not finite, also because float16 cannot hold them.
    """
    state = {}
    for key, tensor in classifier.trained_modules().state_dict().items():
        is_half = half_precision and tensor.ndim > 1
        state[key] = (tensor.half() if is_half else tensor).cpu().contiguous()
    broken = first_not_finite(state)
    if broken:
        raise TrainingError(
            f"{broken} of the classifier is not finite, so it is not exported: train "
            "with a lower --lr, or give --half_precision_weights False"
        )
    with write_atomically(folder / WEIGHTS) as file:
        file.write(safetensors.torch.save(state))
    with write_atomically(folder / LABELS, "w", encoding="utf-8") as file:
        json.dump(classifier.labels, file, indent=1)


def write_card(folder: Path, card: str) -> None:
    """Write the model card into the folder of an exported classifier."""
    with write_atomically(folder / CARD, "w", encoding="utf-8") as file:
        file.write(card)


def model_card(
    hparams: Mapping,
    class_names: Sequence[str],
    quality: str,
    epoch: int,
    command: str,
) -> str:
    """Describe a trained classifier: data, condition, quality, command, licence.

    Arguments
    ---------
    hparams : mapping
        The built recipe of the training.
    class_names : sequence of str
    quality : str
        What the tests of the classifier found, as Markdown.
    epoch : int
        The epoch of the weights.
    command : str
        The command line of the training.

    Returns
    -------
    str
        Markdown.
    """
    classifier = hparams["classifier"]
    channels = [*hparams["cnn14_channels"], hparams["emb_dim"]]
    n_weights = sum(p.numel() for p in classifier.trained_modules().parameters())
    condition = hparams["training_condition"]
    licence = hparams["data_licence"] or "not stated (`data_licence` of the recipe)"
    return f"""# {hparams["experiment_name"]}, seed {hparams["seed"]}

CNN14 on log(1 + mel) of the STFT: channels {channels}, {hparams["n_mels"]} mel bands,
{n_weights} weights. It expects {hparams["signal_length_s"]:g} s at \
{hparams["sample_rate"]} Hz, mono, with a peak of 1.

Classes: {", ".join(class_names)}.

## Training

- Trained on {_listed(hparams["train_fold_nums"])}; the epoch ({epoch} of \
{hparams["number_of_epochs"]}) was chosen on {_listed(hparams["valid_fold_nums"])}; \
tested on {_listed(hparams["test_fold_nums"])}.
- Condition: {condition}{_noise(hparams, condition)}.
- The weights are the moving average over the steps of the training.

    {command}

{quality}

## Licence

The licence of the recordings: {licence}
"""


def _listed(folds):
    return f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"


def _noise(hparams, condition):
    ratio_db = hparams["conditions"][condition].snr_db
    if ratio_db is None:
        return ""
    lowest_db, highest_db = hparams["snr_range_db"]
    return (
        f", at {ratio_db + lowest_db:g} to {ratio_db + highest_db:g} dB; a share of "
        f"{hparams['clean_probability']:g} of the clips had no noise"
    )


def accuracies(results: Mapping[str, Mapping[str, Mapping]]) -> str:
    """Format accuracies for a model card.

    Arguments
    ---------
    results : dict of str to dict of str to dict
        By split (``valid``, ``test``) and condition, the result of
        :func:`lmac_td.training.classifier.test`.

    Returns
    -------
    str
        Markdown.
    """
    rows = []
    role = {"valid": "chose the epoch", "test": "test"}
    for split, by_condition in results.items():
        for condition, result in by_condition.items():
            rows += [
                [
                    f"{fold} ({role[split]})",
                    condition,
                    result["clips"][fold],
                    f"{accuracy:.3f}",
                    f"{result['confidence'][fold]:.3f}",
                ]
                for fold, accuracy in result["accuracy"].items()
            ]
    table = compact_table(
        ["fold", "condition", "clips", "accuracy", "confidence"], rows
    )
    return (
        "## Accuracy\n\n`confidence` is the mean probability of the decided class.\n\n"
        f"{table}"
    )
