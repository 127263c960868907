"""The columns of the printed table: each metric with each of its statistics.

:mod:`lmac_td.metrics.registry` lists the metrics and how they are printed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from lmac_td.metrics.registry import Metric, registered

# The suffix of a row that is scored on the resynthesised sound. The method itself
# gives the classifier masked spectrograms.
AS_AUDIO = ", as audio"


@dataclass(frozen=True)
class Column:
    """A metric and a statistic over its clips.

    Example
    -------
    >>> [column.header for column in all_columns() if column.metric.name == "FF"]
    ['FF ↑', 'FF median ↑']
    """

    metric: Metric
    statistic: str = "mean"

    @property
    def _suffix(self):
        return "" if self.statistic == "mean" else f" {self.statistic}"

    @property
    def name(self) -> str:
        """The column's name in a file: no arrow; a statistic that is not the mean."""
        return self.metric.name + self._suffix

    @property
    def header(self) -> str:
        """The printed column's header."""
        words = self.metric.printed_header
        bare = self.metric.header or self.metric.name
        return bare + self._suffix + words[len(bare) :]

    def is_in(self, scores: pd.DataFrame) -> bool:
        """Return whether the metric was measured for a row."""
        return self.metric.name in scores


def all_columns() -> list[Column]:
    """Return all columns that can be printed, in order."""
    return [
        Column(metric, statistic)
        for metric in registered()
        if metric.printed
        for statistic in metric.statistics
    ]


def groups() -> list[str]:
    """Return names of the groups of columns, in order."""
    return list(dict.fromkeys(column.metric.group for column in all_columns()))


def columns_of(rows: Iterable[pd.DataFrame], group: str) -> list[Column]:
    """Return the columns of a group that any of the rows has."""
    names = {name for scores in rows for name in scores}
    return [
        column
        for column in all_columns()
        if column.metric.group == group and column.is_in(names)
    ]


def metrics_of(scores: pd.DataFrame) -> list[str]:
    """Return names of the printed metrics that a row has."""
    return [m.name for m in registered() if m.printed and m.name in scores]


def rows_of(interpreters: Mapping) -> list[str]:
    """Return names of the rows that an evaluation adds for interpreters, by name."""
    rows = []
    for method, interpreter in interpreters.items():
        rows.append(method)
        if interpreter.classifier_input != "audio":
            rows.append(method + AS_AUDIO)
    return rows
