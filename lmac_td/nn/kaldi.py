"""Kaldi's log-mel filterbank, batched and differentiable.

The features are those of ``compute-fbank-feats`` in Kaldi, as
``torchaudio.compliance.kaldi`` computes them for one clip: frames of 25 ms every 10 ms
that lie within the clip. The mean of each frame is subtracted, then the frame is
pre-emphasised and windowed. The power of its FFT is filtered by triangular filters of
equal width on the mel scale, and the logarithm is taken. There is no dither, so nothing
is random.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchaudio.compliance.kaldi import get_mel_banks

FRAME_MS = 25.0
HOP_MS = 10.0
PREEMPHASIS = 0.97
LOW_HZ = 20.0


class KaldiFilterbank(nn.Module):
    """Logarithms of mel energies, with a Hann window, always in float32.

    Energies are at least float32's epsilon, as in Kaldi, so that values and gradients
    are finite at digital silence; below this floor the gradient is 0.

    Arguments
    ---------
    sample_rate : int
        In Hz.
    n_mels : int
        Triangular filters between 20 Hz and half the sample rate.

    Example
    -------
    >>> filterbank = KaldiFilterbank(16000, 128)
    >>> filterbank(torch.randn(2, 16000)).shape
    torch.Size([2, 98, 128])
    """

    def __init__(self, sample_rate: int, n_mels: int) -> None:
        super().__init__()
        self.frame_samples = int(sample_rate * FRAME_MS * 0.001)
        self.hop_samples = int(sample_rate * HOP_MS * 0.001)
        self.n_fft = 1 << (self.frame_samples - 1).bit_length()
        window = torch.hann_window(self.frame_samples, periodic=False)
        self.register_buffer("window", window, persistent=False)
        matrix = mel_matrix(sample_rate, self.n_fft, n_mels)
        self.register_buffer("matrix", matrix, persistent=False)

    def n_frames(self, n_samples: int) -> int:
        """Count the frames within a clip of ``n_samples``; 0 if it is too short."""
        return max(0, 1 + (n_samples - self.frame_samples) // self.hop_samples)

    def n_samples(self, n_frames: int) -> int:
        """Count the samples that ``n_frames`` cover."""
        return (n_frames - 1) * self.hop_samples + self.frame_samples

    def forward(self, wavs: Tensor) -> Tensor:
        """Compute log energies (B, frames, n_mels) of waveforms (B, T).

        Raises
        ------
        RuntimeError
            If T is less than one frame.
        """
        with torch.autocast(wavs.device.type, enabled=False):
            frames = wavs.float().unfold(1, self.frame_samples, self.hop_samples)
            frames = frames - frames.mean(dim=2, keepdim=True)
            # The first sample of a frame counts as its own predecessor.
            before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
            frames = (frames - PREEMPHASIS * before) * self.window
            spectrum = torch.fft.rfft(frames, self.n_fft)  # (B, frames, bins)
            # Not abs().square(): the gradient of abs is NaN for subnormal numbers.
            power = spectrum.real.square() + spectrum.imag.square()
            floor = torch.finfo(torch.float32).eps
            return (power @ self.matrix).clamp(min=floor).log()


def mel_matrix(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Compute Kaldi's triangular filters for the bins of an FFT, (bins, n_mels).

    Arguments
    ---------
    sample_rate : int
        In Hz.
    n_fft : int
        Points of the FFT.
    n_mels : int
        Number of filters between 20 Hz and half the sample rate.

    Example
    -------
    >>> mel_matrix(16000, 512, 128).shape
    torch.Size([257, 128])
    """
    # The last three arguments warp frequencies; a factor of 1 means no warping.
    banks, _ = get_mel_banks(
        n_mels, n_fft, float(sample_rate), LOW_HZ, 0.0, 100.0, -500.0, 1.0
    )
    # No filter covers the highest bin.
    return nn.functional.pad(banks, (0, 1)).T.contiguous()
