"""The trained networks of FLINT: attributes, their linear head, and the decoder.

Parekh, Mozharovskyi and d'Alché-Buc, *A Framework to Learn with Interpretation*, 2021.
The attributes Phi(x) are J non-negative numbers, computed from hidden layers of the
classifier. A linear layer maps them to logits, and a decoder maps them to the input.

The layers of the published networks are for images of one size. Here an attribute is
the maximum of a map over time and frequency, so a clip may have any length. The map
says where in a clip the attribute is active.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lmac_td.contracts import (
    Classifier,
    Geometry,
    Representation,
    require_representations,
)
from lmac_td.nn.unet import init_before_relu, resample, values_of

# As L2I decodes: the last three representations.
N_REPRESENTATIONS = 3
# The decoder's first grid and how often it is doubled.
FIRST_GRID = (4, 8)  # time, frequency
DOUBLINGS = 4


class AttributeMaps(nn.Module):
    """Maps of J attributes, from the deepest representations of a classifier.

    Each representation of each clip is normalised, mapped to ``width`` channels, and
    brought to the grid of the shallowest of them. Two convolutions follow.

    Arguments
    ---------
    geometry : sequence of Geometry
        The geometries of the representations, deepest first; the first three
        representations are read.
    n_attributes : int
        J.
    width : int
        Channels of the hidden layers.

    Attributes
    ----------
    grid : Geometry
        The positions of the maps' entries.

    Example
    -------
    >>> import torch
    >>> geometry = [
    ...     Geometry("deep", 16, 2, hop_samples=640, offset_samples=240),
    ...     Geometry("shallow", 8, 4, hop_samples=320, offset_samples=80),
    ... ]
    >>> maps = AttributeMaps(geometry, n_attributes=6, width=8)
    >>> maps([torch.rand(2, 16, 25, 2), torch.rand(2, 8, 50, 4)]).shape
    torch.Size([2, 6, 50, 4])
    """

    def __init__(
        self, geometry: Sequence[Geometry], n_attributes: int, width: int = 64
    ) -> None:
        super().__init__()
        self.geometry = tuple(geometry[:N_REPRESENTATIONS])
        self.grid = self.geometry[-1]
        self.inputs = nn.ModuleList(
            nn.Conv2d(g.channels, width, 1) for g in self.geometry
        )
        self.hidden = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, n_attributes, 1)
        for layer in (*self.inputs, self.hidden, self.out):
            init_before_relu(layer)

    def forward(self, representations: Sequence[Representation | Tensor]) -> Tensor:
        """Compute the maps.

        Arguments
        ---------
        representations : sequence of Representation or Tensor
            Each (B, channels, time, frequencies), deepest first.

        Returns
        -------
        Tensor (B, J, time, frequencies)
            At least 0, on the grid of the third representation, or of the last one.
        """
        values = [values_of(rep) for rep in representations[:N_REPRESENTATIONS]]
        sizes = values[-1].shape[2:]
        hop, offset = self.grid.hop_samples, self.grid.offset_samples
        total = sum(
            resample(layer(F.group_norm(value, 1)), geometry, sizes, hop, offset)
            for layer, value, geometry in zip(
                self.inputs, values, self.geometry, strict=True
            )
        )
        return F.relu(self.out(F.relu(self.hidden(F.relu(total)))))


class AttributeDecoder(nn.Module):
    """The decoder d: from attributes (B, J) to log(1 + |STFT|) of any size.

    Arguments
    ---------
    n_attributes : int
        J.
    width : int
        Channels on the first grid; half as many after each doubling.

    Example
    -------
    >>> import torch
    >>> AttributeDecoder(n_attributes=6, width=8)(torch.rand(2, 6), (87, 513)).shape
    torch.Size([2, 87, 513])
    """

    def __init__(self, n_attributes: int, width: int = 64) -> None:
        super().__init__()
        widths = [max(1, width // 2**step) for step in range(DOUBLINGS + 1)]
        self.first = nn.Linear(n_attributes, width * FIRST_GRID[0] * FIRST_GRID[1])
        self.layers = nn.ModuleList(
            nn.Conv2d(widths[step], widths[step + 1], 3, padding=1)
            for step in range(DOUBLINGS)
        )
        self.out = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, attributes: Tensor, sizes: Sequence[int]) -> Tensor:
        """Decode attributes.

        Arguments
        ---------
        attributes : Tensor (B, J)
        sizes : pair of int
            Frames and bins.

        Returns
        -------
        Tensor (B, frames, bins)
        """
        h = F.relu(self.first(attributes)).unflatten(1, (-1, *FIRST_GRID))
        for layer in self.layers:
            h = F.relu(layer(F.interpolate(h, scale_factor=2)))
        h = F.interpolate(self.out(h), size=tuple(sizes), mode="bilinear")
        return h.squeeze(1)


def build_attribute_maps(
    classifier: Classifier, n_attributes: int, width: int
) -> AttributeMaps:
    """Build the attribute maps for the representations of a classifier.

    Arguments
    ---------
    classifier : Classifier
    n_attributes, width : int
        See :class:`AttributeMaps`.

    Raises
    ------
    SettingError
        If the classifier has no representations.
    """
    require_representations(classifier, "FLINT")
    return AttributeMaps(classifier.geometry, n_attributes, width)


def build_attribute_head(classifier: Classifier, n_attributes: int) -> nn.Linear:
    """Build h, the linear layer from J attributes to the classifier's logits."""
    return nn.Linear(n_attributes, classifier.n_classes)
