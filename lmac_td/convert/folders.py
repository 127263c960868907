"""Write a converted folder whole or not at all, with its card."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lmac_td.convert.origins import Settings
from lmac_td.errors import SettingError
from lmac_td.evaluation.markdown import compact_table
from lmac_td.files import (
    replace_folder,
    sha256_of,
    temporary_folder_beside,
    write_atomically,
)
from lmac_td.training.export import CARD


@dataclass(frozen=True)
class Converted:
    """What a conversion wrote.

    Attributes
    ----------
    folder : Path
    settings : Settings
    notes : tuple of str
        What its user should know.
    """

    folder: Path
    settings: Settings
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """Create a folder that gets its name when the block ends without an error.

    Arguments
    ---------
    out : str or Path

    Yields
    ------
    Path
        The folder, under a temporary name.

    Raises
    ------
    SettingError
        If it exists and is not empty.
    """
    out = Path(out)
    check_new(out)
    with temporary_folder_beside(out) as scratch:
        new = scratch / out.name
        new.mkdir()
        yield new
        replace_folder(new, out)


def check_new(out: str | Path) -> None:
    """Refuse a folder that exists and is not empty.

    Raises
    ------
    SettingError
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SettingError(f"{out} exists: give another --out")


def write_card(folder: Path, card: str) -> None:
    """Write the card of a converted folder."""
    with write_atomically(folder / CARD, "w", encoding="utf-8") as file:
        file.write(card)


def card_of(
    title: str, text: str, files: Mapping[str, Path], settings: Settings
) -> str:
    """Describe a converted folder: what it is, its files, where each setting is from.

    Arguments
    ---------
    title, text : str
    files : mapping of str to Path
        What was converted, by name, for its fingerprint.
    settings : Settings

    Returns
    -------
    str
        Markdown.
    """
    rows = [[name, path.name, sha256_of(path)] for name, path in files.items()]
    return f"""# {title}

{text}

## Converted from

{compact_table(["part", "file", "SHA-256"], rows)}

## Settings

{settings.table()}
"""
