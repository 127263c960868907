"""A small network from log-mel, representations and a class to scores.

It is a U-Net at half the resolution of the log-mel spectrogram. The representations of
the classifier enter at the bottom, and the class scales and shifts the channels there
(FiLM; Perez et al., 2018). With a width of 16 it has about 65 000 parameters for a
narrow CNN14.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmac_td.contracts import Geometry, Representation
from lmac_td.nn.unet import fit, resample, values_of

# The bottom of the U-Net has one entry for 8 frames and 8 bands.
BOTTOM = 8
# Scores of the mask are about this much larger than the network's outputs.
SCALE = 4.0


class ScoreNetwork(nn.Module):
    """Score the bands of a log-mel spectrogram for a class.

    Arguments
    ---------
    geometry : sequence of Geometry
        The geometries of the classifier's representations; may be empty.
    n_classes : int
        Number of classes C.
    hop_samples : int
        Samples between frames.
    width : int
        Channels at half resolution; twice as many below.
    n_maps : int
        Further maps beside the log-mel, such as a gradient.

    Example
    -------
    >>> geometry = [Geometry("block", 6, 4, hop_samples=640, offset_samples=240)]
    >>> net = ScoreNetwork(geometry, n_classes=3, hop_samples=160, width=4)
    >>> net(
    ...     torch.rand(2, 101, 40), [torch.rand(2, 6, 25, 4)], torch.tensor([0, 2])
    ... ).shape
    torch.Size([2, 101, 40])
    """

    def __init__(
        self,
        geometry: Sequence[Geometry],
        n_classes: int,
        hop_samples: int,
        width: int = 16,
        n_maps: int = 0,
    ) -> None:
        super().__init__()
        self.geometry = tuple(geometry)
        self.hop_samples = hop_samples
        wide = 2 * width
        self.down1 = nn.Conv2d(3 + 2 * n_maps, width, 3, padding=1)
        self.down2 = nn.Conv2d(width, wide, 3, padding=1)
        self.down3 = nn.Conv2d(wide, wide, 3, padding=1)
        self.skips = nn.ModuleList(nn.Conv2d(g.channels, wide, 1) for g in geometry)
        self.film = nn.Embedding(n_classes, 2 * wide)
        nn.init.zeros_(self.film.weight)
        self.middle1 = nn.Conv2d(wide, wide, 3, padding=1)
        self.middle2 = nn.Conv2d(wide, wide, 3, padding=1)
        self.up2 = nn.Conv2d(wide, wide, 3, padding=1)
        self.up1 = nn.Conv2d(wide, width, 3, padding=1)
        self.last = nn.Conv2d(wide, width, 3, padding=1)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(
        self,
        log_mel: Tensor,
        representations: Sequence[Representation | Tensor],
        target: Tensor,
        maps: Tensor | None = None,
    ) -> Tensor:
        """Score each frame and band.

        Arguments
        ---------
        log_mel : Tensor (B, frames, bands)
        representations : sequence of Representation or Tensor
            Each (B, channels, time, frequencies), with the planned geometry.
        target : Tensor (B,), int64
            Indices of the classes.
        maps : Tensor (B, n_maps, frames, bands), optional

        Returns
        -------
        Tensor (B, frames, bands)
        """
        frames, bands = log_mel.shape[1:]
        x = normalised(log_mel.unsqueeze(1))
        x = x if maps is None else torch.cat([x, maps], dim=1)
        # Both dimensions must be multiples of 8, so that halving loses no entry.
        x = fit(x, (round_up(frames), round_up(bands)))
        height = torch.linspace(-1, 1, x.shape[3] // 2, device=x.device)
        height = height.expand(len(x), 1, x.shape[2] // 2, -1)
        x = torch.cat([F.avg_pool2d(x, 2), F.max_pool2d(x, 2), height], dim=1)
        half = F.relu(self.down1(x))
        quarter = F.relu(self.down2(F.avg_pool2d(half, 2)))
        h = self.down3(F.avg_pool2d(quarter, 2))
        h = h + self.decoded(representations, h.shape[2:])
        scale, shift = self.film(target)[:, :, None, None].chunk(2, dim=1)
        h = F.relu(self.middle1(F.relu(h * (1 + scale) + shift)))
        h = h + F.relu(self.middle2(h))
        h = F.relu(self.up2(doubled(h) + quarter))
        h = F.relu(self.up1(doubled(h)))
        h = F.relu(self.last(torch.cat([h, half], dim=1)))
        scores = SCALE * self.out(h)
        return doubled(scores)[:, 0, :frames, :bands]

    def decoded(
        self, representations: Sequence[Representation | Tensor], sizes: Sequence[int]
    ) -> Tensor | int:
        """Bring all representations to the grid of the bottom and add them up.

        Returns
        -------
        Tensor (B, 2 width, time, frequencies)
            0 without representations.
        """
        total = 0
        hop = BOTTOM * self.hop_samples
        offset = (BOTTOM - 1) / 2 * self.hop_samples  # of the mean of 8 frames
        for conv, geometry, rep in zip(
            self.skips, self.geometry, representations, strict=True
        ):
            h = conv(F.group_norm(values_of(rep), 1))
            total = total + resample(h, geometry, sizes, hop, offset)
        return total


def normalised(x: Tensor) -> Tensor:
    """Give each map (B, 1, t, f) zero mean and unit variance."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) / (x.std(dim=(2, 3), keepdim=True, correction=0) + 1e-5)


def doubled(x: Tensor) -> Tensor:
    """Double both axes by linear interpolation."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def round_up(n: int) -> int:
    """Return the next multiple of 8 from n on."""
    return -(-n // BOTTOM) * BOTTOM
