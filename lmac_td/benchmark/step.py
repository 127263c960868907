"""One command of a benchmark."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from lmac_td.benchmark.repository import ROOT


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes
    ----------
    run : str
        The name of the run; training and evaluation share it.
    kind : str
        ``"prepare"``, ``"train"`` or ``"evaluate"``.
    arguments : tuple of str
        The script, the recipe and the settings.
    makes : Path
        A file or folder, from the root, that exists after the command was successful.
    needs : list of Step
        Steps that must be finished before.
    settings : dict
        The recipe's plain settings. If they change, the step runs again.
    mixture : dict
        The settings in which the evaluations of one table must agree.
    deciding : dict
        The settings that decide what it makes: not those of a run alone, and not paths
        that the user gave, since the same data may lie elsewhere.
    classifier : str or None
        The name of the listed classifier that it is about.
    """

    run: str
    kind: str
    arguments: tuple
    makes: Path
    needs: list = field(default_factory=list, repr=False, compare=False)
    settings: dict = field(default_factory=dict, repr=False, compare=False)
    mixture: dict = field(default_factory=dict, repr=False, compare=False)
    deciding: dict = field(default_factory=dict, repr=False, compare=False)
    classifier: str | None = None

    @property
    def command(self) -> str:
        """The command line, as a user would type it."""
        return f"python {shlex.join(self.arguments)}"

    @property
    def name(self) -> str:
        """The name of its log."""
        return re.sub(r"[^\w.+-]+", "_", f"{self.run}-{self.kind}")

    @property
    def path(self) -> Path:
        """Where to find what it makes."""
        return ROOT / self.makes

    @property
    def chain(self) -> list[Step]:
        """All that it needs, each step once and after its own needs, then itself."""
        found = {}
        for need in self.needs:
            found |= {id(earlier): earlier for earlier in need.chain}
        return [*found.values(), self]

    def is_made(self) -> bool:
        """Return whether what it makes exists; it may be unfinished."""
        return self.path.exists()
