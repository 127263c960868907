"""The decoders of the published code, with its geometry and state-dict keys.

They are here to load existing checkpoints. LMAC-TD's published U-Net computes 11 082
frames for a clip of 5 s that has 10 001, and the rest is cut off. So its output drifts:
towards the end of the clip it is 0.3 to 0.6 s late. L-MAC's decoders are those of
SpeechBrain. All of them need a classifier with four representations, each with half the
channels of the one before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from speechbrain.lobes.models.Cnn14 import CNN14PSI, CNN14PSI_stft
from torch import Tensor

from lmac_td.contracts import Geometry, Representation
from lmac_td.errors import SettingError
from lmac_td.nn.unet import fit, values_of


class PublishedUNet(nn.Module):
    """LMAC-TD's U-Net with the geometry and state-dict keys of the authors' release.

    Arguments
    ---------
    dim : int
        Channels of the deepest representation; the others have dim / 2, dim / 4 and
        dim / 8.
    out_channels : int
        Channels K of the output. The network upsamples 80 mel bands to 256 frequencies
        in one channel, and the frequency axis is used as channels, so K is at most 256.

    Example
    -------
    >>> unet = PublishedUNet(dim=16)
    >>> t = 431  # STFT frames of 5 s
    >>> reps = [torch.rand(1, 16 // d, t // p, 80 // p)
    ...         for d, p in ((1, 32), (2, 32), (4, 16), (8, 8))]
    >>> unet(reps, n_samples=80000, n_frames=10001, samples_per_frame=8).shape
    torch.Size([1, 256, 10001])
    """

    def __init__(self, dim: int, out_channels: int = 256) -> None:
        super().__init__()
        self.out_channels = out_channels
        half, quarter, eighth, sixteenth = dim // 2, dim // 4, dim // 8, dim // 16
        up = nn.ConvTranspose2d  # in, out, kernel, stride, padding
        self.convt1 = up(dim, quarter, 7, (3, 2), 1)
        self.convt2 = up(half, quarter, 7, (3, 2), 1)
        self.convt3 = up(quarter, quarter, (12, 11), (3, 2), 1)
        self.convt4 = up(quarter, quarter, (7, 7), (5, 4), 1)
        self.convt5 = up(quarter, eighth, 7, (2, 2), 1)
        self.convt6 = up(eighth, eighth, (7, 11), (5, 4), (2, 1))
        self.convt7 = up(eighth, eighth, (4, 3), (2, 2), (0, 5))
        self.convt8 = up(eighth, sixteenth, (10, 7), (3, 1), (4, 2))
        self.convt9 = up(sixteenth, 1, (8, 10), (7, 3), 0)

    def forward(
        self,
        representations: Sequence[Representation | Tensor],
        n_samples: int,
        n_frames: int,
        samples_per_frame: int,
    ) -> Tensor:
        """Decode as ``AlignedUNet.forward``; only n_frames of the numbers is used.

        Raises
        ------
        SettingError
            If the shapes of skips differ, or the output has too few frames or
            channels: the geometry was made for clips of 5 s and 80 mel bands.
        """
        reps = [values_of(rep) for rep in representations]
        h = _add_skip(F.relu(self.convt1(reps[0])), F.relu(self.convt2(reps[1])))
        h = _add_skip(F.relu(self.convt3(h)), F.relu(self.convt4(reps[2])))
        h = _add_skip(F.relu(self.convt5(h)), F.relu(self.convt6(reps[3])))
        # The last layers are costly: compute only the rows that the output needs.
        n8 = rows_before(self.convt9, n_frames)
        n7 = rows_before(self.convt8, n8)
        h = F.relu(self.convt7(h[:, :, : rows_before(self.convt7, n7)]))
        h = self.last_two(h[:, :, :n7]).squeeze(1)  # (B, time, frequency)
        if h.shape[1] < n_frames or h.shape[2] < self.out_channels:
            raise SettingError(
                f"the published U-Net gives {h.shape[1]} frames of {h.shape[2]} "
                f"channels, but {n_frames} of {self.out_channels} are needed: give "
                "--geometry aligned"
            )
        return h[:, :n_frames, : self.out_channels].transpose(1, 2)

    def last_two(self, h: Tensor) -> Tensor:
        """Compute ``convt9(convt8(h))`` with a third of the operations.

        There is no activation between the two layers, so they equal one transposed
        convolution, whose kernel is the transposed convolution of their kernels. This
        ignores the padding of convt8, which matters only at the edges. The edges are
        computed layer by layer.

        Arguments
        ---------
        h : Tensor (B, dim / 8, t, f)

        Returns
        -------
        Tensor (B, 1, 21 t - 6, 3 f + 13)
        """

        def plain(x: Tensor) -> Tensor:
            return self.convt9(self.convt8(x))

        n_t, n_f = h.shape[2:]
        if n_t < 2 or n_f < 5:
            return plain(h)
        spread = {"stride": self.convt9.stride}
        # In float32: a rounding error of the kernel would affect all outputs.
        with torch.autocast("cuda" if h.is_cuda else "cpu", enabled=False):
            weight = self.convt9.weight
            kernel = F.conv_transpose2d(self.convt8.weight, weight, **spread)
            bias = torch.einsum("m,mnij->nij", self.convt8.bias, weight)
        both = F.conv_transpose2d(h, kernel, stride=(3 * 7, 1 * 3))
        both = both[:, :, 4 * 7 :, 2 * 3 :][:, :, : 21 * n_t - 6, : 3 * n_f + 13]
        # The bias of convt8 is the same for all outputs, except at the edges.
        ones = h.new_ones(1, 1, 3 * n_t - 1, n_f + 2)
        both = both + F.conv_transpose2d(
            ones, bias.unsqueeze(0), self.convt9.bias, **spread
        )
        # Padding cuts two columns at each side. They affect seven columns of the
        # output, which depend on five columns of the input.
        left, right = plain(h[..., :5])[..., :7], plain(h[..., -5:])[..., -7:]
        both = torch.cat([left, both[..., 7:-7], right], dim=3)
        # Padding cuts four rows at each end. They affect one row of the output, which
        # depends on two rows of the input.
        first, last = plain(h[:, :, :2])[:, :, :1], plain(h[:, :, -2:])[:, :, -1:]
        return torch.cat([first, both[:, :, 1:-1], last], dim=2)


def rows_before(layer: nn.ConvTranspose2d, n_rows: int) -> int:
    """Count the input rows on which the first n output rows of a layer depend.

    Row i of the input starts at row i s - p of the output, where s is the stride and p
    the padding.

    Arguments
    ---------
    layer : nn.ConvTranspose2d
    n_rows : int
        Number n of output rows.

    Returns
    -------
    int

    Example
    -------
    >>> layer = nn.ConvTranspose2d(1, 1, (5, 1), stride=(3, 1), padding=(1, 0))
    >>> x = torch.rand(1, 1, 20, 1)
    >>> needed = rows_before(layer, 7)
    >>> needed
    3
    >>> torch.allclose(layer(x[:, :, :needed])[:, :, :7], layer(x)[:, :, :7])
    True
    """
    return math.ceil((n_rows + layer.padding[0]) / layer.stride[0])


def _add_skip(x: Tensor, skip: Tensor) -> Tensor:
    """Add a skip connection; its shape must be that of x."""
    if x.shape != skip.shape:
        raise SettingError(
            "the skip connections of the published U-Net have different shapes, "
            f"{tuple(x.shape[2:])} and {tuple(skip.shape[2:])}, for a clip of this "
            "length: give clips of 5 s, or --geometry aligned"
        )
    return x + skip


class _PublishedMask:
    """SpeechBrain's mask decoders with the call of ``AlignedUNet.forward``.

    Their mask is late by 4.5 STFT frames (52 ms). For a clip of 5 s it ends 6 frames
    early, and its last frame is repeated.
    """

    def forward(
        self,
        representations: Sequence[Representation | Tensor],
        n_frames: int,
        **_: int,
    ) -> Tensor:
        """Decode as ``AlignedUNet.forward``; only n_frames of the numbers is used.

        Raises
        ------
        SettingError
            If the shapes of skips differ: the geometry was made for clips of 5 s.
        """
        values = [values_of(rep) for rep in representations]
        try:
            h = super().forward(values)  # (B, 1, time, bins)
        except RuntimeError as error:
            if "size of tensor" not in str(error):  # such as out of memory
                raise
            raise SettingError(
                "the skip connections of the published decoder have different shapes "
                "for a clip of this length: give clips of 5 s, or --geometry aligned"
            ) from error
        h = h.squeeze(1).transpose(1, 2)  # (B, bins, time)
        return fit(h, (n_frames,))


class PublishedStftMask(_PublishedMask, CNN14PSI_stft):
    """L-MAC's decoder for masks on the STFT, with SpeechBrain's state-dict keys.

    Arguments
    ---------
    dim : int
        Channels of the deepest representation; the others have dim / 2, dim / 4 and
        dim / 8.

    Example
    -------
    >>> reps = [torch.rand(1, 16 // d, 431 // p, 80 // p)
    ...         for d, p in ((1, 32), (2, 32), (4, 16), (8, 8))]
    >>> PublishedStftMask(16)(reps, n_frames=431).shape
    torch.Size([1, 513, 431])
    """


class PublishedMelMask(_PublishedMask, CNN14PSI):
    """L-MAC's decoder for masks on 80 mel bands, with SpeechBrain's state-dict keys.

    Arguments
    ---------
    dim : int
        See :class:`PublishedStftMask`.
    """


def check_published_widths(geometry: Sequence[Geometry]) -> None:
    """Refuse representations that do not fit the published decoders.

    Arguments
    ---------
    geometry : sequence of Geometry

    Raises
    ------
    SettingError
        If there are not four, or each does not have half the channels of the one
        before.
    """
    widths = [rep.channels for rep in geometry]
    if len(widths) != 4 or widths != [widths[0] // d for d in (1, 2, 4, 8)]:
        raise SettingError(
            "geometry is published, which needs four representations, each with half "
            f"the channels of the one before, but the channels are {widths}: give "
            "--geometry aligned"
        )
