"""The result for one recording and one target, and the files that are made of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmac_td.features import SpectralFeatures
from lmac_td.files import write_atomically
from lmac_td.inference.dial import first_step, shown_labels
from lmac_td.inference.pictures import MOST_COLUMNS, spectrogram_picture
from lmac_td.inference.tracks import BLOCK, Track, save_blocks
from lmac_td.metrics.signal import kept_gain
from lmac_td.report.figures import spectrogram_figure
from lmac_td.report.page.content import DialStep, PageClip, Segment

INTERPRETATION, RESIDUAL = "interpretation.wav", "residual.wav"
FIGURE, DESCRIPTION = "figure.png", "explanation.json"
FRAMES = 2048  # frames whose STFT is computed at once


@dataclass(frozen=True, eq=False)
class DialSound:
    """A recording's explanation, cut to one share of the energy.

    Attributes
    ----------
    share : float
    probability, probability_removed : float
        Of the target, for what is kept and for what is removed.
    kept : Track
        The sound that is kept.
    """

    share: float
    probability: float
    probability_removed: float
    kept: Track = field(repr=False)


@dataclass(frozen=True, eq=False)
class Interpretation:
    """Why a classifier gives a label to a recording, as sound.

    Attributes
    ----------
    name : str
        Of the recording.
    method : str
        Name of the interpreter.
    sample_rate : int
        Of all sounds, in Hz: the classifier's.
    labels : dict of str to float
        Probabilities of all labels, highest first. For a long recording this is the
        mean over its windows, or, for tags, the maximum.
    target : str
        The label that is explained.
    probability, probability_kept, probability_removed : float
        Of the target: for the recording, for what is kept, for what is removed.
    share_kept : float
        Of the energy of the recording's STFT, what the interpretation keeps.
    timeline : tuple of Segment
        The windows of the recording, without their overlap: start and end in seconds,
        the decided label and its probability, and the relevance: by how much the
        probability of the target falls where the interpretation is removed.
    dial : tuple of DialSound
        Empty if no shares were asked for.
    about : str
        A sentence about the method: what it does, whether it was trained.
    """

    name: str
    method: str
    sample_rate: int
    labels: dict[str, float] = field(repr=False)
    target: str
    probability: float
    probability_kept: float
    probability_removed: float
    share_kept: float
    timeline: tuple[Segment, ...] = field(repr=False)
    features: SpectralFeatures = field(repr=False)
    tracks: Mapping[str, Track] = field(repr=False)
    window_mask: Tensor | None = field(default=None, repr=False)
    dial: tuple[DialSound, ...] = field(default=(), repr=False)
    about: str = field(default="", repr=False)

    @property
    def sound(self) -> Tensor:
        """The recording (T,): one channel, at the classifier's rate."""
        return self.tracks["sound"].tensor()

    @property
    def interpretation(self) -> Tensor:
        """The sound (T,) that is kept; mapped from the disk if it is long."""
        return self.tracks["interpretation"].tensor()

    @property
    def residual(self) -> Tensor:
        """The sound (T,) that is removed; mapped from the disk if it is long."""
        return self.tracks["residual"].tensor()

    @property
    def mask(self) -> Tensor:
        """The mask (frames, bins) on the STFT, in [0, 1].

        For a recording of several windows this is the gain |STFT(interpretation)| /
        |STFT(recording)|. It is computed when it is asked for, in memory.
        """
        if self.window_mask is not None:
            return self.window_mask
        device = self.features.window.device
        with torch.no_grad():
            magnitudes = (
                self.features(wav.unsqueeze(0).to(device)).magnitude[0].cpu()
                for wav in (self.interpretation, self.sound)
            )
            return kept_gain(*magnitudes)

    @property
    def duration_s(self) -> float:
        """The length of the recording in seconds."""
        return self.tracks["sound"].n_samples / self.sample_rate

    def describe(self) -> dict[str, Any]:
        """Return what ``explanation.json`` holds."""
        description = {
            "recording": self.name,
            "duration_s": self.duration_s,
            "sample_rate": self.sample_rate,
            "method": self.method,
            "target": self.target,
            "probability": self.probability,
            "probability_kept": self.probability_kept,
            "probability_removed": self.probability_removed,
            "share_kept": self.share_kept,
            "labels": self.labels,
            "timeline": [vars(segment) for segment in self.timeline],
        }
        if self.dial:
            names = ("share", "probability", "probability_removed")
            description["dial"] = [
                {name: getattr(sound, name) for name in names} for sound in self.dial
            ]
        return description

    def save(self, folder: str | Path) -> Path:
        """Write sounds, a figure and a description.

        Arguments
        ---------
        folder : str or Path
            Created if it is missing. It gets ``interpretation.wav``, ``residual.wav``,
            ``figure.png`` and ``explanation.json``.

        Returns
        -------
        Path
            The folder.
        """
        folder = Path(folder)
        for file, name in (
            (INTERPRETATION, "interpretation"), (RESIDUAL, "residual")
        ):  # fmt: skip
            track = self.tracks[name]
            save_blocks(folder / file, track.blocks(), self.sample_rate, track.peak)
        panels = {
            f"input, p = {self.probability:.2f}": "sound",
            f"interpretation, p = {self.probability_kept:.2f}": "interpretation",
            f"residual, p = {self.probability_removed:.2f}": "residual",
        }
        with write_atomically(folder / FIGURE) as file:
            spectrogram_figure(
                file,
                {
                    title: overview(self.tracks[name], self.features).numpy()
                    for title, name in panels.items()
                },
                self.sample_rate,
                self.duration_s,
                f"{self.name}: {self.target}",
            )
        with write_atomically(folder / DESCRIPTION, "w", encoding="utf-8") as file:
            json.dump(self.describe(), file, indent=1, ensure_ascii=False)
        return folder

    def page_clip(self, folder: str | Path) -> PageClip:
        """Write the sounds and pictures of the dial.

        Arguments
        ---------
        folder : str or Path
            Created if it is missing. It gets ``input.wav``, ``input.png`` and, for each
            share such as 30 %, ``kept_30.wav``, ``removed_30.wav`` and ``mask_30.png``.

        Returns
        -------
        PageClip
            For :func:`lmac_td.report.page.write.write_page`. It has one step, the
            interpretation itself, if no shares were asked for.
        """
        folder = Path(folder)
        sound = self.tracks["sound"]
        input_wav = save_blocks(
            folder / "input.wav", sound.blocks(), self.sample_rate, sound.peak
        )
        magnitude = overview(sound, self.features)
        spectrogram_picture(folder / "input.png", magnitude)
        steps = tuple(
            self._step(folder, dial_sound, magnitude)
            for dial_sound in self.dial or (self._as_dial_sound(),)
        )
        return PageClip(
            name=self.name,
            method=self.method,
            target=self.target,
            sound=input_wav,
            picture=folder / "input.png",
            steps=steps,
            start=first_step(steps, self.probability),
            before=shown_labels(self.labels, self.target),
            timeline=self.timeline if len(self.timeline) > 1 else (),
            about=self.about,
        )

    def _step(self, folder: Path, dial_sound: DialSound, magnitude: Tensor) -> DialStep:
        """Write the files of one step of the dial."""
        percent, rate = f"{100 * dial_sound.share:.3g}", self.sample_rate
        kept, sound = dial_sound.kept, self.tracks["sound"]
        peak = max(
            (float(np.abs(block).max()) for block in difference(sound, kept)), default=0
        )
        picture = folder / f"mask_{percent}.png"
        gain = kept_gain(overview(kept, self.features), magnitude)
        spectrogram_picture(picture, magnitude, gain)
        return DialStep(
            dial_sound.share,
            save_blocks(folder / f"kept_{percent}.wav", kept.blocks(), rate, kept.peak),
            save_blocks(
                folder / f"removed_{percent}.wav", difference(sound, kept), rate, peak
            ),
            dial_sound.probability,
            dial_sound.probability_removed,
            picture,
        )

    def _as_dial_sound(self) -> DialSound:
        return DialSound(
            max(1e-3, self.share_kept),
            self.probability_kept,
            self.probability_removed,
            self.tracks["interpretation"],
        )


def difference(whole: Track, part: Track) -> Iterator[np.ndarray]:
    """Yield what is left of a sound without a part of it, block by block."""
    for start in range(0, whole.n_samples, BLOCK):
        yield whole.read(start, BLOCK) - part.read(start, BLOCK)


@torch.no_grad()
def overview(
    track: Track, features: SpectralFeatures, most: int = MOST_COLUMNS
) -> Tensor:
    """Return the magnitude spectrogram of a sound of any length.

    Arguments
    ---------
    track : Track
    features : SpectralFeatures
    most : int
        At most so many columns: the energies of several frames are averaged.

    Returns
    -------
    Tensor (columns, bins)
        On the CPU.

    Example
    -------
    >>> track = Track()
    >>> track.append(torch.randn(16000))
    >>> overview(track, SpectralFeatures(16000, 1024, 64, 16), most=10).shape
    torch.Size([10, 513])
    """
    hop, n_frames = features.hop_samples, features.n_frames(track.n_samples)
    columns = min(most, n_frames)
    energy = torch.zeros(columns, features.n_bins, dtype=torch.float64)
    count = torch.zeros(columns, 1, dtype=torch.float64)
    margin = math.ceil(features.n_fft / hop)
    for first in range(0, n_frames, FRAMES):
        last = min(first + FRAMES, n_frames)
        before = max(0, first - margin)
        samples = track.read(before * hop, (last + margin - before) * hop)
        wav = torch.from_numpy(samples.copy()).to(features.window.device)
        magnitude = features(wav.unsqueeze(0)).magnitude[0].cpu().double()
        magnitude = magnitude[first - before : last - before]
        column = torch.arange(first, last) * columns // n_frames
        energy.index_add_(0, column, magnitude.square())
        count.index_add_(0, column, torch.ones(len(column), 1, dtype=torch.float64))
    return (energy / count).sqrt().float()
