"""The attribution methods by name, and the rows of a table that a recipe asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lmac_td.interpreters.attribution.base import Attribution
from lmac_td.validation import require_methods

METHODS: dict[str, type[Attribution]] = {}


def register(name: str) -> Callable[[type[Attribution]], type[Attribution]]:
    """Make a decorator that adds a method to :data:`METHODS`.

    Arguments
    ---------
    name : str
        The name in the setting ``methods`` and in tables.

    Example
    -------
    >>> import torch
    >>> @register("twice_saliency")
    ... class TwiceSaliency(Attribution):
    ...     def attribute(self, x, target, logits):
    ...         score = logits(x)[0, target]
    ...         (gradient,) = torch.autograd.grad(score, x)
    ...         return 2 * gradient.abs()
    >>> METHODS.pop("twice_saliency") is TwiceSaliency
    True
    """

    def add(method: type[Attribution]) -> type[Attribution]:
        METHODS[name] = method
        return method

    return add


def build_attributions(
    methods: list[str],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    domain: str = "stft",
    **common: Any,
) -> dict[str, Attribution]:
    """Build the methods that a recipe names, one row of the table each.

    Arguments
    ---------
    methods : list of str
        Names in :data:`METHODS`.
    settings : dict of str to dict, optional
        Arguments of single methods, by the name of the method.
    domain : str
        ``stft`` or ``mel``.
    **common
        The other arguments of :class:`Attribution`, for all methods.

    Returns
    -------
    dict of str to Attribution
        By the name of the row: ``saliency``, or ``saliency (mel)``.

    Raises
    ------
    SettingError
        If ``methods`` is empty or names a method that does not exist.

    Example
    -------
    >>> from lmac_td.features import SpectralFeatures
    >>> features = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    >>> list(build_attributions(["saliency", "occlusion"], features=features))
    ['saliency', 'occlusion']
    """
    require_methods(methods, sorted(METHODS), "[saliency, gradcam]")
    row = "{}" if domain == "stft" else "{} (mel)"
    return {
        row.format(method): METHODS[method](
            domain=domain, **common, **(settings or {}).get(method, {})
        )
        for method in methods
    }
