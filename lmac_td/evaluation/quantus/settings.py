"""Define the arguments of each metric of Quantus.

They are Quantus' defaults, except that bins are removed by
:mod:`lmac_td.evaluation.quantus.perturbations`, and that metrics which would take
hours use larger steps.
"""

import math
from dataclasses import dataclass

from lmac_td.evaluation.quantus.perturbations import faint_noise, impute, silence

# Metrics that remove bins step by step use at most twice as many passes.
MAX_STEPS = 32
MAX_PATCHES = 64


@dataclass(frozen=True)
class Grid:
    """The sizes that settings depend on.

    Attributes
    ----------
    frames, bins : int
        Size of the STFT.
    n_classes : int
    """

    frames: int
    bins: int
    n_classes: int

    @property
    def size(self) -> int:
        """Number of bins of a clip."""
        return self.frames * self.bins


# Quantus requires a baseline; `silence` does not use it.
_REMOVE = {"perturb_func": silence, "perturb_baseline": 0.0}


def _step(grid):
    # Quantus requires a divisor. A bin is two numbers: there are twice as many steps.
    steps = range(min(MAX_STEPS, grid.size), 0, -1)
    n_steps = next(n for n in steps if grid.size % n == 0)
    return _REMOVE | {"features_in_step": grid.size // n_steps}


def _patch(grid):
    return _REMOVE | {"patch_size": math.ceil(math.sqrt(grid.size / MAX_PATCHES))}


def _noise(grid):
    return {"perturb_func": faint_noise, "nr_samples": 10}


SETTINGS = {
    "PixelFlipping": _step,
    "FaithfulnessEstimate": _step,
    # Silence is not random: one sample is as good as several.
    "MonotonicityCorrelation": lambda grid: _step(grid) | {"nr_samples": 1},
    "FaithfulnessCorrelation": lambda grid: (
        _REMOVE | {"subset_size": max(1, grid.size // 10), "nr_runs": 50}
    ),
    "RegionPerturbation": _patch,
    "Selectivity": _patch,
    "Completeness": lambda grid: _REMOVE,
    # Per cent of the numbers, and a bin is two: 5, 10, 20 and 40 % of the bins.
    "ROAD": lambda grid: {"perturb_func": impute, "percentages": [10, 20, 40, 80]},
    "MaxSensitivity": _noise,
    "AvgSensitivity": _noise,
    "LocalLipschitzEstimate": _noise,
    "RelativeInputStability": _noise,
    "RelativeOutputStability": _noise,
    "RelativeRepresentationStability": lambda grid: (
        _noise(grid) | {"layer_names": ["deepest"]}
    ),
    "TopKIntersection": lambda grid: {"k": min(1000, max(1, grid.size // 20))},
    "RandomLogit": lambda grid: {"num_classes": grid.n_classes},
    # After the last layer: lmac_td.sanity.randomisation measures the whole cascade.
    "MPRT": lambda grid: {"return_last_correlation": True, "skip_layers": True},
}
"""Functions of a :class:`Grid` by metric; a metric without one has no arguments."""

# Metrics that explain other sounds, other classes or other classifiers.
EXPLAIN_AGAIN = {
    "MaxSensitivity",
    "AvgSensitivity",
    "LocalLipschitzEstimate",
    "RelativeInputStability",
    "RelativeOutputStability",
    "RelativeRepresentationStability",
    "RandomLogit",
    "MPRT",
    "EfficientMPRT",
}


def settings_of(name: str, grid: Grid) -> dict:
    """Return the arguments of a metric, besides those that all have.

    Example
    -------
    >>> settings_of("TopKIntersection", Grid(frames=10, bins=20, n_classes=5))
    {'k': 10}
    >>> settings_of("Sparseness", Grid(frames=10, bins=20, n_classes=5))
    {}
    """
    return SETTINGS[name](grid) if name in SETTINGS else {}
