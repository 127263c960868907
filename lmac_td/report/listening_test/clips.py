"""Find the sample clips that several evaluations share, for listeners to rate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lmac_td.errors import SettingError
from lmac_td.report.clip_grid import sample_folder
from lmac_td.report.runs import Run, read_run


@dataclass(frozen=True)
class RatedClip:
    """A clip whose explanations are rated.

    Attributes
    ----------
    name, condition : str
    target : str
        The label that is explained; listeners see it.
    sound : Path
        The input, wav.
    interpretations : dict of str to Path
        What each method keeps, wav.
    clean : Path or None
        The true target, if it is known.
    """

    name: str
    condition: str
    target: str
    sound: Path
    interpretations: dict[str, Path] = field(default_factory=dict)
    clean: Path | None = None


def shared_clips(
    evaluations: Sequence[str | Path], condition: str | None = None
) -> list[RatedClip]:
    """Return the sample clips that all methods of all evaluations explain.

    Arguments
    ---------
    evaluations : sequence of str or Path
        Evaluation folders with samples (``n_samples``). Their methods are rated, not
        the reference rows.
    condition : str, optional
        By default the first condition of the first evaluation.

    Returns
    -------
    list of RatedClip
        In the order of their names.

    Raises
    ------
    DataError
        If a folder is not an evaluation.
    SettingError
        If samples are missing, or no clip is shared.
    """
    runs = [read_run(path) for path in evaluations]
    condition = condition or runs[0].table.conditions[0]
    found, methods = {}, []
    for run in runs:
        for method in run.settings["methods"]:
            name = method if method not in methods else f"{method}, {_name_of(run)}"
            methods.append(name)
            for clip in _clips(run, condition, method):
                known = found.setdefault((clip.name, clip.target), clip)
                known.interpretations[name] = clip.interpretations[method]
    whole = [
        clip for clip in found.values() if len(clip.interpretations) == len(methods)
    ]
    if not whole:
        raise SettingError(
            f"no sample clip of {condition} is explained by all of "
            f"{', '.join(methods)}: evaluate them with the same --n_samples and the "
            "same classifier"
        )
    return sorted(whole, key=lambda clip: (clip.name, clip.target))


def _name_of(run: Run) -> str:
    """Return a name that tells runs of one method apart."""
    return run.path.parent.parent.name


def _clips(run, condition, method):
    """Yield the sample clips of one method, whose files exist."""
    folder = sample_folder(run, condition, method)
    classes = run.settings.get("classes")
    for line in run.table.row(condition, method).itertuples():
        decided = int(line.decided)
        target = classes[decided] if classes else f"class {decided}"
        # A classifier of tags has a sample for each tag, which is named by it.
        tag = re.sub(r"[^\w-]+", "_", target).strip("_")
        for stem in (line.clip_id, f"{line.clip_id}_{tag}"):
            kept = folder / f"{stem}_interpretation.wav"
            sound, clean = (folder / f"{stem}_{n}.wav" for n in ("input", "target"))
            if kept.is_file() and sound.is_file():
                yield RatedClip(
                    line.clip_id,
                    condition,
                    target,
                    sound,
                    {method: kept},
                    clean if clean.is_file() else None,
                )
