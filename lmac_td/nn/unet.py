"""A U-Net that decodes a classifier's representations into one more set of channels.

It computes H_d = U(h) of LMAC-TD (eq. 2) and the decoder of L-MAC (figure 5): the
representations, deepest first, become (B, K, T') on the frames of what they join or
mask. How often it doubles time and frequency is planned from the geometry of the
representations, so it fits pyramids (CNNs), grids of tokens of one size (AST) and
sequences (wav2vec 2.0).

It keeps time. A transposed convolution of kernel 4, stride 2 and padding 1 writes
2j - 1 ... 2j + 2 from entry j, centred on 2j + 1/2: the centre of a pair of entries
that was averaged. So entries h samples apart, the first on sample o, become entries
h / 2 apart, the first on sample o - h / 4. Where this is not the grid of the next
representation, as after a strided convolution, it is resampled to it.
"""

import math
from itertools import pairwise

import torch
import torch.nn as nn
import torch.nn.functional as F


class AlignedUNet(nn.Module):
    """A U-Net whose output stands over the sound that it was computed from.

    Arguments
    ---------
    geometry : sequence of Geometry
        Of the representations, deepest first.
    hop_samples : int
        Samples between STFT frames: time is doubled until it is about as fine.
    out_channels : int
        Channels K of the output.
    channels : sequence of int
        Widths of the decoder: the last one after the frequency axis is folded into
        channels, the one before it at the resolution of the shallowest
        representations, and so on; the first one serves all that are deeper.
    normalise : bool
        Bring each representation of each clip to zero mean and unit variance first.

    Example
    -------
    >>> from lmac_td.contracts import Geometry
    >>> geometry = [
    ...     Geometry("deep", 16, 2, hop_samples=640, offset_samples=240),
    ...     Geometry("shallow", 8, 4, hop_samples=320, offset_samples=80),
    ... ]
    >>> unet = AlignedUNet(geometry, 160, out_channels=6, channels=(8, 8, 4))
    >>> reps = [torch.rand(2, 16, 25, 2), torch.rand(2, 8, 50, 4)]
    >>> unet(reps, n_samples=16000, n_frames=2001, samples_per_frame=8).shape
    torch.Size([2, 6, 2001])
    """

    def __init__(
        self,
        geometry,
        hop_samples,
        out_channels=256,
        channels=(512, 512, 256, 256),
        normalise=False,
    ):
        super().__init__()
        self.normalise = normalise
        self.hop_samples = hop_samples
        self.groups = group_by_grid(geometry)  # lists of places, deepest first
        self.grids = [geometry[group[0]] for group in self.groups]
        *widths, flat = widths_of(channels, len(self.groups))
        self.skips = nn.ModuleList(
            nn.Conv2d(geometry[place].channels, width, 1)
            for group, width in zip(self.groups, widths, strict=True)
            for place in group
        )
        self.rises = nn.ModuleList(
            _rise(*grids, *pair)
            for grids, pair in zip(pairwise(self.grids), pairwise(widths), strict=True)
        )
        shallowest = self.grids[-1]
        self.fold = nn.Conv2d(widths[-1], flat, (1, shallowest.frequencies))
        n_ups = max(0, round(math.log2(shallowest.hop_samples / hop_samples)))
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(flat, flat, 4, 2, 1) for _ in range(n_ups)
        )
        self.out = nn.Conv1d(flat, out_channels, 1)
        self.register_load_state_dict_pre_hook(_rename_keys)

    def hidden_layers(self):
        """The convolutions before a ReLU, in the order of the pass."""
        rises = (layer for rise in self.rises for layer in rise)
        return [*self.skips, *rises, self.fold, *self.ups]

    def forward(self, representations, n_samples, n_frames, samples_per_frame):
        """Decode.

        Arguments
        ---------
        representations : sequence of Representation or Tensor
            Each (B, C, time, frequencies), deepest first, as planned.
        n_samples : int
            Samples T of the clip.
        n_frames : int
            Frames T' of the output; frame m is centred on sample m times
            samples_per_frame.
        samples_per_frame : int

        Returns
        -------
        Tensor (B, K, T')
        """
        values = [values_of(rep) for rep in representations]
        if self.normalise:
            values = [F.group_norm(rep, 1) for rep in values]
        skips = [
            F.relu(conv(rep)) for conv, rep in zip(self.skips, values, strict=True)
        ]
        sums = [sum(skips[place] for place in group) for group in self.groups]
        h = sums[0]  # (B, C, time, frequencies)
        for rise, grids, skip in zip(
            self.rises, pairwise(self.grids), sums[1:], strict=True
        ):
            h = _climb(h, rise, *grids, skip.shape[2:]) + skip
        h = F.relu(self.fold(h)).squeeze(3)  # (B, C, time)
        hop, offset = self.grids[-1].hop_samples, self.grids[-1].offset_samples
        # Pooling may drop the end of a clip, and some classifiers pad short clips.
        stft_samples = (n_samples // self.hop_samples + 1) * self.hop_samples
        duration = max(stft_samples, h.shape[2] * hop)
        for up in self.ups:
            hop, offset = hop / 2, offset - hop / 4
            h = fit(F.relu(up(h)), (int(duration // hop),))
        # Pointwise layers and interpolation commute: mix where frames are few.
        h = self.out(h)  # (B, K, time)
        return interpolate(h, n_frames, samples_per_frame / hop, -offset / hop)


def values_of(representation):
    """The tensor (B, channels, time, frequencies) of a Representation or a Tensor."""
    if isinstance(representation, torch.Tensor):
        return representation
    return representation.values


def group_by_grid(geometry):
    """Group neighbouring representations that have the same grid.

    Arguments
    ---------
    geometry : sequence of Geometry

    Returns
    -------
    list of list of int
        Indices of the representations of each grid.

    Example
    -------
    >>> from lmac_td.contracts import Geometry
    >>> group_by_grid([Geometry("", 8, 2, 64, 0), Geometry("", 4, 2, 64, 0),
    ...                Geometry("", 4, 4, 32, 0)])
    [[0, 1], [2]]
    """
    groups = []
    for place, rep in enumerate(geometry):
        grid = (rep.hop_samples, rep.offset_samples, rep.frequencies)
        if groups and groups[-1][0] == grid:
            groups[-1][1].append(place)
        else:
            groups.append((grid, [place]))
    return [places for _, places in groups]


def widths_of(channels, n_grids):
    """The decoder's widths: one for each grid, deepest first, and one after folding.

    Arguments
    ---------
    channels : sequence of int
        The last one is the width after folding. The first is repeated if there are
        fewer than grids.
    n_grids : int

    Returns
    -------
    list of int

    Example
    -------
    >>> widths_of((8, 6, 4, 2), 3), widths_of((8, 6, 4, 2), 1), widths_of((8, 2), 3)
    ([8, 6, 4, 2], [4, 2], [8, 8, 8, 2])
    """
    own = list(channels[-1 - n_grids : -1])
    return [channels[0]] * (n_grids - len(own)) + own + [channels[-1]]


def _doublings(coarse, fine):
    return max(0, round(math.log2(coarse / fine)))


def _rise(deep, shallow, c_in, c_out):
    """Transposed convolutions from the grid of one representation towards the next."""
    in_time = _doublings(deep.hop_samples, shallow.hop_samples)
    in_frequency = _doublings(shallow.frequencies, deep.frequencies)
    layers = nn.ModuleList()
    for step in range(max(1, in_time, in_frequency)):
        doubles = (step < in_time, step < in_frequency)
        layers.append(
            nn.ConvTranspose2d(
                c_in if step == 0 else c_out,
                c_out,
                tuple(4 if double else 3 for double in doubles),
                tuple(2 if double else 1 for double in doubles),
                1,
            )
        )
    return layers


def _climb(h, rise, deep, shallow, sizes):
    """Bring h from one grid to the next, of the given (time, frequencies)."""
    for layer in rise:
        h = F.relu(layer(h))
    hop = deep.hop_samples / 2 ** _doublings(deep.hop_samples, shallow.hop_samples)
    offset = deep.offset_samples - (deep.hop_samples - hop) / 2
    step = shallow.hop_samples / hop
    start = (shallow.offset_samples - offset) / hop
    if abs(step - 1) > 1e-6 or abs(start) > 1e-3:
        h = interpolate(h.transpose(2, 3), sizes[0], step, start).transpose(2, 3)
    if abs(h.shape[3] - sizes[1]) > 1:
        step = h.shape[3] / sizes[1]
        h = interpolate(h, sizes[1], step, (step - 1) / 2)
    return fit(h, sizes)


def _rename_keys(module, state, prefix, *_):
    """Read checkpoints in which the transposed convolutions had other names."""
    for old, new in (("up4", "rises.0.0"), ("up3", "rises.1.0"), ("up", "rises.0.0")):
        for kind in ("weight", "bias"):
            if f"{prefix}{old}.{kind}" in state:
                state[f"{prefix}{new}.{kind}"] = state.pop(f"{prefix}{old}.{kind}")


def init_before_relu(layer):
    """Initialise a convolution, transposed or not, as He et al. 2015 do."""
    fan_in = layer.in_channels
    for size, stride in zip(layer.kernel_size, layer.stride, strict=True):
        # A transposed convolution meets an output with one tap in `stride`; the others
        # have a stride of 1.
        fan_in *= size // stride
    nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_in))
    nn.init.zeros_(layer.bias)


def fit(x, sizes):
    """Repeat the last entry of axes that pooling cut, from the third on.

    As ``F.pad(mode="replicate")``, whose gradient ``torch.compile`` expects in another
    layout than it gets.

    Example
    -------
    >>> fit(torch.tensor([[[1.0, 2.0]]]), (4,))
    tensor([[[1., 2., 2., 2.]]])
    """
    for axis, size in enumerate(sizes, start=2):
        missing = size - x.shape[axis]
        if missing < 0:
            x = x.narrow(axis, 0, size)
        elif missing:
            last = x.narrow(axis, x.shape[axis] - 1, 1)
            x = torch.cat([x, *[last] * missing], dim=axis)
    return x


def interpolate(x, n_entries, step, start=0.0):
    """Read x (..., t) at start + m step, m < n_entries: linear, held at its ends.

    With a step of 2 or more, neighbours are averaged first, so that no entry is lost.

    Example
    -------
    >>> interpolate(torch.tensor([[0.0, 1.0, 4.0]]), 4, 0.5, 0.5)
    tensor([[0.5000, 1.0000, 2.5000, 4.0000]])
    """
    if step >= 2:
        width = 2 * int(step / 2) + 1
        x = F.avg_pool1d(
            x.flatten(0, -2), width, 1, width // 2, count_include_pad=False
        ).view(x.shape)
    last = x.shape[-1] - 1
    position = torch.arange(n_entries, device=x.device, dtype=torch.float64) * step
    position = (position + start).clamp(min=0, max=last)
    left = position.long()
    right = (left + 1).clamp(max=last)
    weight = (position - left).to(x.dtype)
    return torch.lerp(x[..., left], x[..., right], weight)
