"""Measure the positions of a layer's outputs in time and frequency, on noise.

The axis of time is the one that grows with the length of the sound. The hop is the
number of samples between two lengths at which one more entry appears: a chain of
convolutions, poolings and framings with whole strides gives one entry a hop, exactly.
"""

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from lmac_td.contracts import Geometry, even_shares
from lmac_td.errors import SettingError

AXES = ("channels", "time", "frequency")
# Layouts of 4 and of 3 axes, by the axis that grows with the length of the sound.
MAPS = {2: "channels time frequency", 3: "channels frequency time"}
SEQUENCES = {1: "time channels", 2: "channels time"}


@dataclass(frozen=True)
class Layer:
    """What the user gives about a layer whose output is a representation.

    Arguments
    ---------
    name : str
        Of the module.
    layout : str, optional
        The axes after the batch, in order: ``channels time frequency``, ``channels
        frequency time``, ``time channels``, ``channels time``. Measured by default.
    hop_samples : float, optional
        Samples of the waveform between two entries along time. Measured by default.
    offset_samples : float, optional
        The sample on which entry 0 is centred.

    Raises
    ------
    SettingError
        If the layout is not one of these, or a number is out of its range.
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
                "each axis after the batch once, as in `channels time frequency` or "
                "`time channels`"
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


def read_layers(representations):
    """Read what the user gives about each representation.

    Arguments
    ---------
    representations : str, sequence of str, dict of str to dict, or None
        Names of modules, or names and arguments of :class:`Layer`; None for none.

    Returns
    -------
    list of Layer

    Raises
    ------
    SettingError
        If something else is given.

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


def to_map(values, layout):
    """Bring a layer's output into the order of axes of a representation.

    Arguments
    ---------
    values : Tensor (B, ...)
    layout : str
        Its axes after the batch.

    Returns
    -------
    Tensor (B, channels, time, frequency)
        With one frequency where the layout has none.

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


def locate_layer(layer, shape_of, lengths, unit):
    """Measure the positions of a layer's entries.

    Arguments
    ---------
    layer : Layer
    shape_of : callable
        Maps a number of samples to the shape (B, ...) of the layer's output for them.
    lengths : (int, int)
        A short and a long sound, samples, multiples of ``unit``; equal where the
        network takes clips of one length only.
    unit : int
        Samples by which lengths are varied: 1, or the hop of the STFT that the network
        takes.

    Returns
    -------
    layout : str
    Geometry
        Entry 0 is centred on the span of one hop that it covers, (hop - unit) / 2:
        the mean of the samples, or of the centred STFT frames, in it.

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
                "its layout, if its axis of time is another), or name a layer that "
                "keeps time"
            ) from error
    offset = layer.offset_samples
    return layout, Geometry(
        layer.name,
        sizes["channels"],
        sizes.get("frequency", 1),
        hop,
        max(0.0, (hop - unit) / 2) if offset is None else offset,
    )


def on_mel_bands(geometry, mel):
    """Let the entries along frequency share mel bands evenly, in order.

    Arguments
    ---------
    geometry : Geometry
        Of a layer over log(1 + mel).
    mel : LogMel

    Returns
    -------
    Geometry
        With ``bands``.
    """
    bands = even_shares(geometry.frequencies, mel.n_mels)
    return replace(geometry, bands=bands)


def _measured_layout(name, short, long):
    """The axis that grows is time."""
    growing = [axis for axis in range(1, len(short)) if short[axis] != long[axis]]
    layouts = MAPS if len(short) == 4 else SEQUENCES
    if len(growing) == 1 and growing[0] in layouts:
        return layouts[growing[0]]
    if not growing and len(short) == 4:
        return MAPS[2]
    raise SettingError(
        f"representations: {name} returns {tuple(short)}, and its axis of time cannot "
        "be found by its size: give its layout, such as `channels time frequency` or "
        "`time channels`"
    )


class _NotRegularError(Exception):
    """The entries of a layer are not evenly spaced."""


def _measured_hop(entries, lengths, unit):
    """Samples between two lengths at which one more entry appears.

    Arguments
    ---------
    entries : callable
        Maps samples to entries along time; non-decreasing.
    lengths : (int, int)
    unit : int
    """
    short, long = lengths
    if short == long:
        raise _NotRegularError("is seen on sounds of one length (clip_samples) only")
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


def _shortest(entries, count, low, high, unit):
    """The shortest sound with ``count`` entries, by bisection; ``low`` has fewer."""
    step = unit
    while low + step < high and entries(low + step) < count:
        step *= 2  # short sounds cost less than halving the whole span
    high = min(high, low + step)
    while high - low > unit:
        middle = low + (high - low) // (2 * unit) * unit
        if entries(middle) < count:
            low = middle
        else:
            high = middle
    return high
