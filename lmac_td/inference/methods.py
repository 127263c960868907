"""The methods that need no training, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from lmac_td.errors import SettingError
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.attribution import METHODS as ATTRIBUTIONS
from lmac_td.interpreters.base import Interpreter
from lmac_td.interpreters.budgeted import BinGains, Budgeted, OfInterpreter, Scores
from lmac_td.interpreters.mask_optimisation import MaskOptimisation
from lmac_td.interpreters.perturbation import METHODS as PERTURBATIONS
from lmac_td.names import nearest_names

EVIDENCE = "evidence"
# Arguments of Budgeted that a user may give; the others belong to the method.
SIZE = ("keep_by", "choose", "tried")
# Options that differ from those of the class.
DEFAULTS: dict[str, dict[str, Any]] = {"mask_optimisation": {"progress": True}}
# The methods that are sources of scores.
SCORES: dict[str, type[Scores]] = {
    EVIDENCE: BinGains,
    "mask_optimisation": MaskOptimisation,
    **PERTURBATIONS,
}


def of_scores(name: str) -> Callable[..., Interpreter]:
    """Return a builder of a method that is a source of scores."""

    def build_it(features: SpectralFeatures, keep: Any, **options: Any) -> Interpreter:
        kind, size = SCORES[name], _size(options)
        if "keep_by" in accepted_options(kind):
            options["keep_by"] = size["keep_by"]
        scores = build(kind, name, features, DEFAULTS.get(name, {}) | options)
        return Budgeted(features, scores, keep, **size)

    return build_it


def of_attribution(name: str) -> Callable[..., Interpreter]:
    """Return a builder of an attribution that is cut to a size."""

    def build_it(features: SpectralFeatures, keep: Any, **options: Any) -> Interpreter:
        size = _size(options)
        options = {"classifier_input": "audio", **options}
        method = build(ATTRIBUTIONS[name], name, features, options)
        return Budgeted(features, OfInterpreter(features, method), keep, **size)

    return build_it


def _size(options: dict[str, Any]) -> dict[str, Any]:
    """Take the arguments of Budgeted out of the options."""
    size = {name: options.pop(name) for name in SIZE if name in options}
    return {"keep_by": "energy", **size}


def builders() -> dict[str, Callable[..., Interpreter]]:
    """Return the builders of all methods, by name.

    Each is called with the STFT, the share to keep and the method's options.

    Example
    -------
    >>> {"evidence", "rise", "occlusion"} <= set(builders())
    True
    """
    return {
        **{name: of_scores(name) for name in SCORES},
        **{name: of_attribution(name) for name in ATTRIBUTIONS},
    }


def build_method(
    name: str, features: SpectralFeatures, keep: float | str = 0.5, **options: Any
) -> Interpreter:
    """Build a method that needs no training.

    Arguments
    ---------
    name : str
        See :func:`builders`.
    features : SpectralFeatures
    keep : float or str
        The share of the energy that the interpretation keeps, or ``smallest``; see
        :class:`~lmac_td.interpreters.budgeted.Budgeted`.
    **options
        Further arguments of the method.

    Returns
    -------
    Interpreter

    Raises
    ------
    SettingError
        If there is no such method or option, or an option has another value.

    Example
    -------
    >>> stft = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    >>> build_method("evidence", stft, keep=0.25, draws=1).remark
    'keeps 0.25 of the energy, chosen among 6 candidates'
    """
    known = builders()
    if name not in known:
        raise SettingError(
            f"method is {name!r}: give --method {nearest_names(str(name), known)}"
        )
    return known[name](features, keep, **options)


def build(
    kind: Callable, method: str, features: SpectralFeatures, options: dict[str, Any]
) -> Any:
    """Call a class with options, and refuse an option that it does not have."""
    accepted = accepted_options(kind)
    for option in options:
        if option not in accepted:
            raise SettingError(
                f"{method} has no option {option!r}: give "
                f"{nearest_names(option, accepted)}"
            )
    return kind(features, **options)


def accepted_options(kind: type) -> list[str]:
    """Return the names of a class's arguments, with those of its bases.

    Example
    -------
    >>> accepted_options(BinGains)
    ['gains', 'jitter', 'draws', 'fields', 'passes_at_once', 'kernels']
    """
    names: dict[str, None] = {}
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        named = [p.name for p in parameters if p.kind in (
            p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY
        )]  # fmt: skip
        names |= dict.fromkeys(named)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return [name for name in names if name not in ("self", "features")]
