"""Figures of a whole table: curves at equal size, and gain against what is kept."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lmac_td.files import write_atomically
from lmac_td.metrics.curves import SIZES
from lmac_td.metrics.table import summarise

_LINES = ("-", "--", "-.", ":")


def curves_figure(path, table, condition):
    """Save the curves of a condition: p of the decided class, kept and removed.

    Arguments
    ---------
    path : Path
    table : FaithfulnessTable
        Rows without curves are passed over.
    condition : str
    """
    rows = {m: s for (c, m), s in table.rows.items() if c == condition}
    percent = [f"{100 * size:g} %" for size in SIZES]
    figure = Figure(figsize=(12, 5), layout="constrained")
    FigureCanvasAgg(figure)
    kept, removed = figure.subplots(1, 2, sharey=True)
    for axis, what in ((kept, "kept"), (removed, "removed")):
        shown = {m: s for m, s in rows.items() if f"p {what} {percent[0]}" in s}
        for i, (method, scores) in enumerate(shown.items()):
            heights = [scores.values(f"p {what} {size}").mean() for size in percent]
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
        figure.savefig(file, dpi=90)


def gain_figure(path, table, condition, metric="AG"):
    """Save a metric with its intervals against the energy that is kept.

    What explains little lies at the right (everything kept) or at the bottom.

    Arguments
    ---------
    path : Path
    table : FaithfulnessTable
    condition : str
    metric : str
        Of the table.
    """
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for (name, method), scores in table.rows.items():
        kept = scores.values("kept (dB)")
        if name != condition or not np.isfinite(kept).all():
            continue
        value, low, high = summarise(scores.values(metric))
        axis.errorbar(
            kept.mean(),
            value,
            yerr=[[value - low], [high - value]],
            marker="o",
            elinewidth=0.6,
        )
        axis.annotate(
            method,
            (kept.mean(), value),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=7,
        )
    axis.set_xlabel("kept (dB)")
    axis.set_ylabel(f"{metric} (%), 95 % interval over clips")
    axis.set_title(condition, fontsize=11)
    with write_atomically(path) as file:
        figure.savefig(file, dpi=90)
