"""Measure the positions of a layer's outputs in time and frequency, on noise.

The time axis is the axis that grows with the length of the sound. The hop is the number
of samples between two lengths at which one more entry appears: a chain of convolutions,
poolings and framings with integer strides gives exactly one entry per hop.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from torch import Tensor

from lmac_td.contracts import Geometry, even_shares
from lmac_td.errors import SettingError
from lmac_td.features import LogMel

AXES = ("channels", "time", "frequency")
# Layouts with 4 and with 3 axes, by the axis that grows with the length of the sound.
MAPS = {2: "channels time frequency", 3: "channels frequency time"}
SEQUENCES = {1: "time channels", 2: "channels time"}


@dataclass(frozen=True)
class Layer:
    """The user's description of a layer whose output is a representation.

    Arguments
    ---------
    name : str
        Name of the module.
    layout : str, optional
        The axes after the batch axis, in order: ``channels time frequency``, ``channels
        frequency time``, ``time channels`` or ``channels time``. Measured by default.
    hop_samples : float, optional
        Samples of the waveform between two entries along time. Measured by default.
    offset_samples : float, optional
        The sample on which entry 0 is centred.

    Raises
    ------
    SettingError
        If the layout is unknown, or a number is out of its range.
    """

    name: str
    layout: str | None = None
    hop_samples: float | None = None
    offset_samples: float | None = None

    def __post_init__(self):
        words = None if self.layout is None else str(self.layout).split()
        if words is not None and sorted(words) not in (sorted(AXES), sorted(AXES[:2])):
            raise SettingError(
                f"representations: {self.name} has the layout {self.layout!r}: name "
                "each axis after the batch axis once, as in `channels time frequency` "
                "or `time channels`"
            )
        for name, fits, numbers in (
            ("hop_samples", operator.gt, "above 0"),
            ("offset_samples", operator.ge, "from 0"),
        ):
            value = getattr(self, name)
            is_number = isinstance(value, (int, float)) and math.isfinite(value)
            if value is not None and not (is_number and fits(value, 0)):
                raise SettingError(
                    f"representations: {self.name} has {name} {value!r}: give a number "
                    f"{numbers}, or nothing"
                )


def read_layers(
    representations: str | Sequence[str] | Mapping[str, Mapping | None] | None,
) -> list[Layer]:
    """Read the user's description of each representation.

    Arguments
    ---------
    representations : str, sequence of str, dict of str to dict, or None
        Names of modules, or names with arguments of :class:`Layer`; None for none.

    Returns
    -------
    list of Layer

    Raises
    ------
    SettingError
        If a value has another form.

    Example
    -------
    >>> read_layers({"conv2": {"hop_samples": 320}, "conv1": None})[0].hop_samples
    320
    """
    if isinstance(representations, str):
        representations = [representations]
    if not isinstance(representations, Mapping):
        representations = dict.fromkeys(representations or ())
    known = [field.name for field in fields(Layer)[1:]]
    for name, given in representations.items():
        if not isinstance(given, (Mapping, type(None))):
            raise SettingError(
                f"representations: {name} is {given!r}: give it a dictionary of "
                f"{', '.join(known)}, or nothing"
            )
        unknown = next((key for key in given or {} if key not in known), None)
        if unknown is not None:
            raise SettingError(
                f"representations: {name} has no {unknown!r}: give {', '.join(known)} "
                "or nothing"
            )
    # Yaml reads the names of a Sequential's modules as numbers.
    return [
        Layer(str(name), **(given or {})) for name, given in representations.items()
    ]


def to_map(values: Tensor, layout: str) -> Tensor:
    """Permute the axes of a layer's output to those of a representation.

    Arguments
    ---------
    values : Tensor (B, ...)
    layout : str
        The axes of ``values`` after the batch axis.

    Returns
    -------
    Tensor (B, channels, time, frequency)
        With one frequency if the layout has no frequency axis.

    Example
    -------
    >>> import torch
    >>> to_map(torch.rand(2, 50, 8), "time channels").shape
    torch.Size([2, 8, 50, 1])
    """
    words = layout.split()
    axes = [1 + words.index(axis) for axis in AXES if axis in words]
    values = values.permute(0, *axes)
    return values if values.dim() == 4 else values.unsqueeze(-1)


def locate_layer(
    layer: Layer,
    shape_of: Callable[[int], Sequence[int]],
    lengths: tuple[int, int],
    unit: int,
) -> tuple[str, Geometry]:
    """Measure the layout and the geometry of a layer's output.

    Arguments
    ---------
    layer : Layer
    shape_of : callable
        Maps a number of samples to the shape (B, ...) of the layer's output.
    lengths : (int, int)
        Samples of a short and of a long sound, multiples of ``unit``; equal if the
        network takes clips of one length only.
    unit : int
        Lengths are varied in steps of this many samples: 1, or the hop of the STFT that
        the network takes.

    Returns
    -------
    layout : str
    Geometry
        Entry 0 is centred on its span of one hop, on sample (hop - unit) / 2: the mean
        of the samples, or of the centres of the STFT frames, in this span.

    Raises
    ------
    SettingError
        If the layout or the hop cannot be measured and is not given.
    """
    shapes = [shape_of(length) for length in lengths]
    layout = layer.layout or _measured_layout(layer.name, *shapes)
    words = layout.split()
    if len(words) != len(shapes[0]) - 1:
        raise SettingError(
            f"representations: {layer.name} returns {tuple(shapes[0])}, which is not a "
            f"batch of {layout!r}: give it a layout of {len(shapes[0]) - 1} axes"
        )
    sizes = dict(zip(words, shapes[0][1:], strict=True))
    hop = layer.hop_samples
    if hop is None:
        axis = 1 + words.index("time")
        try:
            hop = _measured_hop(lambda n: shape_of(n)[axis], lengths, unit)
        except _NotRegularError as error:
            raise SettingError(
                f"representations: {layer.name} {error}: give its hop_samples (and "
                "its layout, if another axis is time), or name a layer whose output "
                "has a time axis"
            ) from error
    offset = layer.offset_samples
    return layout, Geometry(
        layer.name,
        sizes["channels"],
        sizes.get("frequency", 1),
        hop,
        max(0.0, (hop - unit) / 2) if offset is None else offset,
    )


def on_mel_bands(geometry: Geometry, mel: LogMel) -> Geometry:
    """Share the mel bands evenly among the entries along frequency, in order.

    Arguments
    ---------
    geometry : Geometry
        The geometry of a layer of a network that takes log(1 + mel).
    mel : LogMel

    Returns
    -------
    Geometry
        With ``bands``.
    """
    bands = even_shares(geometry.frequencies, mel.n_mels)
    return replace(geometry, bands=bands)


def _measured_layout(name: str, short: Sequence[int], long: Sequence[int]) -> str:
    """Find the layout from the shapes for a short and a long sound."""
    growing = [axis for axis in range(1, len(short)) if short[axis] != long[axis]]
    layouts = MAPS if len(short) == 4 else SEQUENCES
    if len(growing) == 1 and growing[0] in layouts:
        return layouts[growing[0]]
    if not growing and len(short) == 4:
        return MAPS[2]
    raise SettingError(
        f"representations: {name} returns {tuple(short)}, and its time axis cannot be "
        "found by its size: give its layout, such as `channels time frequency` or "
        "`time channels`"
    )


class _NotRegularError(Exception):
    """The entries of a layer are not evenly spaced."""


def _measured_hop(
    entries: Callable[[int], int], lengths: tuple[int, int], unit: int
) -> int:
    """Measure the number of samples between two lengths with one more entry each.

    Arguments
    ---------
    entries : callable
        Maps a number of samples to the number of entries along time; non-decreasing.
    lengths : (int, int)
    unit : int
    """
    short, long = lengths
    if short == long:
        raise _NotRegularError(
            "can be measured on sounds of one length (clip_samples) only"
        )
    few, many = entries(short), entries(long)
    if many < few + 3:
        raise _NotRegularError(
            f"has {few} entries along time for {short} samples and {many} for {long}"
        )
    first = _shortest(entries, few + 1, short, long, unit)
    hop = _shortest(entries, few + 2, first, long, unit) - first
    hops = (long - first) // hop
    last = first + hops * hop
    found = entries(last - unit), entries(last)
    if found != (few + hops, few + 1 + hops):
        raise _NotRegularError("has entries along time that are not evenly spaced")
    return hop


def _shortest(
    entries: Callable[[int], int], count: int, low: int, high: int, unit: int
) -> int:
    """Find the shortest length with ``count`` entries; ``low`` has fewer entries."""
    step = unit
    while low + step < high and entries(low + step) < count:
        step *= 2  # short sounds are cheaper than a bisection of the whole span
    high = min(high, low + step)
    while high - low > unit:
        middle = low + (high - low) // (2 * unit) * unit
        if entries(middle) < count:
            low = middle
        else:
            high = middle
    return high
