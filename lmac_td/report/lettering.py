"""Save figures whose names are plain text, in the fonts that are installed.

Names of files, classes and methods may hold anything: a ``$``, which matplotlib takes
for mathematics, a script that its own font does not have, or bytes that are no text.
"""

from __future__ import annotations

import functools
import unicodedata
from pathlib import Path
from typing import IO

from matplotlib import font_manager, rcParams
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, FontProperties
from matplotlib.text import Text

# A font that has every character, as a box.
BOXES = "Last Resort"
_REGULAR = 400


def save_figure(figure: Figure, path: Path | IO[bytes], dpi: int) -> None:
    """Save a figure; all its text is shown as it is.

    A character that matplotlib's font does not have is taken from another installed
    font. If no font has it, it is written as in Python, such as ``\\u72ac``.

    Arguments
    ---------
    figure : matplotlib.figure.Figure
    path : Path or file
    dpi : int
        Dots per inch.
    """
    for text in figure.findobj(Text):
        words = text.get_text()
        if not words:
            continue
        if "$" in words:
            text.set_parse_math(False)
        if not words.isascii() or not words.isprintable():
            text.set_text("\n".join(map(readable, words.split("\n"))))
            text.set_fontfamily([*rcParams["font.family"], *families_for(words)])
    figure.savefig(path, dpi=dpi)


def readable(name: str) -> str:
    r"""Return a name in one line, in characters that can be drawn.

    Line breaks become spaces. What no installed font has is written as in Python.

    Example
    -------
    >>> readable("a\nb\x07, Straße, caf\udce9")
    'a b\\x07, Straße, caf\\udce9'
    """
    line = " ".join(name.splitlines())
    return "".join(c if _is_drawn(c) else ascii(c)[1:-1] for c in line)


def families_for(text: str) -> list[str]:
    """Return the families of fonts that have what matplotlib's own font lacks.

    Arguments
    ---------
    text : str

    Example
    -------
    >>> families_for("rain, Straße, дождь")
    []
    """
    entries = (_other_font(c) for c in text if not _in_own_font(c))
    return list(dict.fromkeys(entry.name for entry in entries if entry))


def _is_drawn(character: str) -> bool:
    if unicodedata.category(character) in ("Cc", "Cs", "Cn"):
        return False
    return _in_own_font(character) or _other_font(character) is not None


def _in_own_font(character: str) -> bool:
    path = font_manager.findfont(FontProperties(family=rcParams["font.family"]))
    return _has(path, character)


@functools.lru_cache(maxsize=4096)
def _has(path: str, character: str) -> bool:
    try:
        font = font_manager.get_font(path)
    except (OSError, RuntimeError):  # a file that is gone, or no font
        return False
    # Fonts of pictures, such as emoji, cannot be scaled.
    return bool(font.scalable) and font.get_char_index(ord(character)) != 0


@functools.lru_cache(maxsize=4096)
def _other_font(character: str) -> FontEntry | None:
    """Return the installed font that has a character, the most regular one."""
    if unicodedata.category(character) in ("Cc", "Cs", "Cn"):
        return None
    fonts = (f for f in font_manager.fontManager.ttflist if not _is_of_boxes(f))
    having = (f for f in sorted(fonts, key=_oddity) if _has(f.fname, character))
    return next(having, None)


def _is_of_boxes(entry: FontEntry) -> bool:
    return entry.name.startswith(BOXES)


def _oddity(entry: FontEntry) -> tuple:
    weight = font_manager.weight_dict.get(entry.weight, entry.weight)
    is_serif = "serif" in entry.name.lower()
    return (entry.style != "normal", abs(int(weight) - _REGULAR), is_serif, entry.name)
