"""RemOve And Retrain, its outcome: which clips are still recognised, cell by cell.

A cell is a ranking of bins, a level of removal and a repeat of the training. Finished
cells are kept in a file, and a later run computes the others.
"""

import csv
import json
from pathlib import Path

import numpy as np

from lmac_td.errors import DataError, SettingError
from lmac_td.evaluation.table import markdown_table, summarise
from lmac_td.experiment.kept import renamed
from lmac_td.files import write_atomically

NOTHING = "nothing removed"


class Cells:
    """The finished cells of one test.

    Arguments
    ---------
    path : str or Path
        Where they are kept.
    settings : dict
        What all cells must have in common; plain values.

    Raises
    ------
    DataError
        If the file is there, and holds something else.
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
    >>> cells.accuracy("lmac", 0.1, [0])[0]
    0.5
    """

    def __init__(self, path, settings):
        self.path = Path(path)
        self.settings = json.loads(json.dumps(settings))
        self._hits = {}
        if self.path.exists():
            self._read()

    def _read(self):
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            kept = renamed(content["settings"])
            self._hits = {
                (cell["ranking"], cell["level"], cell["repeat"]): cell["hits"]
                for cell in content["cells"]
            }
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(
                f"{self.path} holds no finished cells of this test: delete it"
            ) from error
        # Settings that were not there yet are not compared.
        for name, before in kept.items():
            now = self.settings.get(name)
            if before != now:
                raise SettingError(
                    f"{self.path} was made with {name} {before!r}, not {now!r}: give "
                    "the settings as they were, delete it, or give another "
                    "--output_folder"
                )

    def has(self, ranking, level, repeat):
        """Whether a cell is finished."""
        return (ranking, level, repeat) in self._hits

    def put(self, ranking, level, repeat, hits):
        """Add a cell, and keep all of them.

        Arguments
        ---------
        ranking : str
            Of bins.
        level : float
            Share of the bins that were removed.
        repeat : int
        hits : sequence of bool
            Whether each test clip was recognised, in one order for all cells.
        """
        self._hits[ranking, level, repeat] = [int(hit) for hit in hits]
        cells = [
            {"ranking": ranking, "level": level, "repeat": repeat, "hits": hits}
            for (ranking, level, repeat), hits in self._hits.items()
        ]
        content = {"settings": self.settings, "cells": cells}
        with write_atomically(self.path, "w", encoding="utf-8") as file:
            json.dump(content, file)

    def accuracy(self, ranking, level, repeats):
        """Mean accuracy over repeats, and its 95 % bootstrap interval over test clips.

        Returns
        -------
        value, low, high : float
            In [0, 1].
        """
        hits = np.array([self._hits[ranking, level, repeat] for repeat in repeats])
        return summarise(hits.mean(axis=0))

    def curves(self, rankings, levels, repeats):
        """Accuracies of every ranking at every level, the first with nothing removed.

        Returns
        -------
        dict of str to list of (float, float, float)
        """
        whole = self.accuracy(NOTHING, 0.0, repeats)
        return {
            ranking: [whole, *(self.accuracy(ranking, x, repeats) for x in levels)]
            for ranking in rankings
        }


def curves_to_markdown(curves, levels):
    """A table of accuracies (%) with intervals, a row a ranking."""
    head = ["most important first by", "0 %", *(f"{100 * x:g} %" for x in levels)]
    rows = [
        [ranking, *(f"{100 * v:.1f} [{100 * a:.1f}, {100 * b:.1f}]" for v, a, b in row)]
        for ranking, row in curves.items()
    ]
    return markdown_table(head, rows)


def curves_to_csv(path, curves, levels):
    """The same, one line a ranking and level."""
    with write_atomically(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["ranking", "removed", "accuracy", "low", "high"])
        for ranking, row in curves.items():
            for level, values in zip((0.0, *levels), row, strict=True):
                writer.writerow([ranking, level, *values])
