"""Perturbation methods: what is removed from a clip, and how the decision changes.

They need no gradient, so they explain every classifier, black boxes included. Each is a
source of scores (:class:`~lmac_td.interpreters.budgeted.Scores`) for the bins of the
STFT, and :class:`~lmac_td.interpreters.budgeted.Budgeted` cuts it to any size.

- :class:`FeatureAblation`, :class:`KernelShap`, :class:`Lime`: over segments, by
  Captum. SLIME and :class:`AudioLime` are LIME over segments of their own.
- :class:`Rise`: random smooth masks.
- :class:`RandomForest`: a surrogate over short windows of time.

The segments are windows of time, bands, tiles, or the parts of a separation
(:mod:`lmac_td.interpreters.perturbation.segments`). Captum and scikit-learn are
imported only when a method runs.
"""

from lmac_td.interpreters.perturbation.base import OfSegments, Perturbation
from lmac_td.interpreters.perturbation.captum_methods import (
    AudioLime,
    FeatureAblation,
    KernelShap,
    Lime,
    SlimeFrequency,
    SlimeTime,
    SlimeTimeFrequency,
)
from lmac_td.interpreters.perturbation.masked_clip import MaskedClip
from lmac_td.interpreters.perturbation.random_forest import RandomForest
from lmac_td.interpreters.perturbation.registry import METHODS, build_perturbations
from lmac_td.interpreters.perturbation.rise import Rise
from lmac_td.interpreters.perturbation.segments import (
    Bands,
    HarmonicPercussive,
    Parts,
    Segments,
    Tiles,
    Windows,
    build_segments,
)
from lmac_td.interpreters.perturbation.separation import Separator, build_parts

__all__ = [
    "METHODS",
    "AudioLime",
    "Bands",
    "FeatureAblation",
    "HarmonicPercussive",
    "KernelShap",
    "Lime",
    "MaskedClip",
    "OfSegments",
    "Parts",
    "Perturbation",
    "RandomForest",
    "Rise",
    "Segments",
    "Separator",
    "SlimeFrequency",
    "SlimeTime",
    "SlimeTimeFrequency",
    "Tiles",
    "Windows",
    "build_parts",
    "build_perturbations",
    "build_segments",
]
