"""Arrange clips as the cards of a page: one a recording, condition and target."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lmac_td.errors import DataError
from lmac_td.report.page.content import DialStep, PageClip, Segment
from lmac_td.sound_files import open_sound


@dataclass(frozen=True)
class Card:
    """The methods that explain one recording for one target, side by side.

    Attributes
    ----------
    clips : tuple of PageClip
        One for each method; what they share is read from the first.
    shares : tuple of float
        The dial's settings: all shares that a method has.
    start : int
        Index of the share that is shown first.
    seconds : float
        Length of the sound.
    sample_rate : int
        Of the sound, Hz.
    copy : int
        How many cards before have the same name, condition and target.
    """

    clips: tuple[PageClip, ...]
    shares: tuple[float, ...]
    start: int
    seconds: float
    sample_rate: int
    copy: int = 0

    @property
    def first(self) -> PageClip:
        """What all methods share: name, target, input, decision."""
        return self.clips[0]

    @property
    def heading(self) -> str:
        """The recording's name; with a number if there are several of that name."""
        return f"{self.first.name} ({self.copy + 1})" if self.copy else self.first.name

    @property
    def before(self) -> float | None:
        """The target's probability for the input, if it is among the highest."""
        return dict(self.first.before).get(self.first.target)

    @property
    def of_class(self) -> str:
        """The class to filter by: the data set's, or else the target."""
        clip = self.first
        return clip.target if clip.label is None else clip.label

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics that a method of this card has."""
        return list(dict.fromkeys(n for clip in self.clips for n in clip.metrics))

    def place(self, part: Segment | Stretch) -> str:
        """Return where a part is on the time axis, as properties of CSS.

        They are shares of the width of the pictures.
        """
        start, end = (
            min(max(t / self.seconds, 0), 1) for t in (part.start_s, part.end_s)
        )
        return f"--from: {start:.6f}; --wide: {end - start:.6f}"

    def steps(self, clip: PageClip) -> list[int]:
        """Return the index of a clip's step for each of the dial's shares.

        It is the step whose share is nearest.
        """
        return [
            min(range(len(clip.steps)), key=lambda i: abs(clip.steps[i].share - share))
            for share in self.shares
        ]


def arrange(clips: Sequence[PageClip]) -> list[Card]:
    """Group clips into cards, in the order of their first clips.

    Arguments
    ---------
    clips : sequence of PageClip
        A second clip of the same name, condition, target and method begins a new
        card: it is another recording of that name.

    Raises
    ------
    DataError
        If a clip's sound cannot be read.
    """
    groups = {}
    for clip in clips:
        copy = 0
        while True:
            key = (clip.name, clip.condition, clip.target, copy)
            group = groups.setdefault(key, {})
            if clip.method not in group:
                group[clip.method] = clip
                break
            copy += 1
    return [_card(tuple(group.values()), key[-1]) for key, group in groups.items()]


def _card(clips, copy):
    shares = tuple(sorted({step.share for clip in clips for step in clip.steps}))
    start = shares.index(clips[0].steps[clips[0].start].share)
    with open_sound(clips[0].sound, remedy="explain or evaluate again") as sound:
        duration, rate = sound.frames / sound.samplerate, sound.samplerate
    return Card(clips, shares, start, duration, rate, copy)


@dataclass(frozen=True)
class Stretch:
    """Parts of a recording that follow each other and have the same decision.

    Attributes
    ----------
    label : str
    start_s, end_s : float
    probabilities : str
        Of the label, in words: the least and the largest.
    """

    label: str
    start_s: float
    end_s: float
    probabilities: str


def runs(timeline: Sequence[Segment]) -> list[Stretch]:
    """Join the parts of a timeline that have the same decision.

    Example
    -------
    >>> parts = [("rain", 0.9), ("rain", 0.6), ("dog", 0.8)]
    >>> timeline = [Segment(i, i + 1, *part, 0.0) for i, part in enumerate(parts)]
    >>> [(run.label, run.end_s, run.probabilities) for run in runs(timeline)]
    [('rain', 2, '60 % to 90 %'), ('dog', 3, '80 %')]
    """
    joined = []
    for label, group in itertools.groupby(timeline, key=lambda part: part.label):
        parts = list(group)
        ends = (f(part.probability for part in parts) for f in (min, max))
        words = " to ".join(dict.fromkeys(map(percent, ends)))
        joined.append(Stretch(label, parts[0].start_s, parts[-1].end_s, words))
    return joined


class Links:
    """Makes links that are relative to the page's folder.

    Arguments
    ---------
    folder : Path
        Where ``index.html`` is.
    """

    def __init__(self, folder: Path):
        self.folder = Path(os.path.abspath(folder))

    def __call__(self, path: Path) -> str:
        """Return the link to a file in or below the folder.

        Raises
        ------
        ValueError
            If the file is elsewhere.
        DataError
            If it is missing.
        """
        relative = Path(os.path.abspath(path)).relative_to(self.folder)
        if not Path(path).is_file():
            raise DataError(f"{path} is missing: the page cannot show it")
        # Every character with a meaning in a URL is quoted, also # and a colon.
        return quote(os.fsencode(relative.as_posix()))


def data_of(card: Card, link: Links) -> dict:
    """Return what the page's script needs of a card, ready for JSON.

    Arguments
    ---------
    card : Card
    link : Links
    """
    clip = card.first
    return {
        "name": card.heading,
        "target": clip.target,
        "ofClass": card.of_class,
        "condition": clip.condition or "",
        "seconds": card.seconds,
        "sound": link(clip.sound),
        "shares": [share_text(share) for share in card.shares],
        "start": card.start,
        "methods": [
            {
                "name": member.method,
                "steps": [
                    {"index": i, **_step(member.steps[i], link)}
                    for i in card.steps(member)
                ],
                "segments": [[s.start_s, s.end_s] for s in member.timeline],
                "metrics": {
                    name: value if math.isfinite(value) else None
                    for name, value in member.metrics.items()
                },
            }
            for member in card.clips
        ],
    }


def _step(step: DialStep, link: Links) -> dict:
    return {
        "share": share_text(step.share),
        "kept": link(step.kept),
        "removed": link(step.removed),
        "picture": link(step.picture),
        "pKept": step.probability,
        "pRemoved": step.probability_removed,
        "textKept": percent(step.probability),
        "textRemoved": percent(step.probability_removed),
    }


def percent(probability: float) -> str:
    """Return a probability in words that do not claim certainty.

    Example
    -------
    >>> percent(0.914), percent(0.9996), percent(0.002), percent(1.0)
    ('91 %', '> 99 %', '< 1 %', '100 %')
    """
    if 0.995 <= probability < 1:
        return "> 99 %"
    if 0 < probability < 0.005:
        return "< 1 %"
    return f"{100 * probability:.0f} %"


def share_text(share: float) -> str:
    """Return a share as percent, such as ``5 %``."""
    return f"{100 * share:.3g} %"


def seconds_text(seconds: float) -> str:
    """Return a time as minutes and seconds.

    Example
    -------
    >>> seconds_text(4.96), seconds_text(3725)
    ('0:05.0', '62:05.0')
    """
    tenths = round(10 * seconds)
    return f"{tenths // 600}:{tenths % 600 // 10:02d}.{tenths % 10}"


def duration_text(seconds: float) -> str:
    """Return the length of a sound.

    Example
    -------
    >>> duration_text(4.96), duration_text(3725)
    ('5.0 s', '62 min 5 s')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    return f"{round(seconds) // 60} min {round(seconds) % 60} s"


def value_text(value: float | None) -> str:
    """Return the value of a metric with four digits; a dash if there is none.

    Example
    -------
    >>> value_text(0.123456), value_text(-12.0), value_text(None), value_text(math.nan)
    ('0.1235', '-12', '–', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.4g}"
