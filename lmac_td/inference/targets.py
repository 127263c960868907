"""Which label of a recording is explained."""

from __future__ import annotations

from torch import Tensor

from lmac_td.contracts import Classifier
from lmac_td.errors import SettingError
from lmac_td.inference.names import nearest_names

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
    labels = list(classifier.labels)
    # A name first: classes may be named by numbers, such as pitches in Hz.
    if str(target) in labels:
        return [labels.index(str(target))]
    alike = [i for i, label in enumerate(labels) if _plain(label) == _plain(target)]
    if len(alike) == 1:
        return alike
    number = int(target) if str(target).isdecimal() else -1
    if 0 <= number < len(labels) and not isinstance(target, bool):
        return [number]
    raise SettingError(
        f"target is {target!r}, which {classifier.name} does not know: give "
        f"{DECIDED}, a number below {len(labels)}, or a label: "
        f"{nearest_names(str(target), labels)}"
    )


def _plain(label: str | int) -> str:
    """Return a label without upper case and underscores."""
    return str(label).lower().replace("_", " ").strip()
