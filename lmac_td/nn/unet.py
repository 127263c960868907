"""A U-Net from a classifier's representations to K channels, aligned in time.

It computes H_d = U(h) of LMAC-TD (eq. 2) and is the decoder of L-MAC (figure 5). It
takes the representations, deepest first, and returns (B, K, T') on any grid of frames.
The number of doublings of time and frequency follows from the geometry of the
representations, so the U-Net fits pyramids (CNNs), grids of tokens of one size (AST)
and sequences (wav2vec 2.0).

The output is aligned in time with the sound. A transposed convolution of kernel 4,
stride 2 and padding 1 writes the entries 2j - 1 ... 2j + 2 from entry j. Their centre
is 2j + 1/2, which is also the centre of the two entries that a pooling by two averages.
So a grid with a hop of h samples and the first entry on sample o becomes a grid with a
hop of h / 2 and the first entry on sample o - h / 4. If the next representation has
another grid, as after a strided convolution, the result is resampled to that grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from lmac_td.contracts import Geometry, Representation


class AlignedUNet(nn.Module):
    """A U-Net whose output is aligned in time with the sound.

    Arguments
    ---------
    geometry : sequence of Geometry
        The geometries of the representations, deepest first.
    hop_samples : int
        Samples between STFT frames: time is doubled until it is about as fine.
    out_channels : int
        Channels K of the output.
    channels : sequence of int
        Widths of the decoder. The last one is the width after the frequency axis is
        folded into channels, the one before it is the width on the grid of the
        shallowest representations, and so on. The first one is repeated for all deeper
        grids.
    normalise : bool
        Normalise each representation of each clip to zero mean and unit variance first.

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
        geometry: Sequence[Geometry],
        hop_samples: int,
        out_channels: int = 256,
        channels: Sequence[int] = (512, 512, 256, 256),
        normalise: bool = False,
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.hop_samples = hop_samples
        self.groups = group_by_grid(geometry)  # lists of indices, deepest first
        self.grids = [geometry[group[0]] for group in self.groups]
        *widths, flat = widths_of(channels, len(self.groups))
        self.skips = nn.ModuleList(
            nn.Conv2d(geometry[index].channels, width, 1)
            for group, width in zip(self.groups, widths, strict=True)
            for index in group
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

    def hidden_layers(self) -> list[nn.Module]:
        """List the convolutions before a ReLU, in the order of the pass."""
        rises = (layer for rise in self.rises for layer in rise)
        return [*self.skips, *rises, self.fold, *self.ups]

    def forward(
        self,
        representations: Sequence[Representation | Tensor],
        n_samples: int,
        n_frames: int,
        samples_per_frame: int,
    ) -> Tensor:
        """Decode representations.

        Arguments
        ---------
        representations : sequence of Representation or Tensor
            Each (B, C, time, frequencies), deepest first, with the planned geometry.
        n_samples : int
            Number T of samples of the clip.
        n_frames : int
            Number T' of frames of the output.
        samples_per_frame : int
            Hop of the output: frame m is centred on sample m times samples_per_frame.

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
        sums = [sum(skips[index] for index in group) for group in self.groups]
        h = sums[0]  # (B, C, time, frequencies)
        for rise, grids, skip in zip(
            self.rises, pairwise(self.grids), sums[1:], strict=True
        ):
            h = _climb(h, rise, *grids, skip.shape[2:]) + skip
        h = F.relu(self.fold(h)).squeeze(3)  # (B, C, time)
        hop, offset = self.grids[-1].hop_samples, self.grids[-1].offset_samples
        # Pooling may drop the end of a clip, and some classifiers pad short clips: the
        # longer of the two durations counts.
        stft_samples = (n_samples // self.hop_samples + 1) * self.hop_samples
        duration = max(stft_samples, h.shape[2] * hop)
        for up in self.ups:
            hop, offset = hop / 2, offset - hop / 4
            h = fit(F.relu(up(h)), (int(duration // hop),))
        # Pointwise layers and interpolation commute: mix channels while there are few
        # frames.
        h = self.out(h)  # (B, K, time)
        return interpolate(h, n_frames, samples_per_frame / hop, -offset / hop)


def values_of(representation: Representation | Tensor) -> Tensor:
    """Return the tensor (B, channels, time, frequencies) of a representation."""
    if isinstance(representation, Tensor):
        return representation
    return representation.values


def group_by_grid(geometry: Sequence[Geometry]) -> list[list[int]]:
    """Group neighbouring representations that have the same grid.

    Arguments
    ---------
    geometry : sequence of Geometry

    Returns
    -------
    list of list of int
        Indices of the representations on each grid.

    Example
    -------
    >>> from lmac_td.contracts import Geometry
    >>> group_by_grid([Geometry("", 8, 2, 64, 0), Geometry("", 4, 2, 64, 0),
    ...                Geometry("", 4, 4, 32, 0)])
    [[0, 1], [2]]
    """
    groups = []
    for index, rep in enumerate(geometry):
        grid = (rep.hop_samples, rep.offset_samples, rep.frequencies)
        if groups and groups[-1][0] == grid:
            groups[-1][1].append(index)
        else:
            groups.append((grid, [index]))
    return [indices for _, indices in groups]


def widths_of(channels: Sequence[int], n_grids: int) -> list[int]:
    """List the decoder's widths: one per grid, deepest first, and one after folding.

    Arguments
    ---------
    channels : sequence of int
        The last one is the width after folding. The first one is repeated if there are
        fewer widths than grids.
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


def _doublings(coarse: float, fine: float) -> int:
    """Count the doublings from a coarse to about a fine resolution, at least 0."""
    return max(0, round(math.log2(coarse / fine)))


def _rise(deep: Geometry, shallow: Geometry, c_in: int, c_out: int) -> nn.ModuleList:
    """Build the transposed convolutions from one grid to about the next."""
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


def _climb(
    h: Tensor,
    rise: nn.ModuleList,
    deep: Geometry,
    shallow: Geometry,
    sizes: Sequence[int],
) -> Tensor:
    """Upsample h from one grid to the next, which has sizes (time, frequencies)."""
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
    """Rename the keys of older checkpoints of the transposed convolutions."""
    for old, new in (("up4", "rises.0.0"), ("up3", "rises.1.0"), ("up", "rises.0.0")):
        for kind in ("weight", "bias"):
            if f"{prefix}{old}.{kind}" in state:
                state[f"{prefix}{new}.{kind}"] = state.pop(f"{prefix}{old}.{kind}")


def init_before_relu(layer: nn.Module) -> None:
    """Initialise a convolution or transposed convolution as He et al. (2015)."""
    fan_in = layer.in_channels
    for size, stride in zip(layer.kernel_size, layer.stride, strict=True):
        # In a transposed convolution, one tap in `stride` contributes to an output.
        # The other convolutions here have a stride of 1.
        fan_in *= size // stride
    nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_in))
    nn.init.zeros_(layer.bias)


def init_at_level(layer: nn.Conv1d, level: float) -> None:
    """Initialise a pointwise convolution of inputs of unit power to an output level.

    Arguments
    ---------
    layer : nn.Conv1d
        Of kernel size 1.
    level : float
        Standard deviation of the output.
    """
    nn.init.normal_(layer.weight, std=level / math.sqrt(layer.in_channels))
    nn.init.zeros_(layer.bias)


def resample(
    x: Tensor,
    geometry: Geometry,
    sizes: Sequence[int],
    hop_samples: float,
    offset_samples: float,
) -> Tensor:
    """Bring the values of a representation to another grid, by interpolation.

    Arguments
    ---------
    x : Tensor (B, channels, time, frequencies)
    geometry : Geometry
        The positions of its entries.
    sizes : pair of int
        Entries of the new grid, along time and frequency. The frequencies of both
        grids cover the same band evenly.
    hop_samples, offset_samples : float
        Samples between entries of the new grid along time, and the sample on which the
        first one is centred.

    Returns
    -------
    Tensor (B, channels, time, frequencies)
        Of ``sizes``.

    Example
    -------
    >>> geometry = Geometry("", 1, 2, hop_samples=4, offset_samples=0)
    >>> x = torch.tensor([[[[0.0, 0.0], [4.0, 4.0]]]])
    >>> resample(x, geometry, (3, 1), 2, 0).flatten()
    tensor([0., 2., 4.])
    """
    step, start = hop_samples / geometry.hop_samples, offset_samples
    start = (start - geometry.offset_samples) / geometry.hop_samples
    x = interpolate(x.transpose(2, 3), sizes[0], step, start).transpose(2, 3)
    step = x.shape[3] / sizes[1]
    return interpolate(x, sizes[1], step, (step - 1) / 2)


def fit(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Cut axes to sizes, or repeat their last entry, from the third axis on.

    ``F.pad(mode="replicate")`` does the same, but its gradient does not have the memory
    layout that ``torch.compile`` expects.

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


def interpolate(x: Tensor, n_entries: int, step: float, start: float = 0.0) -> Tensor:
    """Interpolate x (..., t) linearly at the positions start + m step, m < n_entries.

    Positions outside of x take its first or last entry. With a step of 2 or more,
    neighbours are averaged first, so that no entry is lost.

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
