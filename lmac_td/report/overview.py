"""Draw figures of a table: curves at equal size, and gain against kept energy."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.columns import AS_AUDIO
from lmac_td.evaluation.frame import values_of
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.files import write_atomically
from lmac_td.metrics.curves import SIZES
from lmac_td.metrics.signal import SILENCE_DB
from lmac_td.report.lettering import save_figure

_LINES = ("-", "--", "-.", ":")
_MARKERS = "os^vDP*X"


def curves_figure(path: Path, table: FaithfulnessTable, condition: str) -> None:
    """Save the curves of a condition: p of the decided class, kept and removed.

    Arguments
    ---------
    path : Path
    table : FaithfulnessTable
        Rows without curves are left out, and so are rows that are scored on the
        resynthesised sound, whose curves are those of the method.
    condition : str
    """
    rows = _methods(table, condition)
    percent = [f"{100 * size:g} %" for size in SIZES]
    figure = Figure(figsize=(12, 5), layout="constrained")
    FigureCanvasAgg(figure)
    kept, removed = figure.subplots(1, 2, sharey=True)
    for axis, what in ((kept, "kept"), (removed, "removed")):
        shown = {m: s for m, s in rows.items() if f"p {what} {percent[0]}" in s}
        for i, (method, scores) in enumerate(shown.items()):
            heights = [scores[f"p {what} {size}"].mean() for size in percent]
            line = _LINES[i // 10 % len(_LINES)]  # ten colours
            axis.plot(100 * np.array(SIZES), heights, line, marker=".", label=method)
        axis.set_xlabel(f"% of the mixture's energy that is {what}")
    kept.set_ylabel("p of the decided class, mean over clips")
    kept.set_title("insertion: higher is better", fontsize=10)
    removed.set_title("deletion: lower is better", fontsize=10)
    handles, labels = kept.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=7)
    figure.suptitle(condition, fontsize=11)
    with write_atomically(path) as file:
        save_figure(figure, file, dpi=90)


def gain_figure(
    path: Path, table: FaithfulnessTable, condition: str, metric: str = "AG"
) -> None:
    """Save a metric with its intervals against the energy that is kept.

    Rows that explain little are at the right (everything kept) or at the bottom. Rows
    that are scored on the resynthesised sound are left out, and so are rows that keep
    no energy.

    Arguments
    ---------
    path : Path
    table : FaithfulnessTable
    condition : str
    metric : str
        A metric of the table.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for i, (method, scores) in enumerate(_methods(table, condition).items()):
        kept = scores["kept (dB)"].mean()
        if not kept > SILENCE_DB:
            continue
        value, low, high = summarise(values_of(scores, metric))
        axis.errorbar(
            kept,
            value,
            yerr=[[value - low], [high - value]],
            marker=_MARKERS[i // 10 % len(_MARKERS)],  # ten colours
            linestyle="",
            elinewidth=0.6,
            label=method,
        )
    axis.set_xlabel("kept (dB)")
    axis.set_ylabel(f"{metric} (%), 95 % interval over clips")
    axis.set_title(condition, fontsize=11)
    figure.legend(loc="outside right center", fontsize=7)
    with write_atomically(path) as file:
        save_figure(figure, file, dpi=90)


def _methods(table, condition):
    rows = table.methods(condition)
    return {method: rows[method] for method in rows if AS_AUDIO not in method}
