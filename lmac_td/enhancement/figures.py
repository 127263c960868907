"""The paper's figures 1 and 2 of one explained mixture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from lmac_td.enhancement.deepshap import MaskShap
from lmac_td.enhancement.masks import ideal_binary_mask
from lmac_td.enhancement.relevance import most_relevant
from lmac_td.enhancement.scoring import ExplainedMixture
from lmac_td.files import write_atomically
from lmac_td.report.lettering import readable

DISPLAYED = 99.5  # percentile of |value| at the end of a colour scale
DARKEST = 0.8  # quantile of the counts that are drawn black


def loudest_bin(explained: ExplainedMixture) -> tuple[int, int]:
    """Return the frame and the bin (n, f) in which the speech is loudest."""
    place = int(explained.speech.argmax())
    return divmod(place, explained.speech.shape[1])


def granularity_figure(
    path: Path, explained: ExplainedMixture, shap: MaskShap, title: str
) -> None:
    """Draw figure 1: the input, and maps of all three granularities.

    The frame n and the bin f that are explained are those in which the speech is
    loudest; a cross marks them.

    Arguments
    ---------
    path : Path
        A png file.
    explained : ExplainedMixture
    shap : MaskShap
    title : str
    """
    inputs, (frame, bin_) = explained.inputs, loudest_bin(explained)
    seconds, khz = _extent(explained, shap)
    hz = 1000 * khz * bin_ / (inputs.shape[1] - 1)
    panels = {
        "input, normalised": inputs,
        f"Φ$^{{TF}}$(n, f), n = {frame}, f = {hz:.0f} Hz": shap.time_frequency(
            inputs, frame, bin_
        ),
        f"Φ$^T$(n), n = {frame}": shap.time(inputs, [frame])[0],
        "Φ$^U$": shap.utterance(inputs),
    }
    figure, axes = _figure(len(panels), title)
    for axis, (name, values) in zip(axes, panels.items(), strict=True):
        limit = float(torch.quantile(values.abs().flatten(), DISPLAYED / 100))
        image = _draw(axis, name, values, seconds, khz, "RdBu_r", (-limit, limit))
        figure.colorbar(image, ax=axis, shrink=0.8)
    position = (frame + 0.5) * seconds / len(inputs), hz / 1000
    for axis in axes[:2]:
        axis.plot(*position, "x", color="black", markersize=7)
    _save(path, figure)


def relevance_figure(
    path: Path,
    explained: ExplainedMixture,
    shap: MaskShap,
    percentile: float,
    title: str,
) -> None:
    """Draw figure 2: the input, its most relevant bins, those of them that are speech.

    Arguments
    ---------
    path : Path
        A png file.
    explained : ExplainedMixture
    shap : MaskShap
    percentile : float
        T of the speech relevance score.
    title : str
    """
    counts = most_relevant(explained.maps, percentile)
    speech = ideal_binary_mask(explained.speech, explained.noise)
    seconds, khz = _extent(explained, shap)
    figure, axes = _figure(3, title)
    limit = float(explained.inputs.abs().quantile(DISPLAYED / 100))
    image = _draw(
        axes[0],
        "input, normalised",
        explained.inputs,
        seconds,
        khz,
        "RdBu_r",
        (-limit, limit),
    )
    figure.colorbar(image, ax=axes[0], shrink=0.8)
    n_maps = len(explained.maps)
    most = max(1.0, float(counts[counts > 0].double().quantile(DARKEST)))
    panels = {
        f"above the {percentile:g}th percentile": counts,
        "of these, speech is louder (IBM = 1)": counts * speech,
    }
    for axis, (name, values) in zip(axes[1:], panels.items(), strict=True):
        image = _draw(axis, name, values, seconds, khz, "Greys", (0, most))
    figure.colorbar(
        image,
        ax=list(axes[1:]),
        label=f"maps, of {n_maps}",
        shrink=0.8,
        extend="max",
    )
    _save(path, figure)


def _extent(explained: ExplainedMixture, shap: MaskShap) -> tuple[float, float]:
    """Return the length of the mixture in s and half its sample rate in kHz."""
    rate = shap.estimator.features.sample_rate
    return len(explained.noisy.mixture) / rate, rate / 2000


def _figure(n_panels: int, title: str) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(3.6 * n_panels, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    # The panels' names have superscripts; a recording's name is plain text.
    figure.suptitle(readable(title), fontsize=10, parse_math=False)
    axes = figure.subplots(1, n_panels, sharex=True, sharey=True)
    axes[0].set_ylabel("kHz")
    return figure, axes


def _draw(
    axis: Axes,
    name: str,
    values: Tensor,
    seconds: float,
    khz: float,
    colours: str,
    limits: tuple[float, float],
) -> AxesImage:
    axis.set_title(name, fontsize=9)
    axis.set_xlabel("s")
    return axis.imshow(
        values.cpu().float().numpy().T,
        origin="lower",
        aspect="auto",
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        extent=(0, seconds, 0, khz),
    )


def _save(path: Path, figure: Figure) -> None:
    with write_atomically(path) as file:
        figure.savefig(file, format="png", dpi=90)
