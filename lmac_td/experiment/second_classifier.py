"""Load the second classifier that a recipe names: it judges explanations."""

import os
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from lmac_td.classifiers.check import check_classifier
from lmac_td.contracts import Classifier
from lmac_td.errors import UserError
from lmac_td.evaluation.second_classifier import SecondClassifier
from lmac_td.experiment.build import build_one
from lmac_td.experiment.fingerprint import fingerprint, fingerprint_of_network

SETTING = "second_classifier"
WEIGHTS = "pretrained_classifier"  # the setting of the first classifier's weights


@dataclass(frozen=True)
class NamedSecondClassifier:
    """A loaded second classifier, and what it is, for the description of a table.

    Attributes
    ----------
    scorer : SecondClassifier
    description : dict of str to str
        The hash of the weights, by the folder (or the name) of each classifier.
    """

    scorer: SecondClassifier
    description: dict[str, str]


def sources_of(setting: object) -> list:
    """Return the items of the setting ``second_classifier`` as a list.

    Example
    -------
    >>> sources_of(None), sources_of("a"), sources_of(["a", "b"])
    ([], ['a'], ['a', 'b'])
    """
    if setting is None:
        return []
    items = setting if isinstance(setting, list) else [setting]
    return [os.path.expanduser(i) if isinstance(i, str) else i for i in items]


def load_second_classifier(
    recipe: str, tree: Mapping, hparams: Mapping, first: Classifier, device: str
) -> NamedSecondClassifier | None:
    """Load the second classifier, frozen and checked.

    Each folder gives the weights of one more ``classifier`` of the recipe.

    Arguments
    ---------
    recipe : str
        The file, for messages.
    tree : mapping
        The composed recipe, before building.
    hparams : mapping
        The built recipe.
    first : Classifier
        The classifier that is explained, loaded.
    device : str

    Returns
    -------
    NamedSecondClassifier or None
        None if the recipe names none.

    Raises
    ------
    SettingError
        If it breaks the contract of classifiers, or misses a class of the first one.
    CheckpointError
        If weights are missing or belong to another model.
    """
    classifiers, description = [], {}
    for source in sources_of(hparams["second_classifier"]):
        with _named_in_messages(), torch.random.fork_rng([]):
            if isinstance(source, Classifier):
                classifier, weights = source, None
            else:
                classifier = build_one(recipe, tree, "classifier", {WEIGHTS: source})
                weights = source
            classifier.load(weights, Path(hparams["cache_folder"]) / "pretrained")
            _check(classifier.freeze().to(device), hparams, device)
        classifiers.append(classifier)
        found = fingerprint(weights) if weights else None
        found = found or fingerprint_of_network(classifier)
        description[weights or classifier.name] = found
    if not classifiers:
        return None
    features = hparams["features"].to(device)
    scorer = SecondClassifier(classifiers, first.labels, features)
    return NamedSecondClassifier(scorer, description)


def _check(classifier, hparams, device):
    n_samples = round(hparams["signal_length_s"] * hparams["sample_rate"])
    features = hparams["features"].to(device)
    for note in check_classifier(classifier, features, n_samples, device):
        print(f"{SETTING}: {note}", flush=True)


@contextmanager
def _named_in_messages():
    """Name this setting in messages that were written for the first classifier's."""
    try:
        yield
    except UserError as error:
        sentence = str(error).replace(WEIGHTS, SETTING)
        if SETTING not in sentence:
            sentence = f"{SETTING}: {sentence}"
        raise type(error)(sentence) from error
