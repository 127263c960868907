"""Draw figures: spectrograms, a confusion matrix, an NMF dictionary, lines."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage, imread, imsave

from lmac_td.errors import DataError
from lmac_td.report.lettering import readable, save_figure


def spectrogram_figure(
    path: Path,
    spectrograms: dict[str, np.ndarray],
    sample_rate: int,
    duration_s: float,
    title: str,
) -> None:
    """Draw magnitude spectrograms below each other, with one dB scale.

    Arguments
    ---------
    path : Path
        The figure's file.
    spectrograms : dict of str to ndarray (frames, bins)
        Magnitudes by the title of their panel. 0 dB is the maximum of the first one.
    sample_rate : int
        In Hz.
    duration_s : float
        In seconds.
    title : str
    """
    panels = len(spectrograms)
    figure, axes, bar = _panels((8, 2.2 * panels), panels, 1, readable(title))
    axes = axes[:, 0]
    reference = max(next(iter(spectrograms.values())).max(), 1e-8)
    for axis, (name, magnitude) in zip(axes, spectrograms.items(), strict=True):
        image = draw_spectrogram(axis, magnitude, reference, sample_rate, duration_s)
        axis.set_title(name, fontsize=9, loc="left")
        axis.set_ylabel("kHz")
    axes[-1].set_xlabel("s")
    figure.colorbar(image, cax=bar, label="dB")
    save_figure(figure, path, dpi=90)


def draw_spectrogram(
    axis: Axes,
    magnitude: np.ndarray,
    reference: float,
    sample_rate: int,
    duration_s: float,
) -> AxesImage:
    """Draw a magnitude spectrogram in dB into an axis, in s and kHz.

    Arguments
    ---------
    axis : matplotlib.axes.Axes
    magnitude : ndarray (frames, bins)
    reference : float
        The magnitude at 0 dB; the scale ends at -80 dB.
    sample_rate : int
        In Hz.
    duration_s : float
        In seconds.

    Returns
    -------
    matplotlib.image.AxesImage
        For a colour bar.
    """
    return axis.imshow(
        20 * np.log10(np.maximum(magnitude.T / reference, 1e-5)),
        origin="lower",
        aspect="auto",
        vmin=-80,
        vmax=0,
        cmap="magma",
        extent=(0, duration_s, 0, sample_rate / 2000),
    )


def mask_image(path: Path, mask: np.ndarray) -> None:
    """Save a mask as a picture of its own size: black is 0, white is 1.

    Arguments
    ---------
    path : Path
        A png file; :func:`read_mask` reads it.
    mask : ndarray (frames, bins)
        In [0, 1]; it is rounded to 256 levels. Time runs to the right, frequency
        upwards.
    """
    levels = np.round(255 * mask.T[::-1]).astype(np.uint8)
    imsave(path, np.stack([levels] * 3, axis=-1))


def read_mask(path: Path) -> np.ndarray:
    """Read what :func:`mask_image` saved, (frames, bins).

    Raises
    ------
    DataError
        If it is no such picture.
    """
    try:
        return imread(path)[::-1, :, 0].T
    except (OSError, ValueError, IndexError, SyntaxError) as error:
        raise DataError(f"{path} is not a picture of a mask: {error}") from error


def _panels(size, n_rows, n_columns, title):
    """A titled figure, its panels of common axes, and the axis of a colour bar.

    Its margins are fixed, in inches: to compute them, as the layout "constrained"
    does, takes half as long again as drawing.
    """
    width, height = size
    left, right, bottom, top = 0.65, width - 1.05, 0.48, height - 0.5
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10, y=1 - 0.08 / height)
    axes = figure.subplots(
        n_rows,
        n_columns,
        sharex=True,
        sharey=True,
        squeeze=False,
        gridspec_kw={
            "left": left / width,
            "right": right / width,
            "bottom": bottom / height,
            "top": top / height,
            "hspace": 0.32 if n_columns == 1 else 0.08,
            "wspace": 0.08,
        },
    )
    bar = [
        (right + 0.15) / width, bottom / height, 0.16 / width, (top - bottom) / height
    ]  # fmt: skip
    return figure, axes, figure.add_axes(bar)


def confusion_figure(
    path: Path, confusion: np.ndarray, class_names: list[str], title: str
) -> None:
    """Draw a confusion matrix.

    Arguments
    ---------
    path : Path
        The figure's file.
    confusion : ndarray (C, C)
        Numbers of clips by label (rows) and decision (columns).
    class_names : list of str
    title : str
    """
    size = 3 + 0.25 * len(class_names)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    image = axis.imshow(confusion, cmap="Blues")
    ticks, names = range(len(class_names)), list(map(readable, class_names))
    axis.set_xticks(ticks, names, rotation=90, fontsize=7)
    axis.set_yticks(ticks, names, fontsize=7)
    axis.set_xlabel("decided")
    axis.set_ylabel("label")
    axis.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axis, label="clips")
    save_figure(figure, path, dpi=90)


def dictionary_figure(
    path: Path | IO[bytes], dictionary: np.ndarray, sample_rate: int, title: str
) -> None:
    """Draw the components of an NMF dictionary, sorted by spectral centroid.

    Arguments
    ---------
    path : Path or file
        The figure's file.
    dictionary : ndarray (bins, K)
        Non-negative; each component is shown relative to its maximum.
    sample_rate : int
        In Hz.
    title : str
    """
    n_bins, n_components = dictionary.shape
    centroids = np.arange(n_bins) @ dictionary / dictionary.sum(axis=0)
    shown = (dictionary / dictionary.max(axis=0))[:, np.argsort(centroids)]
    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    image = axis.imshow(
        shown,
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(0, n_components, 0, sample_rate / 2000),
    )
    axis.set_xlabel("component, by spectral centroid")
    axis.set_ylabel("kHz")
    axis.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axis, label="relative to the component's maximum")
    save_figure(figure, path, dpi=90)


def lines_figure(
    path: Path | IO[bytes],
    panels: dict[str, dict[str, Sequence[tuple[float, float, float]]]],
    x: Sequence[float] | Sequence[str],
    x_label: str,
    title: str,
    dashed: Collection[str] = (),
    marks: dict[str, dict[str, float]] | None = None,
) -> None:
    """Draw lines with intervals, in panels beside each other.

    Arguments
    ---------
    path : Path or file
        The figure's file.
    panels : dict of str to dict of str to sequence of (float, float, float)
        For each panel (by the label of its y axis) and line (by name): a value of at
        most 1 and both ends of its interval, for each position on the x axis.
    x : sequence of float or of str
        The positions on the x axis.
    x_label : str
    title : str
    dashed : collection of str
        Names of the lines to draw dashed, such as controls.
    marks : dict of str to dict of str to float, optional
        For a panel and a line, a y value to mark by a dotted line of the same colour.
    """
    if isinstance(x[0], str):
        x = list(map(readable, x))
    figure = Figure(figsize=(5.5 * len(panels) + 2, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (y_label, lines) in zip(axes, panels.items(), strict=True):
        for name, points in lines.items():
            values, low, high = np.array(points, dtype=float).T
            style = "--" if name in dashed else "-"
            (line,) = axis.plot(x, values, style, marker=".", label=name)
            axis.fill_between(x, low, high, color=line.get_color(), alpha=0.15)
            if name in (marks or {}).get(y_label, {}):
                level = marks[y_label][name]
                axis.axhline(level, color=line.get_color(), ls=":", lw=1)
        # The axis includes 0, so that small changes look small.
        axis.set_ylim(min(0, axis.get_ylim()[0]), 1.03)
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        if isinstance(x[0], str):
            axis.tick_params(axis="x", rotation=30, labelsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path, dpi=90)


def bars_figure(
    path: Path | IO[bytes],
    series: dict[str, dict[str, tuple[float, float | None, float | None]]],
    y_label: str,
    title: str,
) -> None:
    """Draw bars with intervals, in groups beside each other.

    Arguments
    ---------
    path : Path or file
        The figure's file.
    series : dict of str to dict of str to (float, float or None, float or None)
        For each colour and group: a value and both ends of its interval; None for no
        interval. All colours have the same groups.
    y_label, title : str
    """
    groups = list(next(iter(series.values())))
    figure = Figure(figsize=(1.5 + 1.1 * len(groups), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    width = 0.8 / len(series)
    for place, (name, values) in enumerate(series.items()):
        x = np.arange(len(groups)) + (place - (len(series) - 1) / 2) * width
        heights, low, high = np.array([values[g] for g in groups], dtype=float).T
        errors = np.nan_to_num([heights - low, high - heights])
        axis.bar(x, heights, width, yerr=errors, capsize=2, label=name)
    axis.axhline(0, color="black", lw=0.8)
    names = list(map(readable, groups))
    axis.set_xticks(range(len(groups)), names, rotation=30, ha="right", fontsize=8)
    axis.set_ylabel(y_label)
    axis.set_title(title, fontsize=10)
    axis.legend(fontsize=8)
    save_figure(figure, path, dpi=90)


def grid_figure(
    path: Path | IO[bytes],
    rows: dict[str, dict[str, np.ndarray]],
    reference: float,
    sample_rate: int,
    duration_s: float,
    title: str,
) -> None:
    """Draw magnitude spectrograms in a grid, with one dB scale.

    Arguments
    ---------
    path : Path or file
        The figure's file.
    rows : dict of str to dict of str to ndarray (frames, bins)
        Magnitudes by row and column; all rows have the same columns.
    reference : float
        The magnitude at 0 dB.
    sample_rate : int
        In Hz.
    duration_s : float
        In seconds.
    title : str
    """
    columns = next(iter(rows.values()))
    size = (1.6 * len(columns) + 1.5, 1.5 * len(rows) + 0.8)
    figure, axes, bar = _panels(size, len(rows), len(columns), title)
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(readable(name), fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("s", fontsize=8)
    for axis_row, (row_name, row) in zip(axes, rows.items(), strict=True):
        axis_row[0].set_ylabel(f"{readable(row_name)}\nkHz", fontsize=8)
        for axis, magnitude in zip(axis_row, row.values(), strict=True):
            image = draw_spectrogram(
                axis, magnitude, reference, sample_rate, duration_s
            )
            axis.tick_params(labelsize=7)
            axis.locator_params(axis="x", nbins=4)
    figure.colorbar(image, cax=bar, label="dB")
    save_figure(figure, path, dpi=90)
