"""Make noise that stays below the masking threshold of a clip in every bin."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmac_td.sanity.masking_threshold import LOUDEST_DB, masking_threshold

WINDOW_S = 0.0232  # as MPEG-1, layer II: 1024 samples at 44.1 kHz
_PASSES = 8


class Spectrogram:
    """A Hann-windowed STFT of one clip and its inverse; frames overlap by 3/4.

    It is computed in float64: quiet bins may lie 100 dB below loud ones.

    Arguments
    ---------
    sample_rate : int
        In Hz; the window is the power of two that is nearest to ``WINDOW_S``.
    n_samples : int
        Length of the clip.
    """

    def __init__(self, sample_rate: int, n_samples: int):
        self.n_fft = 2 ** round(math.log2(WINDOW_S * sample_rate))
        self.n_samples = n_samples
        self.frequency_hz = torch.linspace(
            0, sample_rate / 2, self.n_fft // 2 + 1, dtype=torch.float64
        )
        self._settings = {
            "n_fft": self.n_fft,
            "hop_length": self.n_fft // 4,
            "window": torch.hann_window(self.n_fft, dtype=torch.float64),
        }

    def of(self, wav: Tensor) -> Tensor:
        """Return the STFT (frames, bins) of a clip (T,)."""
        # A clip may be shorter than the window, which torch reflects at its ends.
        padded = F.pad(wav.double(), (0, max(0, self.n_fft - len(wav))))
        return torch.stft(padded, **self._settings, return_complex=True).T

    def invert(self, stft: Tensor) -> Tensor:
        """Return the clip (T,) of an STFT (frames, bins)."""
        length = max(self.n_samples, self.n_fft)
        return torch.istft(stft.T, **self._settings, length=length)[: self.n_samples]


def masked_magnitude(wav: Tensor, sample_rate: int) -> Tensor:
    """Return the largest magnitude that a clip masks, on :class:`Spectrogram`.

    Arguments
    ---------
    wav : Tensor (T,)
    sample_rate : int

    Returns
    -------
    Tensor (frames, bins)
        In float64; zero if the clip is silent.
    """
    spectrogram = Spectrogram(sample_rate, len(wav))
    magnitude = spectrogram.of(wav).abs()
    loudest = magnitude.max()
    if loudest == 0:
        return magnitude
    level_db = LOUDEST_DB + 20 * (magnitude / loudest).clamp(min=1e-10).log10()
    threshold_db = masking_threshold(level_db, spectrogram.frequency_hz)
    return loudest * 10 ** ((threshold_db - LOUDEST_DB) / 20)


def inaudible_noise(
    wav: Tensor, sample_rate: int, generator: torch.Generator
) -> Tensor:
    """Draw noise that a clip masks: as loud as it may be, and nowhere louder.

    White noise takes the shape of the threshold, after the lowest value around each
    bin: one frequency to either side, and all frames whose windows overlap. So
    the noise does not begin before a sound that masks it. What is still above the
    threshold after the inverse STFT is cut, several times; at last the gain makes the
    noise equal the threshold in one bin and lie below it in all others.

    Arguments
    ---------
    wav : Tensor (T,)
        The clip.
    sample_rate : int
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Tensor (T,)
        On the CPU, of the type of ``wav``. Zeros if the clip is silent.
    """
    wav = wav.detach().cpu()
    spectrogram = Spectrogram(sample_rate, len(wav))
    bound = masked_magnitude(wav, sample_rate)
    if not bound.any():
        return torch.zeros_like(wav)
    lowest = -F.max_pool2d(-bound[None], (7, 3), stride=1, padding=(3, 1))[0]
    white = spectrogram.of(torch.randn(len(wav), generator=generator))
    stft = white / white.abs().square().mean().sqrt() * lowest
    for _ in range(_PASSES):
        stft = stft * (lowest / stft.abs().clamp(min=1e-30)).clamp(max=1)
        noise = spectrogram.invert(stft)
        stft = spectrogram.of(noise)
    return (noise / (stft.abs() / bound).max()).to(wav.dtype)
