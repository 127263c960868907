"""Waveform -> STFT -> magnitude -> log-mel: what the classifier is given.

The front end is that of SpeechBrain's ESC-50 recipes, so that classifiers trained
there hear here what they heard there: a centred STFT with a Hamming window, the
magnitude (not the power), triangular mel filters, and log(1 + .). The STFT of a
signal is computed once and everything else is derived from it.
"""

from dataclasses import dataclass

import torch
from speechbrain.processing.features import Filterbank
from torch import Tensor, nn

from lmac_td.errors import SettingError


@dataclass(frozen=True)
class Features:
    """What one pass of :class:`SpectralFeatures` gives for a batch of B clips.

    Attributes
    ----------
    stft : Tensor, complex (B, frames, bins)
    magnitude : Tensor (B, frames, bins), |stft|
    log_mel : Tensor (B, frames, n_mels), the classifier's input
    """

    stft: Tensor
    magnitude: Tensor
    log_mel: Tensor


class SpectralFeatures(nn.Module):
    """STFT, magnitude and log1p-mel of waveforms, always in float32.

    Arguments
    ---------
    sample_rate : int
        In Hz.
    n_fft : int
        Points of the FFT; bins = n_fft // 2 + 1.
    win_length, hop_length : float
        In milliseconds, as everywhere in SpeechBrain.
    n_mels : int
        Mel filters between 0 Hz and half the sample rate.

    Raises
    ------
    SettingError
        If hop, window and FFT do not fit into each other.

    Example
    -------
    >>> features = SpectralFeatures(16000, 1024, 23.2199, 11.6099, 80)
    >>> out = features(torch.randn(2, 16000))
    >>> out.stft.shape, out.log_mel.shape
    (torch.Size([2, 87, 513]), torch.Size([2, 87, 80]))
    >>> features.istft(out.stft, length=16000).shape
    torch.Size([2, 16000])
    """

    def __init__(self, sample_rate, n_fft, win_length, hop_length, n_mels):
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
        mel_matrix = mel_filters(sample_rate, n_fft, n_mels)
        self.register_buffer("mel_matrix", mel_matrix, persistent=False)
        bands = bands_of_bins(mel_matrix)
        self.register_buffer("bands_of_bins", bands, persistent=False)

    def n_frames(self, n_samples):
        """Number of STFT frames of a signal of ``n_samples``."""
        return n_samples // self.hop_samples + 1

    def stft(self, wavs):
        """(B, T) -> complex (B, frames, bins); frame f is centred on sample f*hop."""
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

    def istft(self, stft, length):
        """Complex (B, frames, bins) -> (B, length)."""
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

    def log_mel(self, magnitude):
        """(B, frames, bins) -> log(1 + mel(magnitude)), (B, frames, n_mels)."""
        with torch.autocast(magnitude.device.type, enabled=False):
            return torch.log1p(magnitude.float() @ self.mel_matrix)

    def forward(self, wavs):
        """(B, T) waveforms -> :class:`Features`."""
        stft = self.stft(wavs)
        magnitude = magnitude_of(stft)
        return Features(stft, magnitude, self.log_mel(magnitude))


def magnitude_of(stft):
    """|z| of complex z, with a gradient that is finite everywhere.

    That of ``abs`` is z / |z|, 0 for silence, but NaN below the normal numbers of
    float32, where a mask may well press a sound.
    """
    if stft.requires_grad:
        stft = stft.where(stft.detach().abs() > 1e-30, 0)
    return stft.abs()


def mel_filters(sample_rate, n_fft, n_mels):
    """SpeechBrain's triangular mel filters as one matrix, (bins, n_mels)."""
    filterbank = Filterbank(
        n_mels=n_mels,
        n_fft=n_fft,
        sample_rate=sample_rate,
        f_max=sample_rate // 2,
        log_mel=False,
    )
    return filterbank(torch.eye(n_fft // 2 + 1).unsqueeze(0))[0]


def bands_of_bins(mel_matrix):
    """How much each band speaks for a bin, (n_mels, bins); every column adds up to 1.

    A gain a band times this is a gain a bin: the mean of the bands that hear the bin,
    weighted by how well they do. Bins that no band hears (0 Hz, half the sample rate,
    gaps between narrow bands) follow the band whose centre is nearest.

    Arguments
    ---------
    mel_matrix : Tensor (bins, n_mels)
        Of :func:`mel_filters`.

    Returns
    -------
    Tensor (n_mels, bins)
    """
    total = mel_matrix.sum(dim=1)
    heard = total > 0
    bands = mel_matrix / total.where(heard, 1.0).unsqueeze(1)
    bins = torch.arange(len(mel_matrix), device=mel_matrix.device).float()
    # Centres of mass; a filter too narrow to meet any bin has none.
    weight = mel_matrix.sum(dim=0)
    centre = (bins @ mel_matrix) / weight
    centre = centre.where(weight > 0, torch.inf)
    nearest = (bins.unsqueeze(1) - centre).abs().argmin(dim=1)
    bands[~heard] = torch.nn.functional.one_hot(nearest, mel_matrix.shape[1])[
        ~heard
    ].to(bands.dtype)
    return bands.T.contiguous()
