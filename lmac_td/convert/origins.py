"""Remember where each setting of a converted folder is from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lmac_td.evaluation.markdown import compact_table

WEIGHTS = "the weights"
HYPERPARAMS = "hyperparams.yaml"
LINE = "the command line"
ASSUMED = "not in the files: the published recipe's"


class Settings:
    """Settings of a recipe; later ones replace earlier ones.

    Arguments
    ---------
    assumed : mapping of str to object
        Values of the published recipe, which checkpoints do not hold.

    Example
    -------
    >>> settings = Settings({"alpha": 0.75, "chunk_size": 250})
    >>> settings.add("hyperparams.yaml", {"chunk_size": 100})
    >>> settings.values
    {'alpha': 0.75, 'chunk_size': 100}
    >>> settings.assumed
    {'alpha': 0.75}
    """

    def __init__(self, assumed: Mapping[str, Any]) -> None:
        self.values = dict(assumed)
        self.origins = dict.fromkeys(assumed, ASSUMED)

    def add(
        self, origin: str, values: Mapping[str, Any], only: Iterable[str] | None = None
    ) -> None:
        """Take over values; with ``only``, those of these names."""
        names = values if only is None else [name for name in only if name in values]
        for name in names:
            self.values[name] = values[name]
            self.origins[name] = origin

    @property
    def assumed(self) -> dict[str, Any]:
        """The settings that no file told."""
        return {
            name: self.values[name]
            for name, origin in self.origins.items()
            if origin == ASSUMED
        }

    def table(self) -> str:
        """Return the settings as a table of Markdown."""
        rows = [
            [name, self.values[name], origin] for name, origin in self.origins.items()
        ]
        return compact_table(["setting", "value", "from"], rows)
