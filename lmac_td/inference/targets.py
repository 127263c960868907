"""Which label of a recording is explained."""

from __future__ import annotations

from torch import Tensor

from lmac_td.contracts import Classifier
from lmac_td.errors import SettingError
from lmac_td.names import nearest_names
from lmac_td.targets import label_number

DECIDED = "decided"


def of_recording(probabilities: Tensor, activation: str) -> Tensor:
    """Return the probabilities of a recording, (C,), by those of its windows (n, C).

    Arguments
    ---------
    probabilities : Tensor (n, C)
    activation : str
        ``softmax``: the mean. ``sigmoid``: the maximum, since a tag may be present in
        one window only.
    """
    if activation == "softmax":
        return probabilities.mean(dim=0)
    return probabilities.amax(dim=0)


def set_threshold(classifier: Classifier, threshold: float) -> None:
    """Set from which probability a tag is present.

    Arguments
    ---------
    classifier : Classifier
    threshold : float

    Raises
    ------
    SettingError
        If the classifier has no tags, or the threshold is no probability.
    """
    if classifier.activation != "sigmoid":
        raise SettingError(
            f"threshold is {threshold}, but {classifier.name} decides on one label "
            "(its activation is softmax): leave --threshold out"
        )
    if not 0 < threshold < 1:
        raise SettingError(
            f"threshold is {threshold}: give --threshold a number between 0 and 1"
        )
    classifier.threshold = float(threshold)


def chosen(
    target: str | int | None, probabilities: Tensor, classifier: Classifier
) -> list[int]:
    """Return the numbers of the labels that are explained.

    Arguments
    ---------
    target : str, int or None
        A label, its number, or ``decided``: the label with the highest probability.
        Upper case and underscores do not matter unless labels differ in nothing else.
        None is ``decided`` for a softmax, and every tag that reaches the threshold for
        sigmoids, the most probable first.
    probabilities : Tensor (C,)
        Of the recording.
    classifier : Classifier

    Raises
    ------
    SettingError
        If there is no such label.

    Example
    -------
    >>> import torch
    >>> from lmac_td.classifiers.modules import ModuleClassifier
    >>> network = torch.nn.Linear(8000, 2)
    >>> tagger = ModuleClassifier(network, 8000, ["a", "b"], activation="sigmoid")
    >>> probabilities = torch.tensor([0.6, 0.9])
    >>> chosen(None, probabilities, tagger), chosen("a", probabilities, tagger)
    ([1, 0], [0])
    """
    if target is None and classifier.activation == "sigmoid":
        order = probabilities.argsort(descending=True, stable=True).tolist()
        return [tag for tag in order if probabilities[tag] >= classifier.threshold]
    if target is None or target == DECIDED:
        return [int(probabilities.argmax())]
    number = label_number(target, classifier)
    if number is not None:
        return [number]
    raise SettingError(
        f"target is {target!r}, which {classifier.name} does not know: give "
        f"{DECIDED}, a number below {classifier.n_classes}, or a label: "
        f"{nearest_names(str(target), classifier.labels)}"
    )
