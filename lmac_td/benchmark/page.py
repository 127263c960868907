"""The page of a benchmark: all methods' samples, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lmac_td.benchmark.step import Step
from lmac_td.files import replace_folder, temporary_folder_beside
from lmac_td.inference.evaluation_page import title_of
from lmac_td.names import file_name
from lmac_td.report.page.content import PageClip
from lmac_td.report.page.saved import CLIPS_FILE, link_clip, read_clips
from lmac_td.report.page.write import write_page


def write_benchmark_pages(steps: Sequence[Step], folder: Path) -> list[Path]:
    """Write a page with the sample clips of all finished evaluations.

    Their files become hard links, see :func:`~lmac_td.report.page.saved.link_clip`.

    Arguments
    ---------
    steps : sequence of Step
        Finished steps. Evaluations that saved no page are left out.
    folder : Path
        Receives ``page/``, or ``page_<classifier>/`` for each listed classifier.

    Returns
    -------
    list of Path
        The pages.
    """
    of_classifiers = {}
    for step in steps:
        pages = _page_of(step)
        if (pages / CLIPS_FILE).is_file():
            of_classifiers.setdefault(step.classifier, []).append((step.run, pages))
    return [
        _write(folder / ("page" if name is None else f"page_{name}"), pages)
        for name, pages in of_classifiers.items()
    ]


def _page_of(step):
    """Return the folder in which an evaluation saves its page."""
    folder = step.path if step.path.is_dir() else step.path.parent
    return folder / "page"


def _write(folder, pages):
    """Write a page of the runs' clips; return its path."""
    with temporary_folder_beside(folder) as scratch:
        new, clips = scratch / folder.name, []
        known = [(run, page, read_clips(page)) for run, page in pages]
        shared = _shared_methods([clips for _, _, clips in known])
        for run, page, of_run in known:
            for clip in of_run:
                clip = link_clip(clip, page, new / file_name(run))
                several = clip.method in shared
                name = f"{clip.method}, {run}" if several else clip.method
                clips.append(replace(clip, method=name))
        path = write_page(new, title_of(clips), clips)
        replace_folder(new, folder)
    return folder / path.name


def _shared_methods(runs: Sequence[Sequence[PageClip]]) -> set[str]:
    """Return the methods that several runs have, such as runs of several seeds."""
    found = [{clip.method for clip in clips} for clips in runs]
    return {m for methods in found for m in methods if sum(m in f for f in found) > 1}
