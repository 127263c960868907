"""Choose the class of a clip that is explained: the decided one, a given one, or tags.

A softmax classifier decides on one class per clip. For a sigmoid classifier, every tag
whose probability reaches the threshold is present; a clip then has one explanation for
each present tag, and none if no tag is present.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lmac_td.contracts import Classifier, Decision
from lmac_td.errors import SettingError


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
        is_number = isinstance(target, int) and not isinstance(target, bool)
        # A name first: classes may be named by numbers, such as pitches in Hz.
        if (is_number or isinstance(target, str)) and str(target) in classifier.labels:
            return classifier.labels.index(str(target))
        if is_number and 0 <= target < classifier.n_classes:
            return target
        some = ", ".join(classifier.labels[:5])
        more = ", ..." if classifier.n_classes > 5 else ""
        raise SettingError(
            f"target is {target!r}: give --target auto, decided, tags, a number below "
            f"{classifier.n_classes} or a class of {classifier.name} ({some}{more})"
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
