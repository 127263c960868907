"""The perturbation methods by name, and the rows of a table that a recipe asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.budgeted import Budgeted
from lmac_td.interpreters.perturbation.base import Perturbation
from lmac_td.interpreters.perturbation.captum_methods import (
    AudioLime,
    FeatureAblation,
    KernelShap,
    Lime,
    SlimeFrequency,
    SlimeTime,
    SlimeTimeFrequency,
)
from lmac_td.interpreters.perturbation.random_forest import RandomForest
from lmac_td.interpreters.perturbation.rise import Rise
from lmac_td.validation import require_methods

METHODS: dict[str, type[Perturbation]] = {
    "feature_ablation": FeatureAblation,
    "kernel_shap": KernelShap,
    "lime": Lime,
    "slime_time": SlimeTime,
    "slime_frequency": SlimeFrequency,
    "slime_time_frequency": SlimeTimeFrequency,
    "audiolime": AudioLime,
    "rise": Rise,
    "random_forest": RandomForest,
}


def build_perturbations(
    methods: list[str],
    features: SpectralFeatures,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    keep: float | str | Sequence[float] = 0.5,
    keep_by: str = "amplitude",
    controls: bool = False,
    **common: Any,
) -> dict[str, Budgeted]:
    """Build the methods that a recipe names, each cut to a size.

    Arguments
    ---------
    methods : list of str
        Names in :data:`METHODS`.
    features : SpectralFeatures
    settings : dict of str to dict, optional
        Arguments of single methods, by the name of the method.
    keep, keep_by
        See :class:`~lmac_td.interpreters.budgeted.Budgeted`.
    controls : bool
        Whether the table has rows of loudness and a random field, too.
    **common
        Arguments of :class:`Perturbation`, for all methods.

    Returns
    -------
    dict of str to Budgeted
        By the name of the method.

    Raises
    ------
    SettingError
        If ``methods`` is empty or names a method that does not exist.

    Example
    -------
    >>> features = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    >>> list(build_perturbations(["lime", "rise"], features))
    ['lime', 'rise']
    """
    require_methods(methods, list(METHODS), "[lime, rise]")
    built = {}
    for method in dict.fromkeys(methods):
        source = METHODS[method](features, **common, **(settings or {}).get(method, {}))
        # The controls are the same for all methods: one set of rows is enough.
        with_controls = controls and not built
        built[method] = Budgeted(
            features, source, keep, keep_by, controls=with_controls
        )
    return built
