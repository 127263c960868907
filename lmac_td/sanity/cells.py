"""Store results of single trainings of RemOve And Retrain, for resuming.

A cell is a ranking of bins, a level of removal and a repeat of the training. It holds
which test clips the new classifier recognised. Finished cells are saved in a file. A
later run computes only the others.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lmac_td.errors import DataError, SettingError
from lmac_td.experiment.kept import renamed
from lmac_td.files import write_atomically
from lmac_td.reading import read_json

COLUMNS = ("ranking", "removed", "repeat", "clip", "recognised")


class Cells:
    """The finished cells of one test.

    Arguments
    ---------
    path : str or Path
        The file of the cells.
    settings : dict
        Plain values that all cells must share. A setting that an older file
        lacks is not compared.
    not_compared : collection of str
        Settings that an older file may hold, and that no longer matter.

    Raises
    ------
    DataError
        If the file exists, but does not hold cells.
    SettingError
        If its cells were made with other settings.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "roar.json"
    >>> cells = Cells(path, {"fill": "zero"})
    >>> cells.put("lmac", 0.1, 0, [True, False])
    >>> Cells(path, {"fill": "zero"}).has("lmac", 0.1, 0)
    True
    >>> cells.frame["recognised"].tolist()
    [1, 0]
    """

    def __init__(self, path: str | Path, settings: Mapping, not_compared=()):
        self.path = Path(path)
        self.settings = json.loads(json.dumps(settings))
        self._hits = {}
        try:
            kept, self._hits = _validated(read_json(self.path))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise DataError(
                f"{self.path} holds no finished cells of this test ({reason}): "
                "delete it"
            ) from error
        self._compare({name: v for name, v in kept.items() if name not in not_compared})

    def _compare(self, kept):
        for name, before in kept.items():
            now = self.settings.get(name)
            if before != now:
                raise SettingError(
                    f"{self.path} was made with {name} {before!r}, not {now!r}: give "
                    "the settings as they were, delete it, or give another "
                    "--output_folder"
                )

    def has(self, ranking: str, level: float, repeat: int) -> bool:
        """Return whether a cell is finished."""
        return (ranking, level, repeat) in self._hits

    def put(
        self, ranking: str, level: float, repeat: int, hits: Sequence[bool]
    ) -> None:
        """Add a cell, and write the file.

        Arguments
        ---------
        ranking : str
            Name of the ranking of bins.
        level : float
            Share of the bins that were removed.
        repeat : int
        hits : sequence of bool
            Whether each test clip was recognised, in one order for all cells.

        Raises
        ------
        DataError
            If the other cells have another number of clips.
        """
        n_before = {len(others) for others in self._hits.values()}
        if n_before - {len(hits)}:
            raise DataError(
                f"{self.path} holds cells of {n_before.pop()} test clips, and there "
                f"are {len(hits)} now: delete it"
            )
        self._hits[ranking, level, repeat] = [int(hit) for hit in hits]
        cells = [
            {"ranking": ranking, "level": level, "repeat": repeat, "hits": hits}
            for (ranking, level, repeat), hits in self._hits.items()
        ]
        content = {"settings": self.settings, "cells": cells}
        with write_atomically(self.path, "w", encoding="utf-8") as file:
            json.dump(content, file)

    @property
    def frame(self) -> pd.DataFrame:
        """All cells, one line per ranking, level, repeat and test clip.

        Its columns are ``ranking``, ``removed`` (the level), ``repeat``, ``clip`` (the
        clip's index) and ``recognised`` (0 or 1).
        """
        return pd.DataFrame(
            [
                (*key, clip, hit)
                for key, hits in self._hits.items()
                for clip, hit in enumerate(hits)
            ],
            columns=COLUMNS,
        )


def _validated(content):
    """Return settings and hits by cell; raise ValueError with a reason."""
    if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
        raise ValueError("it has no settings")
    if not isinstance(content.get("cells"), list):
        raise ValueError("it has no list of cells")
    found = {}
    for cell in content["cells"]:
        if not isinstance(cell, dict):
            raise ValueError("a cell is not a mapping")
        ranking, level, repeat, hits = (
            cell.get(name) for name in ("ranking", "level", "repeat", "hits")
        )
        if not isinstance(ranking, str):
            raise ValueError(f"a cell has the ranking {ranking!r}")
        if not _is_number(level) or not 0 <= level <= 1:
            raise ValueError(f"a cell has the level {level!r}")
        if type(repeat) is not int or repeat < 0:
            raise ValueError(f"a cell has the repeat {repeat!r}")
        if not isinstance(hits, list) or not hits or not set(map(str, hits)) <= _HITS:
            raise ValueError("the hits of a cell are not a list of 0 and 1")
        if (ranking, level, repeat) in found:
            raise ValueError(f"it holds {ranking} at {level} twice")
        found[ranking, level, repeat] = hits
    if len(set(map(len, found.values()))) > 1:
        raise ValueError("its cells differ in the number of clips")
    return renamed(content["settings"]), found


_HITS = {"0", "1"}


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)
