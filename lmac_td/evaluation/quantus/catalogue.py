"""The metrics of Quantus by name, with their category and direction."""

import difflib
import re
from collections.abc import Sequence

import quantus
from quantus.helpers.enums import EvaluationCategory, ScoreDirection

from lmac_td.errors import SettingError
from lmac_td.evaluation.quantus.refusals import REFUSED

METRICS = {
    metric.__name__: metric
    for category in quantus.AVAILABLE_METRICS.values()
    for metric in category.values()
}
"""Quantus' classes by their names."""

_ALIASES = {"ModelParameterRandomisation": "MPRT"} | {
    name: metric.__name__
    for category in quantus.AVAILABLE_METRICS.values()
    for name, metric in category.items()
}

# Directions are Quantus' own, except for one, which returns the drop of probability.
_DIRECTIONS = {"RegionPerturbation": ScoreDirection.HIGHER}
_ARROWS = {ScoreDirection.HIGHER: " ↑", ScoreDirection.LOWER: " ↓"}


def find_metrics(names: Sequence[str]) -> list[str]:
    """Return the class names of metrics of Quantus.

    Arguments
    ---------
    names : sequence of str
        Class names (``RelevanceRankAccuracy``) or as in ``quantus.AVAILABLE_METRICS``
        (``Relevance Rank Accuracy``). Only letters count, in upper or lower case.

    Returns
    -------
    list of str
        Each once, in the order given.

    Raises
    ------
    SettingError
        If a name is unknown, or the metric cannot be run on sounds.

    Example
    -------
    >>> find_metrics(["Pixel-Flipping", "sparseness"])
    ['PixelFlipping', 'Sparseness']
    """
    known = {_letters(name): metric for name, metric in _ALIASES.items()}
    known |= {_letters(name): name for name in METRICS}
    found = {}
    for name in names:
        metric = known.get(_letters(str(name)))
        if metric is None:
            raise SettingError(_unknown(str(name), known))
        if metric in REFUSED:
            reason = REFUSED[metric]
            remedy = "" if ": give" in reason else ": leave it out of --quantus"
            raise SettingError(
                f"quantus: {metric} cannot be run on sounds, because {reason}{remedy}"
            )
        found[metric] = None
    return list(found)


def _letters(name):
    return re.sub(r"[^a-z]", "", name.lower())


def _unknown(name, known):
    """Return a sentence that offers the metrics with similar names, or all of them."""
    near = difflib.get_close_matches(_letters(name), known, n=3, cutoff=0.5)
    offered = dict.fromkeys(known[match] for match in near)
    offered = [metric for metric in offered if metric not in REFUSED]
    *others, last = offered or sorted(set(METRICS) - set(REFUSED))
    offered = f"{', '.join(others)} or {last}" if others else last
    return f"quantus: {name!r} is not a metric of Quantus: give --quantus {offered}"


def measures_localisation(name: str) -> bool:
    """Return whether a metric compares the map with the ideal binary mask."""
    return METRICS[name].evaluation_category == EvaluationCategory.LOCALISATION


def arrow(name: str) -> str:
    """Return the arrow of a metric's direction, after a space; empty if it has none.

    Example
    -------
    >>> arrow("Sparseness"), arrow("Complexity")
    (' ↑', ' ↓')
    """
    direction = _DIRECTIONS.get(name, METRICS[name].score_direction)
    return _ARROWS.get(direction, "")
