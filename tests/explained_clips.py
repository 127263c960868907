"""Clips for pages of explanations: tones as sounds, one colour as a picture."""

import numpy as np
import soundfile
from matplotlib.image import imsave

from lmac_td.report.page.content import DialStep, PageClip

RATE = 8000
SHARES = (0.05, 0.3, 1.0)
# A name that a page must neither run nor break at.
ODD_NAME = "<img src=x onerror=alert(1)> \"a\" 'b' #1? 50%25\nStraße 雨.wav"


def tone(path, seconds, hertz=440.0):
    """Save a tone; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(path, 0.1 * np.sin(2 * np.pi * hertz * time), RATE)
    return path


def picture(path, level):
    """Save a picture of one grey; return its path."""
    imsave(path, np.full((4, 6, 3), level))
    return path


def clip_in(folder, method="evidence", seconds=3.0, shares=SHARES, **more):
    """Write the files of a clip, whose probability is the share, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = tuple(
        DialStep(
            share,
            tone(folder / f"kept_{share}.wav", seconds),
            tone(folder / f"removed_{share}.wav", seconds),
            share,
            1 - share,
            picture(folder / f"mask_{share}.png", share),
        )
        for share in shares
    )
    known = {
        "name": folder.name,
        "method": method,
        "target": "dog",
        "sound": tone(folder / "input.wav", seconds),
        "picture": picture(folder / "input.png", 0.5),
        "steps": steps,
        "start": 1,
        "before": (("dog", 0.8), ("cat", 0.2)),
    }
    return PageClip(**known | more)
