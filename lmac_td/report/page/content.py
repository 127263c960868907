"""What a page of explanations shows: clips, the dial's steps, a timeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class DialStep:
    """One setting of the dial: the explanation cut to a share of the sound's energy.

    Arguments
    ---------
    share : float
        Of the sound's energy that is kept, 0 < share <= 1.
    kept, removed : Path
        Wav files of what is kept and of what remains.
    probability, probability_removed : float
        Of the target, for the kept and for the removed sound.
    picture : Path
        PNG of the spectrogram with the mask of this share laid over: no axes or
        margins, so that it spans the sound's time.
    """

    share: float
    kept: Path
    removed: Path
    probability: float
    probability_removed: float
    picture: Path


@dataclass(frozen=True)
class Segment:
    """A part of a long recording.

    Arguments
    ---------
    start_s, end_s : float
        Seconds from the start of the recording.
    label : str
        What the classifier decided for this part.
    probability : float
        Of that label.
    relevance : float
        Of this part for the target; the page scales it by the clip's largest.
    """

    start_s: float
    end_s: float
    label: str
    probability: float
    relevance: float


@dataclass(frozen=True)
class PageClip:
    """One recording, explained by one method for one target.

    Clips with the same name, condition and target share a card: their methods
    stand side by side.

    Arguments
    ---------
    name : str
        Of the recording; any text.
    method : str
        Name of the interpreter.
    target : str
        The label that is explained.
    sound : Path
        Wav file of the input: mono, at the classifier's rate.
    picture : Path
        PNG of the input's spectrogram, without axes or margins.
    steps : tuple of DialStep
        The dial's settings, smallest share first.
    start : int
        Index of the step that is shown first.
    before : tuple of (str, float)
        Labels and probabilities for the input, highest first: at most five, and the
        target is among them.
    timeline : tuple of Segment
        Parts of a long recording; empty for a short one.
    metrics : dict of str to float
        Values of this clip by column name.
    label : str, optional
        The data set's class, where it is known.
    condition : str, optional
        The mixing condition, where there is one.
    about : str
        A sentence about the method: what makes its mask, and whether it was trained.
    """

    name: str
    method: str
    target: str
    sound: Path
    picture: Path
    steps: tuple[DialStep, ...]
    start: int
    before: tuple[tuple[str, float], ...]
    timeline: tuple[Segment, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    label: str | None = None
    condition: str | None = None
    about: str = ""
