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
from lmac_td.evaluation.markdown import compact_table, number, with_interval
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
    by_condition = [
        [
            condition,
            ", ".join(map(str, result["folds"])),
            result["clips"],
            *(_with_interval(*result["scores"][name]) for name in SCORES),
        ]
        for condition, result in results.items()
    ]
    by_tag = [
        [name, condition, of["clips"], number(_or_nan(of["AUPRC"]), 3)]
        for condition, result in results.items()
        for name, of in result["classes"].items()
    ]
    parts = [
        compact_table(["condition", "folds", "clips", *SCORES], by_condition),
        compact_table(["tag", "condition", "clips", "AUPRC"], by_tag),
    ]
    left_out = {name for name, _, n_clips, _ in by_tag if n_clips < MIN_CLIPS}
    if left_out:
        parts.append(
            f"Fewer than {MIN_CLIPS} clips have these tags, which macro AUPRC leaves "
            f"out: {', '.join(sorted(left_out))}."
        )
    return "\n\n".join(parts)


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


def _or_nan(value):
    return math.nan if value is None else value


def _with_interval(*values):
    return with_interval(*map(_or_nan, values), 3)
