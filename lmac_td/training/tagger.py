"""Test a classifier of tags against the labels of a data set.

The scores are those of the DCASE challenges on urban sound tagging: the area under the
precision-recall curve (AUPRC), macro and micro, and the largest micro F1; see
:mod:`lmac_td.evaluation.tag_fidelity`. Here the labels of the clips are what the
probabilities are compared with. Macro AUPRC leaves out tags with fewer than two clips.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speechbrain import Stage
from speechbrain.dataio.dataloader import make_dataloader

from lmac_td.data.prepare import PreparedData
from lmac_td.evaluation.tag_fidelity import (
    MIN_CLIPS,
    average_precision,
    tag_fidelity,
)
from lmac_td.files import write_atomically
from lmac_td.training.classifier import ClassifierBrain

SCORES = ("macro AUPRC", "micro AUPRC", "maximal micro F1")


@torch.no_grad()
def test(
    brain: ClassifierBrain,
    data: PreparedData,
    split: str,
    condition: str,
    eval_loader: dict[str, Any],
) -> dict[str, Any]:
    """Score the tags of a split's clips under one condition.

    Arguments
    ---------
    brain : ClassifierBrain
        With the checkpoint to be tested.
    data : PreparedData
    split : str
        ``valid`` or ``test``.
    condition : str
    eval_loader : dict
        Arguments of SpeechBrain's ``make_dataloader``.

    Returns
    -------
    dict
        ``clips`` (their number), ``folds``, ``scores`` (by name: the value and both
        ends of its 95 % interval over clips) and ``classes`` (by name: the number of
        clips that have the tag, and ``AUPRC``). A number that does not exist is None.
    """
    loader = make_dataloader(data.dataset(split, condition), **eval_loader)
    brain.modules.eval()
    labels, tags = [], []
    classifier = brain.raw_modules["classifier"]
    for batch in loader:
        logits, targets = brain.compute_forward(batch, Stage.TEST)
        labels.append(targets.cpu())
        tags.append(classifier.probabilities(logits).double().cpu())
    labels, tags = torch.cat(labels).numpy() >= 0.5, torch.cat(tags).numpy()
    own = [
        float(average_precision(labels[:, c], tags[:, c], np.ones((1, len(labels))))[0])
        for c in range(len(data.class_names))
    ]
    return {
        "folds": data.folds[split],
        "clips": len(labels),
        "scores": {
            name: [*map(_or_none, numbers)]
            for name, numbers in tag_fidelity(labels, tags).items()
        },
        "classes": {
            name: {"clips": int(labels[:, c].sum()), "AUPRC": _or_none(own[c])}
            for c, name in enumerate(data.class_names)
        },
    }


def save_test(results: Mapping[str, Mapping], folder: Path) -> None:
    """Write ``tags.json``, the results of :func:`test` by condition."""
    with write_atomically(folder / "tags.json", "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)


def scores_table(results: Mapping[str, Mapping]) -> str:
    """Format the scores and those of each tag as Markdown.

    Arguments
    ---------
    results : dict of str to dict
        The results of :func:`test`, by condition.

    Returns
    -------
    str
    """
    rows = [
        f"| condition | folds | clips | {' | '.join(SCORES)} |",
        "| --- " * (3 + len(SCORES)) + "|",
    ]
    for condition, result in results.items():
        numbers = [_with_interval(*result["scores"][name]) for name in SCORES]
        folds = ", ".join(map(str, result["folds"]))
        cells = [condition, folds, str(result["clips"]), *numbers]
        rows.append(f"| {' | '.join(cells)} |")
    rows += ["", "| tag | condition | clips | AUPRC |", "| --- " * 4 + "|"]
    for condition, result in results.items():
        rows += [
            f"| {name} | {condition} | {of['clips']} | {_number(of['AUPRC'])} |"
            for name, of in result["classes"].items()
        ]
    left_out = {
        name
        for result in results.values()
        for name, of in result["classes"].items()
        if of["clips"] < MIN_CLIPS
    }
    if left_out:
        rows += [
            "",
            f"Fewer than {MIN_CLIPS} clips have these tags, which macro AUPRC leaves "
            f"out: {', '.join(sorted(left_out))}.",
        ]
    return "\n".join(rows)


def quality(results: Mapping[str, Mapping[str, Mapping]]) -> str:
    """Format the results of the validation and the test for a model card.

    Arguments
    ---------
    results : dict of str to dict of str to dict
        By split and condition, the result of :func:`test`.

    Returns
    -------
    str
        Markdown.
    """
    title = {"valid": "on the clips that chose the epoch", "test": "on the test clips"}
    return "\n\n".join(
        f"## Tags, {title[split]}\n\n{scores_table(of)}"
        for split, of in results.items()
    )


def _or_none(value):
    return None if math.isnan(value) else float(value)


def _number(value):
    return "–" if value is None else f"{value:.3f}"


def _with_interval(value, low, high):
    interval = "" if low is None else f" [{low:.3f}, {high:.3f}]"
    return _number(value) + interval
