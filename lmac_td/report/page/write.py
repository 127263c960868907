"""Write a page of explanations: a folder whose index.html opens by double click."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lmac_td.errors import DataError
from lmac_td.files import write_atomically
from lmac_td.report.page.cards import (
    Card,
    Links,
    arrange,
    data_of,
    duration_text,
    percent,
    runs,
    seconds_text,
    share_text,
    value_text,
)
from lmac_td.report.page.content import PageClip
from lmac_td.report.page.curve import curve_svg

_PACKAGE = "lmac_td.report.page"


def write_page(folder: Path, title: str, clips: Sequence[PageClip]) -> Path:
    """Write ``index.html`` into the folder of a page's sounds and pictures.

    The page needs no server and no network. It has a card for each recording,
    condition and target, in which the methods stand side by side.

    Arguments
    ---------
    folder : Path
        The files that the clips name lie in or below it.
    title : str
        The page's heading; any text.
    clips : sequence of PageClip

    Returns
    -------
    Path
        Of ``index.html``. It is written whole or not at all.

    Raises
    ------
    DataError
        If there is no clip, or a file is missing or cannot be read.
    ValueError
        If a file lies outside of the folder.
    """
    if not clips:
        raise DataError(f"{folder}: there is no explained clip to show on a page")
    folder = Path(folder)
    link, cards = Links(folder), arrange(clips)
    about = {clip.method: clip.about for clip in clips if clip.about}
    page = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            title=title,
            cards=cards,
            link=link,
            data={"cards": [data_of(card, link) for card in cards]},
            classes=_sorted({card.of_class for card in cards}),
            conditions=_sorted({c.first.condition for c in cards if c.first.condition}),
            metrics=_metrics(clips),
            about=about,
            methods=list(about),
            css=_text("page.css"),
            js=_text("page.js"),
        )
    )
    path = folder / "index.html"
    # A file's name may hold bytes that are no text.
    text = {"encoding": "utf-8", "errors": "backslashreplace"}
    with write_atomically(path, "w", **text) as file:
        file.write(page)
    return path


def page_environment(package: str) -> Environment:
    """Return what renders the ``templates`` of a package; values are escaped.

    Arguments
    ---------
    package : str
    """
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def _environment():
    environment = page_environment(_PACKAGE)
    environment.filters |= {
        "duration": duration_text,
        "value": value_text,
        "percent": percent,
        "share": share_text,
        "seconds": seconds_text,
        "runs": runs,
    }
    environment.globals["curve"] = _curve
    return environment


def _curve(card: Card, clip: PageClip, step: int) -> Markup:
    """Draw the dial's curve of a clip."""
    ends = clip.steps[0], clip.steps[-1]
    words = " and ".join(
        f"{percent(end.probability)} with {share_text(end.share)} kept" for end in ends
    )
    label = f"Probability of {clip.target} against the kept share: {words}"
    return curve_svg(clip.steps, step, card.before, label)


def _metrics(clips):
    """Return the names of the metrics of each method, in order."""
    found = {}
    for clip in clips:
        found.setdefault(clip.method, {}).update(dict.fromkeys(clip.metrics))
    return {method: list(names) for method, names in found.items() if names}


def _sorted(names):
    return sorted(names, key=str.casefold)


def _text(name):
    """Return a text of this package that goes into the page as it is."""
    path = files(_PACKAGE).joinpath("templates", name)
    return Markup(path.read_text(encoding="utf-8"))
