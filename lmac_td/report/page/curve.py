"""Draw the dial's curve: the target's probability against the kept share, as SVG."""

from __future__ import annotations

import math

from markupsafe import Markup

from lmac_td.report.page.content import DialStep

WIDTH, HEIGHT = 280, 96
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 270, 8, 78


def curve_svg(
    steps: tuple[DialStep, ...], start: int, before: float | None, label: str
) -> Markup:
    """Draw the probabilities of what is kept and of what is removed.

    Arguments
    ---------
    steps : tuple of DialStep
    start : int
        The step whose points are marked first; the page marks others later.
    before : float, optional
        The target's probability for the input: a dotted line.
    label : str
        What the curve shows, for a screen reader.

    Returns
    -------
    Markup
        An ``<svg>``. The axis of the share is logarithmic.
    """
    xs = _positions([step.share for step in steps])
    curves = {
        "removed": [_y(step.probability_removed) for step in steps],
        "kept": [_y(step.probability) for step in steps],
    }
    parts = [_grid(steps, xs)]
    if before is not None:
        y = _y(before)
        parts.append(
            Markup('<line class="before" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                _LEFT, _RIGHT, y, y
            )
        )
    for name, ys in curves.items():
        points = " ".join(f"{x},{y}" for x, y in zip(xs, ys, strict=True))
        parts.append(Markup('<polyline class="{}" points="{}"/>').format(name, points))
        for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
            parts.append(
                Markup(
                    '<circle class="{}{}" data-step="{}" cx="{}" cy="{}" r="3"/>'
                ).format(name, " now" if i == start else "", i, x, y)
            )
    return Markup(
        '<svg class="curve" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, HEIGHT, label, Markup("").join(parts))


def _grid(steps, xs):
    """Return the lines of 0 and 100 %, and the ends of the share's axis."""
    parts = []
    for p, text in ((0, "0 %"), (1, "100 %")):
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
                '<text x="{}" y="{}" text-anchor="end">{}</text>'
            ).format(_LEFT, _RIGHT, _y(p), _y(p), _LEFT - 4, _y(p) + 3, text)
        )
    ends = {0: "start", len(steps) - 1: "end"} if len(steps) > 1 else {0: "middle"}
    for i, anchor in ends.items():
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="{}">{:g} % kept</text>').format(
                xs[i], HEIGHT - 4, anchor, 100 * steps[i].share
            )
        )
    return Markup("").join(parts)


def _positions(shares):
    """Place shares on a logarithmic axis."""
    low, high = math.log(shares[0]), math.log(shares[-1])
    if high == low:
        return [(_LEFT + _RIGHT) / 2] * len(shares)
    scale = (_RIGHT - _LEFT) / (high - low)
    return [round(_LEFT + (math.log(share) - low) * scale, 1) for share in shares]


def _y(probability):
    """Place a probability on the vertical axis."""
    return round(_BOTTOM - (_BOTTOM - _TOP) * probability, 1)
