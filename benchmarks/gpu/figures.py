"""The files of a GPU run: a JSON file per section, and a summary, ``gpu.md``.

A JSON file holds the figures of a section, and its tables as text under ``markdown``.
The summary is rewritten after each change, so it can be read at any time.
"""

import contextlib
import json
import os
from pathlib import Path

# Figures by section, in the order of the summary.
SECTIONS = ("rates", "train", "eval", "bf16_training", "gpu_equals_cpu")
STATUS = "status"
SUMMARY = "gpu.md"
LOG = "log.txt"
DRY_NOTE = (
    "On the CPU, with tiny widths and nothing compiled; the published implementation "
    "has clips of five seconds, the others of one. These figures do not show the speed."
)


def clear(folder: str | Path) -> None:
    """Create a folder, and delete the files of an earlier run."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{name}.json" for name in (STATUS, *SECTIONS)]
    for name in (*names, SUMMARY, LOG):
        (folder / name).unlink(missing_ok=True)


def read(folder: str | Path, name: str) -> dict:
    """Return the figures of a section, or the status; empty if there are none."""
    with contextlib.suppress(FileNotFoundError):
        return json.loads((Path(folder) / f"{name}.json").read_text(encoding="utf-8"))
    return {}


def write(folder: str | Path, name: str, figures: dict) -> None:
    """Write the figures of a section, or the status, and the summary.

    Arguments
    ---------
    folder : str or Path
    name : str
        One of :data:`SECTIONS`, or :data:`STATUS`.
    figures : dict
        Plain values.
    """
    folder = Path(folder)
    _replace(folder / f"{name}.json", json.dumps(figures, indent=1))
    _replace(folder / SUMMARY, summary(folder))


def _replace(path: Path, text: str) -> None:
    """Write a file whole, by Python alone: this module runs before packages exist."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def summary(folder: str | Path) -> str:
    """Return the summary of everything in a folder so far, as markdown."""
    status = read(folder, STATUS)
    lines = ["# Figures of one GPU", ""]
    if status.get("dry"):
        lines = ["# A dry run", "", DRY_NOTE, ""]
    lines += [f"- {line}" for line in status.get("environment", [])]
    lines += ["", "| part | status | s | note |", "| --- | --- | ---: | --- |"]
    for part in status.get("parts", []):
        note = part["note"].replace("|", "/")
        lines.append(
            f"| {part['name']} | {part['status']} | {part['seconds']:.0f} | {note} |"
        )
    sections = [read(folder, name).get("markdown", "") for name in SECTIONS]
    return "\n\n".join(["\n".join(lines), *filter(None, sections)]) + "\n"
