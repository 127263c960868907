"""How a recording is given to a classifier: windows, padding, level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lmac_td.contracts import Classifier
from lmac_td.errors import SettingError
from lmac_td.features import SpectralFeatures
from lmac_td.inference.tracks import windows
from lmac_td.validation import require_count, require_number

WINDOW_S = 5.0
# Shorter recordings are padded with silence: networks have windows of their own.
LONGEST_S = 3600.0  # of a window; a longer one would fill the memory
SHORTEST_S = 0.1
# What follows the last window and is at most this share of one gets no window: encoders
# and resampling make clips some milliseconds longer.
REST = 0.02
# The STFT of classifiers that have none of their own, as in the recipes.
WIN_MS, HOP_MS = 23.2199, 11.6099


@dataclass(frozen=True)
class Windows:
    """A batch of windows of one recording.

    Attributes
    ----------
    starts : tuple of int
        In samples.
    wavs : Tensor (B, T)
        As the classifier takes them: padded, and scaled by ``gains``.
    gains : Tensor (B, 1)
    n_samples : int
        Samples of each window before padding.
    is_rest : bool
        Whether it is no window, but the short rest of a recording behind the last one.
        The classifier does not get it.
    """

    starts: tuple[int, ...]
    wavs: Tensor
    gains: Tensor
    n_samples: int
    is_rest: bool = False

    @property
    def silent(self) -> Tensor:
        """Which windows have no power in float32, (B,)."""
        return ~self.wavs.square().any(dim=1)


@dataclass(frozen=True)
class Framing:
    """How a recording is given to a classifier.

    Attributes
    ----------
    window_s : float
        Seconds of a window. A longer recording is explained in windows.
    overlap : float
        The share of a window that the next one covers, from 0 and below 1.
    pad : bool
        Whether a shorter recording is padded with silence to one window, as in the
        classifier's training.
    normalise : bool
        Whether each window is scaled to a peak of 1, as in the classifier's training.
        The sounds that are returned have the recording's level.
    batch_size : int
        Windows that are explained at once.
    """

    window_s: float = WINDOW_S
    overlap: float = 0.5
    pad: bool = False
    normalise: bool = False
    batch_size: int = 4

    def __post_init__(self) -> None:
        require_number("window_s", self.window_s, most=LONGEST_S)
        require_count("batch_size", self.batch_size)
        if not 0 <= self.overlap < 1:
            raise SettingError(
                f"overlap is {self.overlap}: give a share from 0 and below 1"
            )

    def batches(
        self, blocks: Iterable[np.ndarray], sample_rate: int
    ) -> Iterator[Windows]:
        """Cut a sound into batches of windows.

        If at most 2 % of a window follow the last one, they are no window: they are
        yielded last, as they are, with ``is_rest``.

        Arguments
        ---------
        blocks : iterable of numpy.ndarray
            The sound, block by block.
        sample_rate : int
            In Hz.

        Yields
        ------
        Windows
        """
        length = max(1, round(self.window_s * sample_rate))
        hop = max(1, round(length * (1 - self.overlap)))
        shortest = length if self.pad else math.ceil(SHORTEST_S * sample_rate)
        group: list[tuple[int, Tensor]] = []
        rest = None
        for start, wav in windows(blocks, length, hop, round(REST * length)):
            if start > 0 and len(wav) < length:
                rest = Windows((start,), wav[None], torch.ones(1, 1), len(wav), True)
                break
            group.append((start, wav))
            if len(group) == self.batch_size:
                yield self._stacked(group, shortest)
                group = []
        if group:
            yield self._stacked(group, shortest)
        if rest is not None:
            yield rest

    def _stacked(self, group: Sequence[tuple[int, Tensor]], shortest: int) -> Windows:
        starts, wavs = zip(*group, strict=True)
        stacked = torch.stack(wavs)
        n_samples = stacked.shape[1]
        peak = stacked.abs().amax(dim=1, keepdim=True)
        gains = torch.ones_like(peak)
        if self.normalise:
            gains = (1 / peak).where(peak > 0, gains)
        missing = max(0, shortest - n_samples)
        padded = torch.nn.functional.pad(stacked * gains, (0, missing))
        return Windows(starts, padded, gains, n_samples)


def window_of(classifier: Classifier) -> float:
    """Return the seconds of a window for a classifier.

    It is the length that the network takes, if it has one, or else five seconds.
    """
    if classifier.clip_samples is None:
        return WINDOW_S
    return classifier.clip_samples / classifier.sample_rate


def stft_of(classifier: Classifier) -> SpectralFeatures:
    """Return the STFT on which a classifier's decisions are explained.

    It is the classifier's own, if it has one, or else one with windows of 23 ms.
    """
    if classifier.spectrogram is not None:
        return classifier.spectrogram
    n_fft = 2 ** math.ceil(math.log2(0.06 * classifier.sample_rate))
    return SpectralFeatures(classifier.sample_rate, n_fft, WIN_MS, HOP_MS)
