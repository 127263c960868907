"""Write the common table for programs: ``table.json`` and ``table.csv``."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lmac_td.evaluation.bootstrap import STATISTICS
from lmac_td.evaluation.columns import columns_of, groups, metrics_of
from lmac_td.evaluation.frame import n_clips, values_of
from lmac_td.evaluation.rendering import n_zero_maps
from lmac_td.files import write_atomically


def write_json(table, path: str | Path) -> None:
    """Write settings, means, medians and intervals; non-finite numbers as null.

    Arguments
    ---------
    table : FaithfulnessTable
    path : str | Path
        Where to write; folders are created.
    """
    content = {
        "settings": table.settings,
        "bootstrap": {
            "confidence": table.confidence,
            "n_resamples": table.n_resamples,
            "seed": table.seed,
        },
        "without_target": table.without_target,
        "rows": [
            {
                "condition": condition,
                "method": method,
                "n_clips": n_clips(scores),
                "n_explanations": len(scores),
                "zero_maps": n_zero_maps(scores),
                "metrics": {
                    name: _metric(table, condition, method, name)
                    for name in metrics_of(scores)
                },
            }
            for (condition, method), scores in table.rows.items()
        ],
    }
    with write_atomically(path, "w", encoding="utf-8", newline="") as file:
        json.dump(_strict(content), file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def _metric(table, condition, method, name):
    values = values_of(table.row(condition, method), name)
    left_out = int(np.isnan(values).sum())
    content = {"n": len(values) - left_out, "left_out": left_out}
    for statistic in STATISTICS:
        value, low, high = table.statistic(condition, method, name, statistic)
        content |= {statistic: value, f"{statistic}_interval": [low, high]}
    return content


def write_csv(table, path: str | Path) -> None:
    """Write the means and intervals of a table, see :func:`summary_lines`.

    Arguments
    ---------
    table : FaithfulnessTable
    path : str | Path
        Where to write; folders are created.
    """
    write_frame(summary_lines(table), path)


def summary_lines(table) -> pd.DataFrame:
    """Return the means and intervals, one line per condition and method.

    Every column of the printed table becomes three: its name, "low" and "high". They
    are NaN if a row has no such number.

    Arguments
    ---------
    table : FaithfulnessTable
    """
    rows = table.rows
    columns = [c for group in groups() for c in columns_of(rows.values(), group)]
    lines = []
    for (condition, method), scores in rows.items():
        line = {
            "condition": condition,
            "method": method,
            "clips": n_clips(scores),
            "zero maps": n_zero_maps(scores),
        }
        for column in columns:
            names = (column.name, f"{column.name} low", f"{column.name} high")
            cells = table.cell(condition, method, column)
            line |= zip(names, cells, strict=True)
        lines.append(line)
    return pd.DataFrame(lines)


def write_frame(
    frame: pd.DataFrame, path: str | Path, digits: int | None = None
) -> None:
    """Write a frame as csv; NaN is an empty cell.

    Arguments
    ---------
    frame : pandas.DataFrame
    path : str | Path
        Where to write; folders are created.
    digits : int, optional
        Significant digits of numbers; by default as many as they have.
    """
    written = None if digits is None else f"%.{digits}g"
    with write_atomically(path, "w", encoding="utf-8", newline="") as file:
        frame.to_csv(file, index=False, lineterminator="\n", float_format=written)


def _strict(content):
    """Convert content to strict JSON: non-finite numbers to null, objects to text."""
    if isinstance(content, dict):
        return {str(key): _strict(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_strict(value) for value in content]
    if isinstance(content, (np.generic, torch.Tensor)):
        return _strict(content.tolist())
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if content is None or isinstance(content, (bool, int, str)):
        return content
    return str(content)
