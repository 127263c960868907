"""Keep the clips of a page beside it, so that other pages can show them, too."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lmac_td.errors import DataError, UnreadableFileError
from lmac_td.files import write_atomically
from lmac_td.reading import checked, read_json
from lmac_td.report.page.content import DialStep, PageClip, Segment

CLIPS_FILE = "clips.json"


def save_clips(folder: Path, clips: Sequence[PageClip], name: str = CLIPS_FILE) -> None:
    """Write ``clips.json`` into a page's folder.

    Arguments
    ---------
    folder : Path
        The files of the clips lie in or below it; the paths become relative.
    clips : sequence of PageClip
    name : str
        Of the file.
    """
    folder = Path(folder)

    def relative(path: Any) -> str:
        return Path(path).relative_to(folder).as_posix()

    with write_atomically(folder / name, "w", encoding="utf-8") as file:
        json.dump([asdict(clip) for clip in clips], file, default=relative)


def read_clips(
    folder: Path, name: str = CLIPS_FILE, files_in: Path | None = None
) -> list[PageClip]:
    """Read what :func:`save_clips` wrote.

    Arguments
    ---------
    folder : Path
        A page's folder, which may have been moved.
    name : str
        Of the file.
    files_in : Path, optional
        Where the files of the clips lie; by default in the folder.

    Raises
    ------
    DataError
        If there is no such file, or it is broken.
    """
    path = Path(folder) / name
    files_in = path.parent if files_in is None else files_in
    try:
        content = read_json(path, list)
        return checked(
            path, content, lambda saved: [_clip(clip, files_in) for clip in saved]
        )
    except (OSError, UnreadableFileError) as error:
        raise DataError(
            f"{path} does not list the clips of a page: evaluate again"
        ) from error


def _clip(saved, folder):
    def files_in(values, names):
        return values | {name: folder / values[name] for name in names}

    steps = tuple(
        DialStep(**files_in(step, ("kept", "removed", "picture")))
        for step in saved["steps"]
    )
    made = {
        "steps": steps,
        "before": tuple((label, p) for label, p in saved["before"]),
        "timeline": tuple(Segment(**part) for part in saved["timeline"]),
    }
    return PageClip(**files_in(saved, ("sound", "picture")) | made)


def link_clip(clip: PageClip, source: Path, destination: Path) -> PageClip:
    """Put the files of a clip into another folder as well.

    Files become hard links, which take no space, or copies where the disk has none.

    Arguments
    ---------
    clip : PageClip
        Its files lie in or below ``source``.
    source, destination : Path
        Folders; files keep their names below them.

    Returns
    -------
    PageClip
        With the new files.
    """

    def placed(record, names):
        moved = {}
        for name in names:
            path = getattr(record, name)
            moved[name] = destination / path.relative_to(source)
            _link(path, moved[name])
        return replace(record, **moved)

    steps = tuple(placed(s, ("kept", "removed", "picture")) for s in clip.steps)
    return replace(placed(clip, ("sound", "picture")), steps=steps)


def _link(path, new):
    new.parent.mkdir(parents=True, exist_ok=True)
    if new.exists():
        if new.samefile(path):
            return
        new.unlink()  # of an older page
    try:
        os.link(path, new)
    except OSError:
        shutil.copy2(path, new)
