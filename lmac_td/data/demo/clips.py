"""Clips of the embedded corpus: its ten classes, and the events of a clip.

The classes differ in how a sound moves in time as much as in its spectrum: rain and sea
waves, birds and crickets, barks and knocks share their frequencies. Pitch, timing,
timbre, level, recording channel and background differ from clip to clip.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lmac_td.data.demo.events import (
    chainsaw,
    chirping_birds,
    clock_tick,
    crickets,
    dog,
    door_knock,
    glass_breaking,
    rain,
    sea_waves,
    siren,
)
from lmac_td.data.demo.noise import NOISES, make_noise
from lmac_td.data.demo.signals import (
    colour_like_a_recording,
    db_to_gain,
    fades,
    rms,
    scale_to_random_peak,
)


@dataclass(frozen=True)
class Sound:
    """A class of sounds: how to render an event, how many there are, how long.

    Arguments
    ---------
    category : str
        The name of the class.
    event : callable
        Renders one event: (timbre, rng, n, rate) -> (n,); see
        :mod:`lmac_td.data.demo.events`.
    n_events : (int, int)
        Fewest and most events in a clip.
    event_s : (float, float), optional
        Shortest and longest event in seconds, for sounds with short events.
    event_share : (float, float), optional
        Shortest and longest event as a share of the clip, for continuous sounds. Either
        this or ``event_s`` is given.
    periodic : bool
        Whether the events have equal distances.
    """

    category: str
    event: Callable[[np.random.Generator, np.random.Generator, int, int], np.ndarray]
    n_events: tuple[int, int]
    event_s: tuple[float, float] | None = None
    event_share: tuple[float, float] | None = None
    periodic: bool = False


# The keys are ESC-50's targets for these categories.
SOUNDS = {
    0: Sound("dog", dog, (1, 4), event_s=(0.12, 0.3)),
    10: Sound("rain", rain, (1, 1), event_share=(0.7, 1.0)),
    11: Sound("sea_waves", sea_waves, (1, 1), event_share=(0.6, 1.0)),
    13: Sound("crickets", crickets, (1, 3), event_s=(0.15, 0.5)),
    14: Sound("chirping_birds", chirping_birds, (2, 7), event_s=(0.07, 0.22)),
    30: Sound("door_wood_knock", door_knock, (2, 5), event_s=(0.08, 0.14)),
    38: Sound("clock_tick", clock_tick, (3, 7), event_s=(0.04, 0.06), periodic=True),
    39: Sound("glass_breaking", glass_breaking, (1, 1), event_s=(0.3, 0.9)),
    41: Sound("chainsaw", chainsaw, (1, 1), event_share=(0.4, 0.9)),
    42: Sound("siren", siren, (1, 1), event_share=(0.4, 0.9)),
}


def place_events(
    sound: Sound, rng: np.random.Generator, n: int, rate: int
) -> list[tuple[int, int]]:
    """Draw where the events of a clip are.

    Arguments
    ---------
    sound : Sound
    rng : numpy.random.Generator
    n : int
        Samples of the clip.
    rate : int
        Hz.

    Returns
    -------
    list of (int, int)
        The first sample of each event, and the one after its last; in order and without
        overlap.
    """
    if sound.event_share is not None:
        low, high = (share * n for share in sound.event_share)
    else:
        low, high = (seconds * rate for seconds in sound.event_s)
    n_event = min(n, round(rng.uniform(low, high)))
    n_events = int(rng.integers(sound.n_events[0], sound.n_events[1] + 1))
    # A clip that is too short for all of them gets fewer, with gaps in between.
    n_events = max(1, min(n_events, int(0.8 * n / n_event)))
    free = n - n_events * n_event  # samples without an event
    if sound.periodic:
        gap = rng.uniform(0.4, 1) * free / n_events
        starts = rng.uniform(0, free - gap * (n_events - 1)) + gap * np.arange(n_events)
    else:
        starts = np.sort(rng.uniform(0, free, n_events))
    starts = starts.astype(int) + n_event * np.arange(n_events)
    return [(int(start), int(start) + n_event) for start in starts]


def make_clip(
    sound: Sound, rng: np.random.Generator, n: int, rate: int
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Render a clip of one class: its events over a faint background.

    Arguments
    ---------
    sound : Sound
        The class.
    rng : numpy.random.Generator
        Draws all that is random.
    n : int
        Samples.
    rate : int
        Hz.

    Returns
    -------
    samples : numpy.ndarray
        (n,), peak below 1.
    events : list of (int, int)
        The first sample of each event, and the one after its last.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> samples, events = make_clip(SOUNDS[0], rng, 32000, 16000)
    >>> samples.shape, all(0 <= start < stop <= 32000 for start, stop in events)
    ((32000,), True)
    """
    events = place_events(sound, rng, n, rate)
    # The events of a clip come from one source, so they share a timbre.
    timbre = int(rng.integers(2**32))
    foreground = np.zeros(n)
    for start, stop in events:
        wave = sound.event(np.random.default_rng(timbre), rng, stop - start, rate)
        wave = wave * fades(stop - start, rate, fade_s=0.003)
        foreground[start:stop] += wave / rms(wave) * db_to_gain(rng.uniform(-6, 0))
    foreground = colour_like_a_recording(rng, foreground, rate)
    background = make_noise(rng.choice(list(NOISES)), rng, n, rate)
    loudness = rms(np.concatenate([foreground[a:b] for a, b in events]))
    background *= loudness / rms(background) * db_to_gain(rng.uniform(-38, -18))
    return scale_to_random_peak(rng, foreground + background), events
