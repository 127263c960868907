"""Choose the class of a clip that is explained: the decided one, a given one, or tags.

A softmax classifier decides on one class per clip. For a sigmoid classifier, every tag
whose probability reaches the threshold is present; a clip then has one explanation for
each present tag, and none if no tag is present.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lmac_td.contracts import Classifier, Decision
from lmac_td.errors import SettingError
from lmac_td.names import nearest_names

NO_LABEL = "no label"


def label_name(class_names: Sequence[str], class_index: int) -> str:
    """Return the name of a class of a data set.

    Arguments
    ---------
    class_names : sequence of str
    class_index : int
        -1 for a clip without a label.

    Returns
    -------
    str

    Example
    -------
    >>> label_name(["dog", "rain"], 1), label_name(["dog", "rain"], -1)
    ('rain', 'no label')
    """
    return NO_LABEL if class_index < 0 else class_names[class_index]


class TargetChoice:
    """Choose the class, or the classes, that are explained in each clip of a batch.

    Arguments
    ---------
    target : str or int
        ``decided``: the class with the highest probability. ``tags``: every tag whose
        probability reaches the threshold. ``auto``: ``decided`` for a softmax, ``tags``
        for sigmoids. Otherwise the name of one class, which is explained in every clip;
        or its number, if no class has this number as its name.

    Example
    -------
    >>> from lmac_td.classifiers.modules import ModuleClassifier
    >>> network = torch.nn.Identity()
    >>> tagger = ModuleClassifier(network, 8000, ["a", "b"], activation="sigmoid")
    >>> decision = tagger(torch.tensor([[3.0, 2.0], [-1.0, -2.0]]))
    >>> rows, decision = TargetChoice("auto").choose(decision)
    >>> rows, decision.target
    (tensor([0, 0]), tensor([0, 1]))
    """

    def __init__(self, target: str | int = "auto") -> None:
        self.target = target

    def of(self, classifier: Classifier) -> str | int:
        """Return ``decided``, ``tags`` or the number of a class, for one classifier.

        Arguments
        ---------
        classifier : Classifier

        Raises
        ------
        SettingError
            If the setting does not fit the classifier.
        """
        target = self.target
        if target == "auto":
            return "decided" if classifier.activation == "softmax" else "tags"
        if target == "tags" and classifier.activation == "softmax":
            raise SettingError(
                f"target is tags, but {classifier.name} decides on one class per clip "
                "(its activation is softmax): give --target decided, or a class"
            )
        if target in ("decided", "tags"):
            return target
        number = label_number(target, classifier)
        if number is not None:
            return number
        raise SettingError(
            f"target is {target!r}: give --target auto, decided, tags, a number below "
            f"{classifier.n_classes} or a class of {classifier.name}: "
            f"{nearest_names(str(target), classifier.labels)}"
        )

    def choose(
        self, decision: Decision, at_least_one: bool = False
    ) -> tuple[Tensor | None, Decision]:
        """Choose the classes that are explained in each clip.

        Arguments
        ---------
        decision : Decision
            The decision on B clips.
        at_least_one : bool
            Whether a clip without a present tag is explained for its most probable tag.
            Training does this, because it uses every clip.

        Returns
        -------
        rows : Tensor (N,), int64, or None
            The index of the clip of each entry; None if every clip has one entry, in
            order.
        decision : Decision
            N entries, with their targets.
        """
        target = self.of(decision.classifier)
        if target == "decided":
            return None, decision
        if target != "tags":
            return None, replace(
                decision, target=torch.full_like(decision.target, target)
            )
        tags = decision.probabilities >= decision.classifier.threshold  # (B, C)
        if at_least_one:
            strongest = torch.nn.functional.one_hot(decision.target, tags.shape[1])
            tags = torch.where(tags.any(dim=1, keepdim=True), tags, strongest.bool())
        rows, targets = tags.nonzero(as_tuple=True)
        return rows, replace(decision.select(rows), target=targets)


def label_number(target: str | int, classifier: Classifier) -> int | None:
    """Return the number of a label, or None if the classifier does not know it.

    Arguments
    ---------
    target : str or int
        A label. Upper case, underscores and blanks around it do not matter unless
        labels differ in nothing else. Or its number, if no label has this name.
    classifier : Classifier

    Example
    -------
    >>> from lmac_td.classifiers.modules import ModuleClassifier
    >>> network = torch.nn.Identity()
    >>> classifier = ModuleClassifier(network, 8000, ["dog", "crying_baby"])
    >>> [label_number(name, classifier) for name in ("Crying baby", "0", "cat", 2)]
    [1, 0, None, None]
    """
    labels = [str(label) for label in classifier.labels]
    # A name first: classes may be named by numbers, such as pitches in Hz.
    if str(target) in labels:
        return labels.index(str(target))
    alike = [i for i, label in enumerate(labels) if _plain(label) == _plain(target)]
    if len(alike) == 1:
        return alike[0]
    if isinstance(target, bool) or not str(target).isdecimal():
        return None
    return int(target) if int(target) < len(labels) else None


def _plain(label: str | int) -> str:
    """Return a label without upper case and underscores."""
    return str(label).lower().replace("_", " ").strip()


def margin(logits: Tensor, target: Tensor, activation: str) -> Tensor:
    """Return the log-odds of the target class, log(p / (1 - p)).

    Arguments
    ---------
    logits : Tensor (B, C)
    target : Tensor (B,), int64
    activation : str
        ``softmax``: the target's logit minus the log-sum-exp of the others.
        ``sigmoid``: the target's logit.

    Returns
    -------
    Tensor (B,)

    Example
    -------
    >>> logits, target = torch.tensor([[2.0, 1.0]]), torch.tensor([0])
    >>> margin(logits, target, "softmax"), margin(logits, target, "sigmoid")
    (tensor([1.]), tensor([2.]))
    """
    logits = logits.float()
    own = logits.gather(1, target.unsqueeze(1)).squeeze(1)
    if activation == "sigmoid":
        return own
    is_target = torch.nn.functional.one_hot(target, logits.shape[1]).bool()
    return own - logits.masked_fill(is_target, -torch.inf).logsumexp(dim=1)
