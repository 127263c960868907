"""Draw samples of evaluations: one row a clip, from the mixture to what is kept.

The files are those of :func:`lmac_td.report.samples.save_samples`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lmac_td.audio import read_mono
from lmac_td.errors import DataError, SettingError
from lmac_td.features import SpectralFeatures
from lmac_td.files import write_atomically
from lmac_td.report.figures import read_mask
from lmac_td.report.lettering import readable, save_figure
from lmac_td.report.runs import Run, require_same_mixtures

# The columns, and the ends of the names of their files.
MIXTURE, MASK, KEPT, TARGET = "mixture", "mask", "kept", "true target"
SOUNDS = {MIXTURE: "input", KEPT: "interpretation", TARGET: "target"}
MASK_FILE = "mask.png"
RANGE_DB = 80


@dataclass(frozen=True)
class ClipRow:
    """A row of the figure.

    Attributes
    ----------
    name : str
        The clip, and what the classifier decided.
    panels : dict of str to ndarray (frames, bins)
        By column; magnitudes, and the mask in [0, 1]. The true target is missing for a
        clip without interference.
    notes : dict of str to str
        What is written into a panel, by column.
    """

    name: str
    panels: dict[str, np.ndarray]
    notes: dict[str, str] = field(default_factory=dict)


def sample_folder(run: Run, condition: str, row: str | None = None) -> Path:
    """Return the folder of the samples of a condition and a method.

    Arguments
    ---------
    run : Run
        An evaluation.
    condition : str
    row : str, optional
        Which method, if the evaluation has several; by default the first.

    Raises
    ------
    SettingError
        If there are no such samples.
    """
    folder = run.path.parent / "samples" / condition
    methods = run.settings["methods"]
    if row is not None and row not in methods:
        raise SettingError(f"{run.path} has no method {row!r}, but {methods}")
    if len(methods) > 1:
        folder = folder / (row or methods[0])
    if not any(folder.glob(f"*_{MASK_FILE}")):
        raise SettingError(
            f"{folder} holds no samples with masks: evaluate {condition} again, with "
            "--n_samples 10"
        )
    return folder


def clip_rows(run: Run, condition: str, row: str | None, n_clips: int) -> list[ClipRow]:
    """Read the samples of an evaluation.

    Arguments
    ---------
    run : Run
    condition : str
    row : str or None
        See :func:`sample_folder`.
    n_clips : int
        At most so many, in the order of their names.

    Raises
    ------
    SettingError
        If there are no samples.
    DataError
        If a sample's sounds are missing.
    """
    folder = sample_folder(run, condition, row)
    features = features_of(run)
    stems = sorted(_stems(folder))
    names = names_of(run, condition, row or run.settings["methods"][0])
    return [
        ClipRow(names.get(stem, stem), panels_of(folder, stem, features))
        for stem in stems[:n_clips]
    ]


def compared_rows(
    rows: Mapping[str, tuple[Run, str]], condition: str, n_clips: int
) -> list[ClipRow]:
    """Read what several rows keep of the same clips, with p of each.

    Arguments
    ---------
    rows : dict of str to (Run, str)
        By the name of the column: an evaluation, and the name of its row.
    condition : str
    n_clips : int
        At most so many, in the order of their names.

    Raises
    ------
    SettingError
        If there are no samples, or no clip has a sample in every evaluation.
    DataError
        If a sample's sounds are missing, or mixtures of two evaluations differ.
    """
    first, _ = next(iter(rows.values()))
    require_same_mixtures([run for run, _ in rows.values()])
    folders = {
        name: sample_folder(run, condition, row) for name, (run, row) in rows.items()
    }
    stems = sorted(set.intersection(*map(_stems, folders.values())))
    if not stems:
        raise SettingError(
            f"no clip has a sample in each of {', '.join(map(str, folders.values()))}: "
            "evaluate again, with the same --n_samples"
        )
    features = features_of(first)
    lines = {name: _lines_of(run, condition, row) for name, (run, row) in rows.items()}
    found = []
    for stem in stems[:n_clips]:
        parts = {name: panels_of(f, stem, features) for name, f in folders.items()}
        known = {name: of[stem] for name, of in lines.items() if stem in of}
        one, line = next(iter(parts.values())), next(iter(known.values()), None)
        title = [stem]
        if line is not None:
            title = [*_clip_and_class(first, line), f"p {line.p_x:.2f}"]
        panels = {MIXTURE: one[MIXTURE]}
        panels |= {name: of_row[KEPT] for name, of_row in parts.items()}
        panels |= {column: one[column] for column in [TARGET] if column in one}
        notes = {name: f"p {line.p_in:.2f}" for name, line in known.items()}
        found.append(ClipRow("\n".join(title), panels, notes))
    return found


def features_of(run: Run) -> SpectralFeatures:
    """Return the STFT of an evaluation."""
    recipe = run.settings["recipe"]
    names = ("sample_rate", "n_fft", "win_length", "hop_length")
    return SpectralFeatures(*(recipe[name] for name in names))


def panels_of(
    folder: Path, stem: str, features: SpectralFeatures
) -> dict[str, np.ndarray]:
    """Return the panels of a sample.

    Arguments
    ---------
    folder : Path
    stem : str
        The start of its files' names.
    features : SpectralFeatures

    Raises
    ------
    DataError
        If its mixture or what is kept is missing.
    """
    panels = {MASK: read_mask(folder / f"{stem}_{MASK_FILE}")}
    for column, name in SOUNDS.items():
        path = folder / f"{stem}_{name}.wav"
        if path.exists():
            samples, _ = read_mono(path)
            wavs = torch.from_numpy(samples).unsqueeze(0)
            panels[column] = features(wavs).magnitude[0].numpy()
        elif column != TARGET:
            raise DataError(f"{path} is missing: evaluate again")
    columns = (MIXTURE, MASK, KEPT, TARGET)
    return {column: panels[column] for column in columns if column in panels}


def names_of(run: Run, condition: str, row: str) -> dict[str, str]:
    """Return what is written beside each clip: its name, the decision and its p.

    Arguments
    ---------
    run : Run
    condition, row : str
    """
    return {
        clip: "\n".join(
            (*_clip_and_class(run, line), f"p {line.p_x:.2f} → {line.p_in:.2f}")
        )
        for clip, line in _lines_of(run, condition, row).items()
    }


def _stems(folder):
    """Return the starts of the names of a folder's samples."""
    return {
        path.name.removesuffix(f"_{MASK_FILE}")
        for path in folder.glob(f"*_{MASK_FILE}")
    }


def _lines_of(run, condition, row):
    """Return the first line of each clip, by its name."""
    lines = {}
    for line in run.table.row(condition, row).itertuples():
        lines.setdefault(line.clip_id, line)
    return lines


def _clip_and_class(run, line):
    """Return the name of a clip and that of its decided class, for a figure."""
    classes, decided = run.settings.get("classes"), int(line.decided)
    of_class = classes[decided] if classes else f"class {decided}"
    return readable(line.clip_id), readable(of_class)


def clip_grid_figure(
    path: Path, rows: Sequence[ClipRow], features: SpectralFeatures, title: str
) -> None:
    """Save spectrograms of several clips, one row a clip.

    0 dB is the maximum of a clip's mixture. A mask is black at 0 and white at 1.

    Arguments
    ---------
    path : Path
    rows : sequence of ClipRow
    features : SpectralFeatures
    title : str
    """
    columns = list(dict.fromkeys(name for row in rows for name in row.panels))
    figure = Figure(figsize=(2.6 * len(columns) + 2, 1.3 * len(rows) + 1))
    figure.set_layout_engine("constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(
        len(rows), len(columns), sharex=True, sharey=True, squeeze=False
    )
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(column, fontsize=10)
    for axis in axes[-1]:
        axis.set_xlabel("s", fontsize=8)
    levels = None
    for axes_of_row, row in zip(axes, rows, strict=True):
        axes_of_row[0].set_ylabel("kHz", fontsize=8)
        axes_of_row[0].annotate(
            row.name, (-0.28, 0.5), xycoords="axes fraction", ha="right", va="center",
            fontsize=8, annotation_clip=False,
        )  # fmt: skip
        for axis, column in zip(axes_of_row, columns, strict=True):
            if column in row.panels:
                image = _draw(axis, column, row, features)
                levels = image if column != MASK else levels
                axis.text(
                    0.02, 0.93, row.notes.get(column, ""), color="white", fontsize=7,
                    transform=axis.transAxes, va="top",
                )  # fmt: skip
            else:
                axis.set_axis_off()
            axis.tick_params(labelsize=7)
    figure.colorbar(levels, ax=axes, label="dB", shrink=0.5, pad=0.01)
    with write_atomically(path) as file:
        save_figure(figure, file, dpi=110)


def _draw(axis, column, row, features):
    """Draw one panel; return its image."""
    panel = row.panels[column].T
    seconds = panel.shape[1] * features.hop_samples / features.sample_rate
    where = {
        "origin": "lower",
        "aspect": "auto",
        "extent": (0, seconds, 0, features.sample_rate / 2000),
    }
    if column == MASK:
        return axis.imshow(panel, cmap="gray", vmin=0, vmax=1, **where)
    reference = max(row.panels[MIXTURE].max(), 1e-8)
    level_db = 20 * np.log10(np.maximum(panel / reference, 1e-6))
    return axis.imshow(level_db, cmap="magma", vmin=-RANGE_DB, vmax=0, **where)
