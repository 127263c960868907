"""The learned filterbank of time-domain separation, and one that loses nothing.

Encoder and decoder are those of Conv-TasNet and SepFormer
(https://arxiv.org/abs/2010.13154): filters of L samples every s = L / 2 samples, a
ReLU, and the transposed convolution. Keys are those of
``speechbrain.lobes.models.dual_path``.

With ``init="perfect"`` the pair reconstructs its input exactly. Let B = U diag(w) hold
N / 2 filters, U the first L columns of the orthonormal DCT-IV of size N / 2 and w the
sine window, for which w²[n] + w²[n + s] = 1; the encoder holds [B; -B], the decoder
the same. For a frame f:

1. the ReLU loses nothing: relu(Bf) - relu(-Bf) = Bf, and the decoder subtracts;
2. the columns of U are orthonormal: Bᵀ B f = diag(w) Uᵀ U diag(w) f = w² f;
3. frames overlap by half: every sample is x (w²[n] + w²[n + s]) = x.

As the decoder is linear, decode(m h) + decode((1 - m) h) = x for any mask m.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from lmac_td.errors import SettingError


class Encoder(nn.Module):
    """Convolution with a stride of half a kernel, and a ReLU.

    Arguments
    ---------
    kernel_size : int
        Length of the filters, in samples.
    out_channels : int
        Number of filters N.
    in_channels : int
        Channels of the sound; with 1 the input has no channel axis.

    Example
    -------
    >>> Encoder(kernel_size=4, out_channels=64)(torch.randn(2, 1000)).shape
    torch.Size([2, 64, 499])
    """

    def __init__(self, kernel_size, out_channels, in_channels=1):
        super().__init__()
        self.in_channels = in_channels
        self.conv1d = nn.Conv1d(
            in_channels, out_channels, kernel_size, kernel_size // 2, bias=False
        )

    def forward(self, wavs):
        """Map wavs (B, T), or (B, in_channels, T), to (B, N, T') non-negative."""
        if self.in_channels == 1:
            wavs = wavs.unsqueeze(1)
        return F.relu(self.conv1d(wavs))


class Decoder(nn.ConvTranspose1d):
    """Transposed convolution back to sound; keeps the batch axis of a single clip.

    Arguments
    ---------
    in_channels : int
        Number of filters N.
    out_channels : int
        Channels of the sound; with 1 the output has no channel axis.
    kernel_size : int
        Length of the filters, in samples.
    stride : int
        Samples between frames.
    bias : bool
        Whether a constant is added.

    Example
    -------
    >>> Decoder(64, 1, kernel_size=4, stride=2)(torch.randn(1, 64, 499)).shape
    torch.Size([1, 1000])
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride, bias=False):
        super().__init__(in_channels, out_channels, kernel_size, stride, bias=bias)

    def forward(self, h):
        """Map h (B, N, T') to sound (B, T), or (B, out_channels, T)."""
        wavs = super().forward(h)
        return wavs.squeeze(1) if self.out_channels == 1 else wavs


class Filterbank(nn.Module):
    """Encoder and decoder on one grid of frames: frame m is centred on sample m s.

    Never autocast: half precision would lose what is to be reconstructed.

    Arguments
    ---------
    kernel_size : int
        Length L of the filters, in samples, even. The stride s is L / 2.
    out_channels : int
        Number of filters N.
    init : str
        ``perfect`` (decode inverts encode, needs N / 2 >= L) or ``random``.

    Raises
    ------
    ValueError
        If kernel_size is odd, or too long for the filters to span a frame.

    Example
    -------
    >>> bank = Filterbank(kernel_size=16, out_channels=64)
    >>> wavs = torch.randn(1, 1001)
    >>> h = bank.encode(wavs)
    >>> h.shape
    torch.Size([1, 64, 127])
    >>> torch.allclose(bank.decode(h, 1001), wavs, atol=1e-5)
    True
    """

    def __init__(self, kernel_size, out_channels, init="perfect"):
        super().__init__()
        if kernel_size < 2 or kernel_size % 2:
            raise SettingError(f"kernel_size is {kernel_size}: give an even number")
        if init not in ("perfect", "random"):
            raise SettingError(f"filterbank_init is {init!r}: give perfect or random")
        self.stride = kernel_size // 2
        self.encoder = Encoder(kernel_size, out_channels)
        self.decoder = Decoder(out_channels, 1, kernel_size, self.stride)
        if init == "perfect":
            filters = perfect_filters(kernel_size, out_channels).unsqueeze(1)
            with torch.no_grad():
                self.encoder.conv1d.weight.copy_(filters)
                self.decoder.weight.copy_(filters)

    def n_frames(self, n_samples):
        """Return T' = ceil(T / s) + 1, the frames of a clip of T samples."""
        return math.ceil(n_samples / self.stride) + 1

    def encode(self, wavs):
        """Return h (B, N, T') for wavs (B, T); every sample lies in two frames."""
        n_samples = wavs.shape[-1]
        right = self.n_frames(n_samples) * self.stride - n_samples
        with torch.autocast(wavs.device.type, enabled=False):
            return self.encoder(F.pad(wavs, (self.stride, right)))

    def decode(self, h, length):
        """Return the sound (B, length) of h (B, N, T')."""
        with torch.autocast(h.device.type, enabled=False):
            return self.decoder(h)[:, self.stride : self.stride + length]


def perfect_filters(kernel_size, out_channels):
    """Return [B; -B], the filters of a pair that reconstructs perfectly.

    Arguments
    ---------
    kernel_size : int
        Length L of the filters, in samples.
    out_channels : int
        Number of filters N, even, N / 2 >= L.

    Returns
    -------
    torch.Tensor
        (N, L), float64.

    Raises
    ------
    ValueError
        If N / 2 filters cannot span L samples.

    Example
    -------
    >>> filters = perfect_filters(4, 16)
    >>> w2 = (filters.T @ filters).diagonal() / 2  # both halves: twice w²
    >>> torch.allclose(w2[:2] + w2[2:], torch.ones(2, dtype=torch.float64))
    True
    """
    half = out_channels // 2
    if out_channels % 2 or half < kernel_size:
        raise SettingError(
            f"{out_channels} filters (encoder_channels) cannot reconstruct from a "
            f"kernel_size of {kernel_size}: give an even number of at least "
            f"{2 * kernel_size}, or filterbank_init random"
        )
    n = torch.arange(kernel_size, dtype=torch.float64) + 0.5
    k = torch.arange(half, dtype=torch.float64).unsqueeze(1) + 0.5
    dct_iv = math.sqrt(2 / half) * torch.cos(math.pi / half * k * n)  # (N / 2, L)
    window = torch.sin(math.pi / kernel_size * n)
    filters = dct_iv * window
    return torch.cat([filters, -filters])
