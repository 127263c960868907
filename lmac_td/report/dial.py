"""Draw the dial: how sure the classifier is of what is kept, by how much is kept."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lmac_td.evaluation.columns import AS_AUDIO
from lmac_td.files import write_atomically
from lmac_td.metrics.curves import SIZES
from lmac_td.report.lettering import save_figure
from lmac_td.report.over_classifiers import OverClassifiers

_LINES = ("-", "--", "-.", ":")
_GREYS = ("0.6", "0.2")
# A row of a method that is cut to a share of the sound: its name, and the share.
_SHARE = re.compile(r"(?P<name>.+) (?P<share>0?\.\d+|1|1\.0)")
# Of a dial's own curve at equal size: the row with the share nearest to this.
_MIDDLE = 0.5


def dial_figure(path: Path, means: OverClassifiers, condition: str) -> None:
    """Save p of the decided class of what is kept against the kept share of energy.

    Thin lines are methods whose explanations are cut to equal sizes (the columns ``p
    kept``), grey for reference rows. Thick lines are dials: rows such as ``evidence
    0.25`` and ``evidence 0.5``, each at the energy that its explanations keep. The
    classifier is most sure of what is kept by the highest line; the legend has the
    order of the lines' right ends. All values are means over clips, seeds and
    classifiers.

    Arguments
    ---------
    path : Path
    means : OverClassifiers
    condition : str
        Rows without such columns are left out, and so are rows that are scored on the
        resynthesised sound, whose curves are those of the method.
    """
    rows = [row for row in means.rows(condition) if AS_AUDIO not in row]
    dials = dials_of(rows)
    in_dials = {row for shares in dials.values() for row in shares.values()}
    middles = {
        shares[min(shares, key=lambda share: abs(share - _MIDDLE))]
        for shares in dials.values()
    }
    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for name, shares in dials.items():
        in_order = [shares[share] for share in sorted(shares)]
        kept, p = np.transpose([_point(means, condition, row) for row in in_order])
        axis.plot(100 * kept, p, lw=2.5, marker="o", ms=5, label=f"{name}, dial")
    thin = [row for row in rows if row not in in_dials or row in middles]
    curves = {row: _curve(means, condition, row) for row in thin}
    curves = {row: curve for row, curve in curves.items() if curve is not None}
    methods = [row for row in curves if means.has_seed(condition, row)]
    references = [row for row in curves if row not in methods]
    percent = 100 * np.array(SIZES)
    for i, row in enumerate(methods, len(dials)):
        style = _LINES[i // 10 % len(_LINES)]  # ten colours
        axis.plot(percent, curves[row], style, lw=1, marker=".", ms=4, label=row)
    for i, row in enumerate(references):
        style, grey = _LINES[i % len(_LINES)], _GREYS[i // len(_LINES) % len(_GREYS)]
        axis.plot(percent, curves[row], style, lw=1, color=grey, label=row)
    mixture = _mean(means, condition, rows[0], "p_x")
    axis.axhline(mixture, color="black", lw=0.8, ls=":", label="the mixture")
    axis.set_xlim(0, 102)
    axis.set_xlabel("% of the mixture's energy that is kept")
    axis.set_ylabel("p of the decided class, mean over clips")
    axis.set_ylim(bottom=0)
    axis.set_title(
        f"{condition}. Thick: explanations of several sizes. Thin: explanations cut to "
        "equal sizes.",
        fontsize=10,
    )
    figure.legend(handles=_from_top(axis), loc="outside right center", fontsize=7)
    with write_atomically(path) as file:
        save_figure(figure, file, dpi=110)


def dials_of(rows: list[str]) -> dict[str, dict[float, str]]:
    """Find the methods that have rows of several shares.

    Arguments
    ---------
    rows : list of str

    Returns
    -------
    dict of str to dict of float to str
        The rows of each method by share.

    Example
    -------
    >>> dials_of(["evidence 0.25", "evidence 0.5", "gradcam 0.5", "lmac"])
    {'evidence': {0.25: 'evidence 0.25', 0.5: 'evidence 0.5'}}
    """
    found = {}
    for row in rows:
        match = _SHARE.fullmatch(row)
        if match:
            found.setdefault(match["name"], {})[float(match["share"])] = row
    return {name: shares for name, shares in found.items() if len(shares) > 1}


def _from_top(axis):
    """Return the lines in the order of their right ends, the highest first."""
    return sorted(axis.get_lines(), key=lambda line: -line.get_ydata()[-1])


def _point(means, condition, row):
    """Return the share of energy that a row keeps, and p of what it keeps."""
    kept = _mean(means, condition, row, "kept (dB)", lambda db: 10 ** (db / 10))
    return kept, _mean(means, condition, row, "p_in")


def _curve(means, condition, row):
    """Return p of what is kept at each size; None if it was not measured."""
    names = [f"p kept {100 * size:g} %" for size in SIZES]
    curve = [_mean(means, condition, row, name) for name in names]
    return None if np.isnan(curve).any() else curve


def _mean(means, condition, row, score, function=lambda values: values):
    """Return the mean of a score over clips, seeds and classifiers; NaN without it."""
    members = means.members(condition, row).values()
    of_classifiers = [
        np.mean([function(scores[score].to_numpy(float)).mean() for scores in frames])
        for frames in (list(of_seeds.values()) for of_seeds in members)
        if all(score in scores for scores in frames)
    ]
    return float(np.mean(of_classifiers)) if of_classifiers else float("nan")
