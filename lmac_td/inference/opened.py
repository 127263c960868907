"""What a classifier brings along when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lmac_td.contracts import Classifier
from lmac_td.features import SpectralFeatures


@dataclass(frozen=True)
class Opened:
    """A classifier, and how its decisions are explained by default.

    Attributes
    ----------
    classifier : Classifier
    framing : dict
        Settings of the recordings that it was trained on, for
        :class:`~lmac_td.inference.framing.Framing`.
    features : SpectralFeatures, optional
        The STFT that is masked; None: see :func:`~lmac_td.inference.framing.stft_of`.
    method_options : mapping of str to mapping
        Options of methods, by the name of the method.
    """

    classifier: Classifier
    framing: dict[str, Any] = field(default_factory=dict)
    features: SpectralFeatures | None = None
    method_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def framing_of(recipe: Mapping) -> dict[str, Any]:
    """Return how the clips of a recipe are made: its length, padded, a peak of 1.

    Example
    -------
    >>> framing_of({"signal_length_s": 5.0})
    {'window_s': 5.0, 'pad': True, 'normalise': True}
    """
    return {"window_s": recipe["signal_length_s"], "pad": True, "normalise": True}
