"""The decoders in the geometry of the published code, with its state-dict keys.

For checkpoints that exist. The strides of LMAC-TD's U-Net multiply to 11 082 frames for
a clip of 5 s that has 10 001 and the rest is cut off, so it drifts: late in the clip it
is 0.3 to 0.6 s late. L-MAC's decoders are those of SpeechBrain. All of them fit
classifiers whose four representations halve their channels from each to the next.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from speechbrain.lobes.models.Cnn14 import CNN14PSI, CNN14PSI_stft

from lmac_td.errors import SettingError
from lmac_td.nn.unet import fit, values_of


class PublishedUNet(nn.Module):
    """LMAC-TD's U-Net in the geometry of the authors' release, with its keys.

    Arguments
    ---------
    dim : int
        Channels of the deepest representation; the others have dim / 2, / 4 and / 8.
    out_channels : int
        Channels K of the output, at most the 256 frequencies that the net makes of 80
        mel bands: the frequency axis of its one-channel output is used as channels.

    Example
    -------
    >>> unet = PublishedUNet(dim=16)
    >>> t = 431  # STFT frames of 5 s
    >>> reps = [torch.rand(1, 16 // d, t // p, 80 // p)
    ...         for d, p in ((1, 32), (2, 32), (4, 16), (8, 8))]
    >>> unet(reps, n_samples=80000, n_frames=10001, samples_per_frame=8).shape
    torch.Size([1, 256, 10001])
    """

    def __init__(self, dim, out_channels=256):
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

    def forward(self, representations, n_samples, n_frames, samples_per_frame):
        """Decode, as ``AlignedUNet.forward``; of the numbers, n_frames is used.

        Raises
        ------
        ValueError
            If the shapes of skips differ, or the output has too few frames or
            channels: the geometry was made for clips of 5 s and 80 mel bands.
        """
        reps = [values_of(rep) for rep in representations]
        h = _add_skip(F.relu(self.convt1(reps[0])), F.relu(self.convt2(reps[1])))
        h = _add_skip(F.relu(self.convt3(h)), F.relu(self.convt4(reps[2])))
        h = _add_skip(F.relu(self.convt5(h)), F.relu(self.convt6(reps[3])))
        # Of the costly last layers, only what reaches the frames that are kept.
        n8 = rows_before(self.convt9, n_frames)
        n7 = rows_before(self.convt8, n8)
        h = F.relu(self.convt7(h[:, :, : rows_before(self.convt7, n7)]))
        h = self.last_two(h[:, :, :n7]).squeeze(1)  # (B, time, frequency)
        if h.shape[1] < n_frames or h.shape[2] < self.out_channels:
            raise SettingError(
                f"the published U-Net gives {h.shape[1]} frames of {h.shape[2]} "
                f"channels, {n_frames} of {self.out_channels} are needed: use "
                "geometry: aligned"
            )
        return h[:, :n_frames, : self.out_channels].transpose(1, 2)

    def last_two(self, h):
        """``convt9(convt8(h))``, for a third of the work.

        No layer is between the two, so they are one transposed convolution, whose
        kernel is the transposed convolution of their kernels. It would also include
        what the padding of convt8 cuts off. That changes only the edges, which are
        computed layer by layer.

        Arguments
        ---------
        h : torch.Tensor
            (B, dim / 8, t, f).

        Returns
        -------
        torch.Tensor
            (B, 1, 21 t - 6, 3 f + 13).
        """

        def plain(x):
            return self.convt9(self.convt8(x))

        n_t, n_f = h.shape[2:]
        if n_t < 2 or n_f < 5:
            return plain(h)
        spread = {"stride": self.convt9.stride}
        # In float32: what half precision would round here reaches all outputs.
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
        # Two columns are cut off at each side: they reach seven, which five make.
        left, right = plain(h[..., :5])[..., :7], plain(h[..., -5:])[..., -7:]
        both = torch.cat([left, both[..., 7:-7], right], dim=3)
        # Four rows are cut off at each end: they reach one, which two make.
        first, last = plain(h[:, :, :2])[:, :, :1], plain(h[:, :, -2:])[:, :, -1:]
        return torch.cat([first, both[:, :, 1:-1], last], dim=2)


def rows_before(layer, n_rows):
    """Rows of the input that the first n rows of a transposed convolution depend on.

    Row i of the input begins at row i s - p of the output.

    Arguments
    ---------
    layer : nn.ConvTranspose2d
        Of stride s and padding p along its rows.
    n_rows : int
        Rows n of the output.

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


def _add_skip(x, skip):
    """Add a skip, which must have the shape of x."""
    if x.shape != skip.shape:
        raise SettingError(
            "the skips of the published U-Net have different shapes, "
            f"{tuple(x.shape[2:])} and {tuple(skip.shape[2:])}, for a clip of this "
            "length: use geometry: aligned"
        )
    return x + skip


class _PublishedMask:
    """SpeechBrain's mask decoders, called as ``AlignedUNet.forward`` is.

    Their mask is 4.5 STFT frames (52 ms) late throughout, and ends 6 frames early for a
    clip of 5 s; its last frame is repeated.
    """

    def forward(self, representations, n_frames, **_):
        """Decode, as ``AlignedUNet.forward``; of the numbers, n_frames is used.

        Raises
        ------
        SettingError
            If the shapes of skips differ: the geometry was made for clips of 5 s.
        """
        try:
            h = super().forward(
                list(map(values_of, representations))
            )  # (B, 1, time, bins)
        except RuntimeError as error:
            if "size of tensor" not in str(error):  # out of memory, say
                raise
            raise SettingError(
                "the skips of the published U-Net have different shapes for a clip of "
                "this length: use geometry: aligned"
            ) from error
        h = h.squeeze(1).transpose(1, 2)  # (B, bins, time)
        return fit(h, (n_frames,))


class PublishedStftMask(_PublishedMask, CNN14PSI_stft):
    """L-MAC's decoder of a mask on the STFT, with SpeechBrain's keys.

    Arguments
    ---------
    dim : int
        Channels of the deepest representation; the others have dim / 2, / 4 and / 8.

    Example
    -------
    >>> reps = [torch.rand(1, 16 // d, 431 // p, 80 // p)
    ...         for d, p in ((1, 32), (2, 32), (4, 16), (8, 8))]
    >>> PublishedStftMask(16)(reps, n_frames=431).shape
    torch.Size([1, 513, 431])
    """


class PublishedMelMask(_PublishedMask, CNN14PSI):
    """L-MAC's decoder of a mask on 80 mel bands, with SpeechBrain's keys.

    Arguments
    ---------
    dim : int
        As of :class:`PublishedStftMask`.
    """


def check_published_widths(geometry):
    """Refuse representations that the published geometries were not made for.

    Arguments
    ---------
    geometry : sequence of Geometry

    Raises
    ------
    SettingError
        If there are not four, or their channels do not halve.
    """
    widths = [rep.channels for rep in geometry]
    if len(widths) != 4 or widths != [widths[0] // d for d in (1, 2, 4, 8)]:
        raise SettingError(
            "geometry: published needs four representations that halve their channels, "
            f"not {widths}: use geometry: aligned"
        )
