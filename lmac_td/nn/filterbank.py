"""The learned filterbank of time-domain separation, with perfect reconstruction.

Encoder and decoder are those of Conv-TasNet and SepFormer
(https://arxiv.org/abs/2010.13154): filters of L samples with a stride of s = L / 2
samples, a ReLU, and the transposed convolution. State-dict keys are those of
``speechbrain.lobes.models.dual_path``.

With ``init="perfect"`` the decoder inverts the encoder exactly. Let B = U diag(w) be
N / 2 filters, where U holds the first L columns of the orthonormal DCT-IV of size N / 2
and w is the sine window, for which w²[n] + w²[n + s] = 1. The filters of encoder and
decoder are [B; -B]. For a frame f:

1. the ReLU loses nothing: relu(Bf) - relu(-Bf) = Bf, and the decoder subtracts;
2. the columns of U are orthonormal: Bᵀ B f = diag(w) Uᵀ U diag(w) f = w² f;
3. frames overlap by half: each sample becomes x (w²[n] + w²[n + s]) = x.

As the decoder is linear, decode(m h) + decode((1 - m) h) = x for any mask m.
"""

from __future__ import annotations

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from lmac_td.errors import SettingError
from lmac_td.validation import require_choice


class Encoder(nn.Module):
    """A convolution with a stride of half a kernel, and a ReLU.

    Arguments
    ---------
    kernel_size : int
        Length of the filters, in samples.
    out_channels : int
        Number of filters N.
    in_channels : int
        Channels of the sound; if 1, the input has no channel axis.

    Example
    -------
    >>> Encoder(kernel_size=4, out_channels=64)(torch.randn(2, 1000)).shape
    torch.Size([2, 64, 499])
    """

    def __init__(
        self, kernel_size: int, out_channels: int, in_channels: int = 1
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.conv1d = nn.Conv1d(
            in_channels, out_channels, kernel_size, kernel_size // 2, bias=False
        )

    def forward(self, wavs: Tensor) -> Tensor:
        """Encode wavs (B, T), or (B, in_channels, T), as (B, N, T'), at least 0."""
        if self.in_channels == 1:
            wavs = wavs.unsqueeze(1)
        return F.relu(self.conv1d(wavs))


class Decoder(nn.ConvTranspose1d):
    """A transposed convolution to sound; it keeps the batch axis of a single clip.

    Arguments
    ---------
    in_channels : int
        Number of filters N.
    out_channels : int
        Channels of the sound; if 1, the output has no channel axis.
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

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        bias: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, bias=bias)

    def forward(self, h: Tensor) -> Tensor:
        """Decode h (B, N, T') as sound (B, T), or (B, out_channels, T)."""
        wavs = super().forward(h)
        return wavs.squeeze(1) if self.out_channels == 1 else wavs


class Filterbank(nn.Module):
    """An encoder and a decoder with the same frames.

    Frame m is centred on sample m s; with ``frames="published"`` it begins there. Both
    are always computed in float32: in half precision the reconstruction would not be
    exact.

    Arguments
    ---------
    kernel_size : int
        Length L of the filters, in samples, even. The stride s is L / 2.
    out_channels : int
        Number of filters N.
    init : str
        ``perfect`` (the decoder inverts the encoder; needs N / 2 >= L) or ``random``.
    frames : str
        ``centred``: each sample is in two frames. ``published``: as in the authors'
        release of LMAC-TD, the sound is not padded. Then the first and the last s
        samples are in one frame only, and a last part that fills no frame is lost.

    Raises
    ------
    SettingError
        If kernel_size is odd, or too large for N filters to reconstruct perfectly.

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

    def __init__(
        self,
        kernel_size: int,
        out_channels: int,
        init: str = "perfect",
        frames: str = "centred",
    ) -> None:
        super().__init__()
        if kernel_size < 2 or kernel_size % 2:
            raise SettingError(
                f"kernel_size is {kernel_size}: give --kernel_size an even number from "
                "2"
            )
        require_choice("filterbank_init", init, ("perfect", "random"))
        require_choice("filterbank_frames", frames, ("centred", "published"))
        self.stride = kernel_size // 2
        # Samples of silence before the first frame.
        self.padding = self.stride if frames == "centred" else 0
        self.encoder = Encoder(kernel_size, out_channels)
        self.decoder = Decoder(out_channels, 1, kernel_size, self.stride)
        if init == "perfect":
            filters = perfect_filters(kernel_size, out_channels).unsqueeze(1)
            with torch.no_grad():
                self.encoder.conv1d.weight.copy_(filters)
                self.decoder.weight.copy_(filters)

    def n_frames(self, n_samples: int) -> int:
        """Return T', the number of frames of a clip of T samples.

        It is ceil(T / s) + 1, or floor(T / s) - 1 (and at least 1) if the sound is not
        padded.
        """
        if self.padding:
            return math.ceil(n_samples / self.stride) + 1
        return max(n_samples // self.stride - 1, 1)

    def encode(self, wavs: Tensor) -> Tensor:
        """Encode wavs (B, T) as h (B, N, T')."""
        n_samples = wavs.shape[-1]
        encoded = (self.n_frames(n_samples) + 1) * self.stride
        right = encoded - self.padding - n_samples  # below 0: it fills no frame
        with torch.autocast(wavs.device.type, enabled=False):
            return self.encoder(F.pad(wavs, (self.padding, right)))

    def decode(self, h: Tensor, length: int) -> Tensor:
        """Decode h (B, N, T') as sound (B, length)."""
        with torch.autocast(h.device.type, enabled=False):
            wavs = self.decoder(h)[:, self.padding : self.padding + length]
            missing = length - wavs.shape[1]
            return F.pad(wavs, (0, missing)) if missing else wavs


def perfect_filters(kernel_size: int, out_channels: int) -> Tensor:
    """Compute [B; -B], filters for perfect reconstruction (see the module's formulas).

    Arguments
    ---------
    kernel_size : int
        Length L of the filters, in samples.
    out_channels : int
        Number of filters N, even, N / 2 >= L.

    Returns
    -------
    Tensor (N, L)
        In float64.

    Raises
    ------
    SettingError
        If N is odd or N / 2 < L.

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
            f"encoder_channels is {out_channels}, but perfect reconstruction with a "
            f"kernel_size of {kernel_size} needs an even number from "
            f"{2 * kernel_size}: give --encoder_channels such a number, or "
            "--filterbank_init random"
        )
    n = torch.arange(kernel_size, dtype=torch.float64) + 0.5
    k = torch.arange(half, dtype=torch.float64).unsqueeze(1) + 0.5
    dct_iv = math.sqrt(2 / half) * torch.cos(math.pi / half * k * n)  # (N / 2, L)
    window = torch.sin(math.pi / kernel_size * n)
    filters = dct_iv * window
    return torch.cat([filters, -filters])
