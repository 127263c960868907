"""Names in figures: plain text in any script, and no warnings."""

import io
import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from lmac_td.report import lettering
from lmac_td.report.figures import (
    bars_figure,
    confusion_figure,
    grid_figure,
    lines_figure,
    spectrogram_figure,
)
from lmac_td.report.lettering import families_for, readable, save_figure

DOG, OWN = "\u72ac", "a font with a dog"
ODD = "$x$ \\frac{a}$ caf\udce9\n\u72ac \U0001f436 \u0939\u093f \x07"


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(autouse=True)
def fonts(monkeypatch):
    """Only the fonts that come with matplotlib."""
    manager = font_manager.fontManager
    own = [f for f in manager.ttflist if "mpl-data" in f.fname]
    monkeypatch.setattr(manager, "ttflist", own)
    lettering._other_font.cache_clear()
    yield own
    lettering._other_font.cache_clear()


@pytest.fixture
def with_a_dog(fonts, tmp_path):
    """A font that has one character, as a square."""
    pen = TTGlyphPen(None)
    for i, point in enumerate([(0, 0), (0, 800), (800, 800), (800, 0)]):
        (pen.lineTo if i else pen.moveTo)(point)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "dog"])
    builder.setupCharacterMap({ord(DOG): "dog"})
    builder.setupGlyf({".notdef": square, "dog": square})
    builder.setupHorizontalMetrics({".notdef": (900, 0), "dog": (900, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": OWN, "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    path = tmp_path / "dog.ttf"
    builder.save(path)
    fonts.append(font_manager.ttfFontProperty(font_manager.get_font(path)))
    return OWN


def drawn(words):
    """The pixels and the text of a title."""
    figure = Figure(figsize=(3, 1))
    FigureCanvasAgg(figure)
    figure.suptitle(words)
    file = io.BytesIO()
    save_figure(figure, file, dpi=90)
    (text,) = (t for t in figure.findobj(Text) if t.get_text())
    return np.asarray(figure.canvas.buffer_rgba()), text


def test_a_dollar_is_a_dollar():
    plain, text = drawn("$x^2$ and $5")
    assert text.get_text() == "$x^2$ and $5"
    assert not text.get_parse_math()
    assert plain.min() == 0


def test_what_no_font_has_is_written_as_in_python():
    assert readable(f"a {DOG}\nb\x07\udce9") == r"a \u72ac b\x07\udce9"
    assert families_for(DOG) == []
    assert drawn(DOG)[1].get_text() == r"\u72ac"
    assert readable("Straße, дождь, βροχή, e\u0301") == "Straße, дождь, βροχή, e\u0301"


def test_another_installed_font_is_used(with_a_dog):
    assert readable(DOG) == DOG
    assert families_for(f"a {DOG}") == [with_a_dog]
    pixels, text = drawn(DOG)
    assert text.get_text() == DOG
    # The square of that font, and not the frame that stands for a missing character.
    dark = pixels[..., 0] < 128
    rows, columns = np.nonzero(dark)
    inside = dark[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert inside.mean() > 0.9


def test_figures_take_names_of_every_kind(tmp_path):
    spectrogram = np.random.default_rng(0).random((20, 33))
    spectrogram_figure(tmp_path / "s.png", {ODD: spectrogram}, 16000, 1.0, ODD)
    confusion_figure(tmp_path / "c.png", np.eye(30), [ODD] * 30, ODD)
    rows = {ODD: {ODD: spectrogram}}
    grid_figure(tmp_path / "g.png", rows, 1.0, 16000, 1.0, ODD)
    points = [(0.5, 0.4, 0.6)] * 2
    lines_figure(tmp_path / "l.png", {"AI": {ODD: points}}, [ODD, "b"], ODD, ODD)
    bars = {f"{ODD} {n}": (0.5, 0.4, 0.6) for n in range(6)}
    bars_figure(tmp_path / "b.png", {ODD: bars}, "FF", ODD)
    for name in "scglb":
        assert (tmp_path / f"{name}.png").stat().st_size > 0
