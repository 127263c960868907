"""Figures: the spectrograms of an explanation, a confusion matrix, a dictionary."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def spectrogram_figure(path, spectrograms, sample_rate, duration_s, title):
    """Save magnitude spectrograms one above the other, on one dB scale.

    Arguments
    ---------
    path : Path
    spectrograms : dict of str to ndarray (frames, bins)
        Magnitudes by the name of their panel; 0 dB is the maximum of the first.
    sample_rate : int
        In Hz.
    duration_s : float
        In seconds.
    title : str
    """
    panels = len(spectrograms)
    figure = Figure(figsize=(8, 2.2 * panels), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(panels, 1, sharex=True, sharey=True))
    reference = max(next(iter(spectrograms.values())).max(), 1e-8)
    for axis, (name, magnitude) in zip(axes, spectrograms.items(), strict=True):
        level_db = 20 * np.log10(np.maximum(magnitude.T / reference, 1e-5))
        image = axis.imshow(
            level_db,
            origin="lower",
            aspect="auto",
            vmin=-80,
            vmax=0,
            cmap="magma",
            extent=(0, duration_s, 0, sample_rate / 2000),
        )
        axis.set_title(name, fontsize=9, loc="left")
        axis.set_ylabel("kHz")
    axes[-1].set_xlabel("s")
    figure.colorbar(image, ax=axes, label="dB")
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=90)


def confusion_figure(path, confusion, class_names, title):
    """Save a confusion matrix.

    Arguments
    ---------
    path : Path
    confusion : ndarray (C, C)
        Clips by label (rows) and decision (columns).
    class_names : list of str
    title : str
    """
    size = 3 + 0.25 * len(class_names)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    image = axis.imshow(confusion, cmap="Blues")
    ticks = range(len(class_names))
    axis.set_xticks(ticks, class_names, rotation=90, fontsize=7)
    axis.set_yticks(ticks, class_names, fontsize=7)
    axis.set_xlabel("decided")
    axis.set_ylabel("label")
    axis.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axis, label="clips")
    figure.savefig(path, dpi=90)


def dictionary_figure(path, dictionary, sample_rate, title):
    """Save the components of an NMF dictionary, sorted by their spectral centroid.

    Arguments
    ---------
    path : Path or file
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
    figure.savefig(path, dpi=90)
