"""What one batch of explanations offers to the metrics."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

# Fields that are given together, by the name that ``Metric.needs`` uses.
NEEDS = {
    "sources": ("magnitude", "target", "target_mag", "other_mag"),
    "stft_mask": ("mask",),
    "equal_size": ("p_kept", "p_removed"),
    "equal_amplitude": ("p_kept_amplitude", "p_removed_amplitude"),
    "second_classifier": (
        "second_x",
        "second_in",
        "second_out",
        "second_agrees_x",
        "second_agrees_in",
    ),
    "frame_times": ("sample_rate", "hop_samples"),
    "surrogate": ("surrogate_logits",),
}


@dataclass(frozen=True)
class ScoreInputs:
    """What can be measured of one batch of B explanations.

    Attributes
    ----------
    explained : Tensor (B,), int64
        The classes that are explained: decided by the classifier, or asked for.
    p_x, p_in, p_out : Tensor (B, C)
        Probabilities of the mixture, of what is kept and of what is removed.
    wavs, interpretation, residual : Tensor (B, T)
        The mixture, what is kept and what is removed.
    attribution : Tensor (B, n, f)
        log1p|STFT(interpretation)|.
    mask : Tensor (B, ...) or None
        The mask on the STFT, of a method that has one.
    magnitude : Tensor (B, n, f) or None
        |STFT| of the mixtures. This and the next three are None where the sources are
        unknown, or where nothing is mixed in.
    target : Tensor (B, T) or None
        The target as it is in the mixture.
    target_mag, other_mag : Tensor (B, n, f) or None
        |STFT| of the target and of the interference.
    p_kept, p_removed : Tensor (B, n_sizes) or None
        Probability of the explained class when the interpretation is cut to each of
        :data:`~lmac_td.metrics.curves.SIZES`, and those bins are kept, or removed.
    p_kept_amplitude, p_removed_amplitude : Tensor (B, n_sizes) or None
        The same, with sizes that are shares of the amplitude, not of the energy.
    second_x, second_in, second_out : Tensor (B,) or None
        A second classifier's probability of the explained class for the mixture, for
        what is kept and for what is removed.
    second_agrees_x, second_agrees_in : Tensor (B,) or None
        Whether it decides the explained class, for the mixture and for what is kept.
    surrogate_logits : Tensor (B, C) or None
        The logits of the method's surrogate, if it has one.
    threshold : float or None
        Threshold of a tag; None for one class per clip.
    n_samples : Tensor (B,), int64, or None
        Samples of each clip before padding, which does not count; None counts all.
    sample_rate, hop_samples : int or None
        Frame f of an STFT is centred on sample f · hop_samples.

    Raises
    ------
    ValueError
        Names fields that must be given together, or do not have the same shape.
    """

    explained: Tensor
    p_x: Tensor
    p_in: Tensor
    p_out: Tensor
    wavs: Tensor
    interpretation: Tensor
    residual: Tensor
    attribution: Tensor
    mask: Tensor | None = None
    magnitude: Tensor | None = None
    target: Tensor | None = None
    target_mag: Tensor | None = None
    other_mag: Tensor | None = None
    p_kept: Tensor | None = None
    p_removed: Tensor | None = None
    p_kept_amplitude: Tensor | None = None
    p_removed_amplitude: Tensor | None = None
    second_x: Tensor | None = None
    second_in: Tensor | None = None
    second_out: Tensor | None = None
    second_agrees_x: Tensor | None = None
    second_agrees_in: Tensor | None = None
    surrogate_logits: Tensor | None = None
    threshold: float | None = None
    n_samples: Tensor | None = None
    sample_rate: int | None = None
    hop_samples: int | None = None
    _computed: dict = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self):
        for names in NEEDS.values():
            if len({getattr(self, name) is None for name in names}) > 1:
                raise ValueError(f"{' and '.join(names)} must be given together.")
        if self.target is not None:
            self._require_shape_of("wavs", "target")
            self._require_shape_of(
                "attribution", "magnitude", "target_mag", "other_mag"
            )

    def _require_shape_of(self, name, *others):
        shape = getattr(self, name).shape
        for other in others:
            if getattr(self, other).shape != shape:
                raise ValueError(
                    f"{other} and {name} must have the same shape, not "
                    f"{tuple(getattr(self, other).shape)} and {tuple(shape)}."
                )

    def __len__(self):
        return len(self.p_x)

    def offers(self, need: str) -> bool:
        """Return whether the batch has what ``need`` (see ``Metric.needs``) names."""
        return all(getattr(self, name) is not None for name in NEEDS[need])

    def once(self, function: Callable[["ScoreInputs"], Any]) -> Any:
        """Cache ``function(self)`` per batch, for what several metrics share."""
        if function not in self._computed:
            self._computed[function] = function(self)
        return self._computed[function]

    @property
    def n_frames(self) -> Tensor | None:
        """(B,) frames of each clip before padding: its share of T, rounded up."""
        if self.n_samples is None:
            return None
        length = self.wavs.shape[1]
        return (self.n_samples * self.attribution.shape[1] + length - 1) // length

    @property
    def zero_maps(self) -> Tensor:
        """(B,) where the interpretation is silent: such a map points nowhere."""
        return self.once(_zero_maps)


def _zero_maps(scored):
    return ~scored.attribution.flatten(1).any(dim=1)
