"""Draw a sweep: faithfulness against sound quality, one point per value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.columns import AS_AUDIO
from lmac_td.evaluation.frame import values_of
from lmac_td.files import write_atomically
from lmac_td.report.lettering import save_figure
from lmac_td.report.runs import Runs

# Measures of faithfulness, and of sound quality: the separation of the true target.
FAITHFULNESS = ("AI", "AG", "FF")
QUALITY = "SI-SDRi (dB)"


def sweep_figure(path: Path, runs: Runs, condition: str) -> None:
    """Save AI, AG and FF against SI-SDRi, one point per row and seed.

    Points of one value have one colour. Bars are 95 % intervals over clips. Where a
    condition has no interference, SI-SDRi does not exist, and the values stand side by
    side instead.

    Arguments
    ---------
    path : Path
    runs : Runs
        The evaluations of a sweep; reference rows are left out.
    condition : str
    """
    table = runs.table.methods(condition)
    rows = {row: s for row, s in table.items() if _is_own(runs, row)}
    values = list(dict.fromkeys(row.partition(", seed ")[0] for row in rows))
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(FAITHFULNESS))
    separated = all(_summary(s, QUALITY) is not None for s in rows.values())
    for axis, metric in zip(axes, FAITHFULNESS, strict=True):
        for row, scores in rows.items():
            value = row.partition(", seed ")[0]
            place = values.index(value)
            y, y_bars = _point(scores, metric)
            x, x_bars = _point(scores, QUALITY) if separated else (place, None)
            axis.errorbar(
                x,
                y,
                xerr=x_bars,
                yerr=y_bars,
                marker="o",
                ms=5,
                elinewidth=0.6,
                color=f"C{place % 10}",
                label=value if axis is axes[0] and row == _first(rows, value) else None,
            )
        axis.set_ylabel(metric)
        if separated:
            axis.set_xlabel(QUALITY)
        else:
            axis.set_xticks([])
    figure.legend(loc="outside right center", fontsize=8)
    figure.suptitle(f"{condition}: faithfulness against sound quality", fontsize=11)
    with write_atomically(path) as file:
        save_figure(figure, file, dpi=100)


def _is_own(runs, row):
    return row in runs.seed_of and AS_AUDIO not in row


def _first(rows, value):
    return next(row for row in rows if row.partition(", seed ")[0] == value)


def _summary(scores, metric):
    """Return (mean, low, high) of a metric; None where no clip has a value."""
    if metric not in scores or np.isnan(scores[metric].to_numpy(float)).all():
        return None
    return summarise(values_of(scores, metric))


def _point(scores, metric):
    """Return a mean and its bars for ``errorbar``."""
    mean, low, high = _summary(scores, metric)
    return mean, [[mean - low], [high - mean]]
