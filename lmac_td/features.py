"""The STFT, its magnitude, and mel bands of the magnitude.

The STFT is that of SpeechBrain's ESC-50 recipes: centred, with a Hamming window. It is
computed once for each signal. Masks, metrics and, if the classifier takes spectrograms,
its inputs are computed from it. :class:`LogMel` is the front end of CNN14: triangular
mel filters of the magnitude (not of the power), and log(1 + x).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from speechbrain.processing.features import Filterbank
from torch import Tensor, nn

from lmac_td.errors import SettingError


@dataclass(frozen=True)
class Features:
    """The spectra of a batch of B clips.

    Attributes
    ----------
    stft : Tensor, complex (B, frames, bins)
    magnitude : Tensor (B, frames, bins)
        |stft|.
    """

    stft: Tensor
    magnitude: Tensor

    def select(self, rows: Tensor) -> Features:
        """Select some clips (N,), in the given order; rows may repeat."""
        return Features(self.stft[rows], self.magnitude[rows])


class SpectralFeatures(nn.Module):
    """The STFT of waveforms and its magnitude, always in float32.

    Arguments
    ---------
    sample_rate : int
        In Hz.
    n_fft : int
        Points of the FFT; bins = n_fft // 2 + 1.
    win_length, hop_length : float
        In milliseconds, as in SpeechBrain.

    Raises
    ------
    SettingError
        If the hop is longer than the window, or the window longer than the FFT.

    Example
    -------
    >>> features = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    >>> out = features(torch.randn(2, 16000))
    >>> out.stft.shape, out.magnitude.shape
    (torch.Size([2, 87, 513]), torch.Size([2, 87, 513]))
    >>> features.istft(out.stft, length=16000).shape
    torch.Size([2, 16000])
    """

    def __init__(
        self, sample_rate: int, n_fft: int, win_length: float, hop_length: float
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.n_fft = n_fft
        self.win_samples = round(win_length * sample_rate / 1000)
        self.hop_samples = round(hop_length * sample_rate / 1000)
        if not 0 < self.hop_samples <= self.win_samples <= n_fft:
            raise SettingError(
                f"hop_length {hop_length} ms, win_length {win_length} ms and n_fft "
                f"{n_fft} are {self.hop_samples}, {self.win_samples} and {n_fft} "
                f"samples at a sample_rate of {sample_rate}: each must be at least 1 "
                "and at most the next"
            )
        window = torch.hamming_window(self.win_samples)
        self.register_buffer("window", window, persistent=False)

    @property
    def n_bins(self) -> int:
        """Number of bins of the STFT."""
        return self.n_fft // 2 + 1

    def n_frames(self, n_samples: int) -> int:
        """Count the STFT frames of a signal of ``n_samples``."""
        return n_samples // self.hop_samples + 1

    def stft(self, wavs: Tensor) -> Tensor:
        """Compute the STFT of waveforms (B, T).

        Returns
        -------
        Tensor, complex (B, frames, bins)
            Frame f is centred on sample f times the hop.
        """
        with torch.autocast(wavs.device.type, enabled=False):
            stft = torch.stft(
                wavs.float(),
                self.n_fft,
                self.hop_samples,
                self.win_samples,
                self.window,
                center=True,
                pad_mode="constant",
                return_complex=True,
            )
        return stft.transpose(1, 2)

    def istft(self, stft: Tensor, length: int) -> Tensor:
        """Compute the waveforms (B, length) of an STFT, complex (B, frames, bins)."""
        with torch.autocast(stft.device.type, enabled=False):
            return torch.istft(
                stft.transpose(1, 2),
                self.n_fft,
                self.hop_samples,
                self.win_samples,
                self.window,
                center=True,
                length=length,
            )

    def forward(self, wavs: Tensor) -> Features:
        """Compute STFT and magnitude of waveforms (B, T)."""
        stft = self.stft(wavs)
        return Features(stft, magnitude_of(stft))

    def with_magnitude(self, stft: Tensor, magnitude: Tensor, length: int) -> Tensor:
        """Compute the sound of a magnitude with the phase of an STFT.

        Arguments
        ---------
        stft : Tensor, complex (B, frames, bins)
        magnitude : Tensor (B, frames, bins)
        length : int
            Number of samples T.

        Returns
        -------
        Tensor (B, T)
        """
        phase = stft / stft.abs().clamp(min=1e-30)
        return self.istft(magnitude * phase, length)


class LogMel(nn.Module):
    """log(1 + mel bands of a magnitude), always in float32.

    Arguments
    ---------
    sample_rate : int
        In Hz.
    n_fft : int
        Points of the FFT.
    n_mels : int
        Number of triangular filters between 0 Hz and half the sample rate.

    Example
    -------
    >>> LogMel(16000, 1024, 80)(torch.rand(2, 87, 513)).shape
    torch.Size([2, 87, 80])
    """

    def __init__(self, sample_rate: int, n_fft: int, n_mels: int) -> None:
        super().__init__()
        self.n_mels = n_mels
        matrix = mel_filters(sample_rate, n_fft, n_mels)
        self.register_buffer("matrix", matrix, persistent=False)
        bands = bands_of_bins(matrix)
        self.register_buffer("bands_of_bins", bands, persistent=False)
        self.log1p = Log1p()

    def forward(self, magnitude: Tensor) -> Tensor:
        """Compute log-mel (B, frames, n_mels) of a magnitude (B, frames, bins)."""
        with torch.autocast(magnitude.device.type, enabled=False):
            return self.log1p(magnitude.float() @ self.matrix)


class Log1p(nn.Module):
    """log(1 + x) as a module, because DeepLIFT replaces the gradients of modules."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute log(1 + x) of each element."""
        return torch.log1p(x)


def magnitude_of(stft: Tensor) -> Tensor:
    """Compute |z| of complex z, with a gradient that is finite everywhere.

    The gradient of ``abs`` is z / |z|, and 0 at 0. For subnormal numbers of float32 it
    is NaN, and masks can make values that small.
    """
    if stft.requires_grad:
        stft = stft.where(stft.detach().abs() > 1e-30, 0)
    return stft.abs()


def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Compute SpeechBrain's triangular mel filters as one matrix, (bins, n_mels)."""
    filterbank = Filterbank(
        n_mels=n_mels,
        n_fft=n_fft,
        sample_rate=sample_rate,
        f_max=sample_rate // 2,
        log_mel=False,
    )
    return filterbank(torch.eye(n_fft // 2 + 1).unsqueeze(0))[0]


def bands_of_bins(mel_matrix: Tensor) -> Tensor:
    """Compute how much each band contributes to a bin; each column adds up to 1.

    Gains of the bands times this matrix are gains of the bins: the mean of the bands
    that cover the bin, weighted by their filters. Bins that no band covers (0 Hz, half
    the sample rate, gaps between narrow bands) take the band with the nearest centre.

    Arguments
    ---------
    mel_matrix : Tensor (bins, n_mels)
        See :func:`mel_filters`.

    Returns
    -------
    Tensor (n_mels, bins)
    """
    total = mel_matrix.sum(dim=1)
    covered = total > 0
    bands = mel_matrix / total.where(covered, 1.0).unsqueeze(1)
    bins = torch.arange(len(mel_matrix), device=mel_matrix.device).float()
    # Centres of mass; a filter that is too narrow to cover a bin has none.
    weight = mel_matrix.sum(dim=0)
    centre = (bins @ mel_matrix) / weight
    centre = centre.where(weight > 0, torch.inf)
    nearest = (bins.unsqueeze(1) - centre).abs().argmin(dim=1)
    bands[~covered] = torch.nn.functional.one_hot(nearest, mel_matrix.shape[1])[
        ~covered
    ].to(bands.dtype)
    return bands.T.contiguous()
