"""Segments of a clip: which bins of the STFT are removed together.

A division into segments is a callable ``(wav (T,), magnitude (frames, bins))`` that
returns one integer per bin, (frames, bins): the form of Captum's ``feature_mask``. Bins
with the same number are one segment. Any function of this form can be used.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lmac_td.errors import SettingError
from lmac_td.features import SpectralFeatures, magnitude_of
from lmac_td.validation import as_setting_error, require_choice, require_number


class Segments:
    """Base of the divisions of a clip into segments.

    Arguments
    ---------
    features : SpectralFeatures
        The STFT, which converts Hz and ms to bins and frames.
    """

    def __init__(self, features: SpectralFeatures) -> None:
        self.features = features

    def __call__(self, wav: Tensor, magnitude: Tensor) -> Tensor:
        """Number the segments.

        Arguments
        ---------
        wav : Tensor (T,)
        magnitude : Tensor (frames, bins)
            Its |STFT|.

        Returns
        -------
        Tensor (frames, bins), int64
        """
        raise NotImplementedError

    def windows(self, n_frames: int, ms: float) -> Tensor:
        """Number consecutive windows of a duration in ms, (frames, 1)."""
        hop_ms = 1000 * self.features.hop_samples / self.features.sample_rate
        return in_steps(n_frames, ms / hop_ms).unsqueeze(1)

    def bands(self, hz: float) -> Tensor:
        """Number adjacent bands of a width in Hz, (1, bins)."""
        bin_hz = self.features.sample_rate / self.features.n_fft
        return in_steps(self.features.n_bins, hz / bin_hz).unsqueeze(0)


class Windows(Segments):
    """Windows of time.

    Arguments
    ---------
    features : SpectralFeatures
    segment_ms : float
        Duration of a window in ms; at least one frame.

    Example
    -------
    >>> features = SpectralFeatures(8000, 256, 32, 16)
    >>> windows = Windows(features, segment_ms=48)
    >>> windows(torch.zeros(800), torch.zeros(7, 129))[:, 0]
    tensor([0, 0, 0, 1, 1, 1, 1])
    """

    def __init__(self, features: SpectralFeatures, segment_ms: float = 100) -> None:
        super().__init__(features)
        require_number("segment_ms", segment_ms)
        self.segment_ms = segment_ms

    def __call__(self, wav: Tensor, magnitude: Tensor) -> Tensor:
        """See :meth:`Segments.__call__`."""
        windows = self.windows(len(magnitude), self.segment_ms)
        return windows.expand(magnitude.shape)


class Bands(Segments):
    """Bands of frequency.

    Arguments
    ---------
    features : SpectralFeatures
    segment_hz : float
        Width of a band in Hz; at least one bin.
    """

    def __init__(self, features: SpectralFeatures, segment_hz: float = 1000) -> None:
        super().__init__(features)
        require_number("segment_hz", segment_hz)
        self.segment_hz = segment_hz

    def __call__(self, wav: Tensor, magnitude: Tensor) -> Tensor:
        """See :meth:`Segments.__call__`."""
        return self.bands(self.segment_hz).expand(magnitude.shape)


class Tiles(Segments):
    """Tiles of time and frequency, as in SLIME (Mishra, Sturm and Dixon, 2017).

    Arguments
    ---------
    features : SpectralFeatures
    segment_hz, segment_ms : float
        Size of a tile; at least one bin and one frame.
    """

    def __init__(
        self,
        features: SpectralFeatures,
        segment_hz: float = 1000,
        segment_ms: float = 500,
    ) -> None:
        super().__init__(features)
        require_number("segment_hz", segment_hz)
        require_number("segment_ms", segment_ms)
        self.segment_hz = segment_hz
        self.segment_ms = segment_ms

    def __call__(self, wav: Tensor, magnitude: Tensor) -> Tensor:
        """See :meth:`Segments.__call__`."""
        bands = self.bands(self.segment_hz)
        windows = self.windows(len(magnitude), self.segment_ms)
        return windows * (bands.max() + 1) + bands


class LoudestPart(Segments):
    """Base of the divisions into the parts of a sound, and windows of each part.

    A bin belongs to the part that is loudest in it, so the segments add up to the clip.
    A subclass implements :meth:`levels`.

    Arguments
    ---------
    features : SpectralFeatures
    segment_ms : float, optional
        Duration of the windows; by default, each part is one segment.
    """

    def __init__(
        self, features: SpectralFeatures, segment_ms: float | None = None
    ) -> None:
        super().__init__(features)
        if segment_ms is not None:
            require_number("segment_ms", segment_ms)
        self.segment_ms = segment_ms

    def levels(self, wav: Tensor, magnitude: Tensor) -> Tensor:
        """Return the level of each part in each bin, (P, frames, bins)."""
        raise NotImplementedError

    def __call__(self, wav: Tensor, magnitude: Tensor) -> Tensor:
        """See :meth:`Segments.__call__`."""
        levels = self.levels(wav, magnitude)
        part = levels.argmax(dim=0).cpu()
        if self.segment_ms is None:
            return part
        return self.windows(len(part), self.segment_ms) * len(levels) + part


class Parts(LoudestPart):
    """The parts of a source separation, each divided into windows of time.

    Separated stems as segments are audioLIME's (Haunschmid, Manilow and Widmer, 2020).

    Arguments
    ---------
    features : SpectralFeatures
    separate : callable
        Maps one waveform (T,) to its P parts (P, T): any separation.
    segment_ms : float, optional
        See :class:`LoudestPart`.

    Example
    -------
    >>> features = SpectralFeatures(8000, 256, 32, 16)
    >>> parts = Parts(features, lambda wav: torch.stack([0.9 * wav, 0.1 * wav]))
    >>> wav = torch.randn(800)
    >>> parts(wav, features(wav.unsqueeze(0)).magnitude[0]).unique()
    tensor([0])
    """

    def __init__(
        self,
        features: SpectralFeatures,
        separate: Callable[[Tensor], Tensor],
        segment_ms: float | None = None,
    ) -> None:
        super().__init__(features, segment_ms)
        self.separate = separate

    def levels(self, wav: Tensor, magnitude: Tensor) -> Tensor:
        """See :meth:`LoudestPart.levels`: the |STFT| of each part.

        Raises
        ------
        SettingError
            If ``separate`` fails, or does not return parts (P, T).
        """
        with as_setting_error("separate cannot separate a clip", "correct separate"):
            parts = torch.as_tensor(self.separate(wav))
        if parts.dim() != 2 or parts.shape[1:] != wav.shape or not len(parts):
            raise SettingError(
                f"separate returns {tuple(parts.shape)} for a waveform of {len(wav)} "
                "samples: return its parts (P, T)"
            )
        return magnitude_of(self.features.stft(parts.to(wav)))


class HarmonicPercussive(LoudestPart):
    """Tones and clicks: the harmonic and the percussive part, by median filters.

    A bin is harmonic if the median of |X| along time is at least the median along
    frequency (Fitzgerald, *Harmonic/percussive separation using median filtering*,
    DAFx 2010). No model is needed.

    Arguments
    ---------
    features : SpectralFeatures
    segment_ms : float, optional
        See :class:`LoudestPart`.
    harmonic_ms, percussive_hz : float
        Lengths of the filters along time and frequency.
    """

    def __init__(
        self,
        features: SpectralFeatures,
        segment_ms: float | None = None,
        harmonic_ms: float = 360,
        percussive_hz: float = 480,
    ) -> None:
        super().__init__(features, segment_ms)
        frames = harmonic_ms / 1000 * features.sample_rate / features.hop_samples
        bins = percussive_hz * features.n_fft / features.sample_rate
        self.filters = (odd(frames), 1), (1, odd(bins))

    def levels(self, wav: Tensor, magnitude: Tensor) -> Tensor:
        """See :meth:`LoudestPart.levels`: harmonic, percussive."""
        from scipy.ndimage import median_filter

        x = magnitude.cpu().numpy()
        medians = [median_filter(x, size=size, mode="nearest") for size in self.filters]
        return torch.from_numpy(np.stack(medians))


NAMED = ("windows", "bands", "tiles", "harmonic_percussive")


def build_segments(
    segments: str | Callable[[Tensor, Tensor], Tensor],
    features: SpectralFeatures,
    segment_hz: float = 1000,
    segment_ms: float = 500,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Build the segments that a recipe names.

    Arguments
    ---------
    segments : str or callable
        ``windows``, ``bands``, ``tiles``, ``harmonic_percussive``, or a callable as
        described at the head of this module, which is returned as it is.
    features : SpectralFeatures
    segment_hz, segment_ms : float
        The size of a segment.

    Raises
    ------
    SettingError
    """
    if callable(segments):
        return segments
    require_choice("segments", segments, NAMED)
    if segments == "windows":
        return Windows(features, segment_ms)
    if segments == "bands":
        return Bands(features, segment_hz)
    if segments == "tiles":
        return Tiles(features, segment_hz, segment_ms)
    return HarmonicPercussive(features, segment_ms)


def in_steps(n: int, width: float) -> Tensor:
    """Number n entries in steps of a width, which may be fractional; at least 1.

    The last entry, such as the bin of half the sample rate, makes no step of its own.

    Example
    -------
    >>> in_steps(6, 2.5), in_steps(5, 2)
    (tensor([0, 0, 0, 1, 1, 1]), tensor([0, 0, 1, 1, 1]))
    """
    width = max(width, 1.0)
    last = max(1, math.ceil((n - 1) / width)) - 1
    steps = torch.arange(n, dtype=torch.float64) / width
    return steps.long().clamp(max=last)


def odd(x: float) -> int:
    """Return the odd number from 1 that is nearest, for a filter with a centre."""
    return max(1, 2 * round((x - 1) / 2) + 1)
