"""Does the map point at the source that it should point at?

In frequency: the speech relevance score η of Sivasankaran, Vincent and Fohr,
"Explaining deep learning models for speech enhancement" (Interspeech 2021), eq. 5-6.
"The measure is computed only for frames containing speech" (section 4); here, only
for those that contain the target, :func:`active_frames`. In time: the intersection
over union (IoU) of the frames in which interpretation and target sound. Mixing keeps
the scaled sources, so both have a ground truth for every interpreter and every target.
"""

import torch

from lmac_td.metrics._tensors import beyond, in_double, without_padding
from lmac_td.metrics.registry import GROUND_TRUTH, SOMETIMES, Metric, register

# Of the speech relevance score in the table: a column each.
PERCENTILES = (99.9, 99, 98)


def speech_relevance_score(attribution, target_mag, other_mag, percentile, frames=None):
    """Share of the map's largest bins in which the target is the louder source.

    η = Σ_n #{φ_{>T+IBM}(n)} / Σ_n #{φ_{>T}(n)} (eq. 5): of the bins whose |a| is
    above the frame's own percentile T (strict), those in which IBM = 1, that is
    |target| > |other| (eq. 6, strict). A precision: higher is better.

    Arguments
    ---------
    attribution : torch.Tensor
        (B, n, f) map, of either sign.
    target_mag : torch.Tensor
        (B, n, f) magnitude STFT of the target as it is in the mixture.
    other_mag : torch.Tensor
        (B, n, f) magnitude STFT of everything else in the mixture.
    percentile : float
        T, in [0, 100]; linear between the two nearest bins.
    frames : torch.Tensor | None
        (B, n) boolean, True in the frames that count, such as those that contain
        the target; None counts all.

    Returns
    -------
    torch.Tensor
        (B,) in [0, 1]; NaN for a clip in which no bin is above its threshold.

    Example
    -------
    >>> attribution = torch.tensor([[[0.1, 0.2, 0.9, 0.8]]])
    >>> target = torch.tensor([[[0.0, 0.0, 1.0, 0.2]]])
    >>> speech_relevance_score(attribution, target, torch.full((1, 1, 4), 0.5), 50)
    tensor([0.5000])
    """
    return speech_relevance_at(
        attribution, target_mag, other_mag, (percentile,), frames
    )[0]


def speech_relevance_at(attribution, target_mag, other_mag, percentiles, frames=None):
    """:func:`speech_relevance_score` at several percentiles: each frame sorted once.

    Arguments
    ---------
    attribution, target_mag, other_mag, frames
        As there.
    percentiles : sequence of float
        Each in [0, 100].

    Returns
    -------
    tuple of torch.Tensor
        (B,) for each percentile.

    Example
    -------
    >>> attribution = torch.tensor([[[0.1, 0.2, 0.9, 0.8]]])
    >>> target = torch.tensor([[[0.0, 0.0, 1.0, 0.2]]])
    >>> speech_relevance_at(attribution, target, torch.full((1, 1, 4), 0.5), (50, 90))
    (tensor([0.5000]), tensor([1.]))
    """
    (a, target, other), dtype = in_double(
        dims=("B", "n", "f"),
        attribution=attribution,
        target_mag=target_mag,
        other_mag=other_mag,
    )
    for percentile in percentiles:
        if not 0 <= percentile <= 100:
            raise ValueError(f"percentile must be in [0, 100], not {percentile}.")
    if frames is not None:
        _check_frames("frames", frames, a)
    a = a.abs()
    ordered = a.sort(dim=2).values
    ideal_binary_mask = target.abs() > other.abs()
    scores = []
    for percentile in percentiles:
        above = a > _percentile(ordered, percentile)  # (B, n, f)
        if frames is not None:
            above &= frames.unsqueeze(2)
        hits = (above & ideal_binary_mask).sum(dim=(1, 2))
        scores.append((hits / above.sum(dim=(1, 2)).double()).to(dtype))
    return tuple(scores)


def _percentile(ordered, percentile):
    """Return the percentile of each frame of sorted (B, n, f), as (B, n, 1).

    ``torch.quantile`` refuses more than 16 million bins, about 30 clips of 5 s.
    """
    position = percentile * (ordered.shape[2] - 1) / 100
    below = int(position)
    above = min(below + 1, ordered.shape[2] - 1)
    low, high = ordered[..., below, None], ordered[..., above, None]
    return torch.lerp(low, high, position - below)


def active_frames(target_mag, range_db=30, n_frames=None):
    """Find the frames that contain the target.

    Those whose energy Σ_f S² is within ``range_db`` of the clip's loudest frame.

    Arguments
    ---------
    target_mag : torch.Tensor
        (B, n, f) magnitude STFT of the target.
    range_db : float
        0 or more.
    n_frames : torch.Tensor | None
        (B,) frames of each clip before padding; those after them do not count. None
        counts all.

    Returns
    -------
    torch.Tensor
        (B, n) boolean; all False for a silent target.

    Example
    -------
    >>> active_frames(torch.tensor([[[1.0, 0.0], [0.1, 0.1], [0.01, 0.0]]]))
    tensor([[ True,  True, False]])
    """
    (target,), _ = in_double(dims=("B", "n", "f"), target_mag=target_mag)
    if not range_db >= 0:
        raise ValueError(f"range_db must be 0 or more, not {range_db}.")
    return _active_of(target.square().sum(dim=2), range_db, n_frames)


def _active_of(energy, range_db=30, n_frames=None):
    """:func:`active_frames` of the target's energy in each frame (B, n)."""
    (energy,) = without_padding(n_frames, energy)
    loudest = energy.amax(dim=1, keepdim=True)
    return (energy >= loudest * 10 ** (-range_db / 10)) & (energy > 0)


def temporal_iou(attribution, active, n_frames=None):
    """Compute how well the interpretation sounds when the target sounds.

    |E ∩ A| / |E ∪ A| with A the active frames and E as many frames: those in which
    the interpretation has most energy Σ_f |STFT(i)|², the first ones on ties. Because
    E is as large as A, keeping everything scores as the mixture's own loudness does.

    Arguments
    ---------
    attribution : torch.Tensor
        (B, n, f) log1p|STFT(i)| of the interpretation.
    active : torch.Tensor
        (B, n) boolean, see :func:`active_frames`.
    n_frames : torch.Tensor | None
        (B,) frames of each clip before padding; those after them do not count. None
        counts all.

    Returns
    -------
    torch.Tensor
        (B,) in [0, 1]: 0 for a silent interpretation, NaN where every frame is
        active, or none: there is no onset to find.

    Example
    -------
    >>> attribution = torch.tensor([[[0.2], [0.9], [0.8], [0.1]]])
    >>> temporal_iou(attribution, torch.tensor([[False, True, False, True]]))
    tensor([0.3333])
    """
    (a,), dtype = in_double(dims=("B", "n", "f"), attribution=attribution)
    _check_frames("active", active, a)
    energy = a.abs().expm1().square().sum(dim=2)
    return _temporal_iou_of(energy, active, n_frames).to(dtype)


def _temporal_iou_of(energy, active, n_frames):
    """:func:`temporal_iou` of the interpretation's energy in each frame (B, n)."""
    n_all = energy.shape[1]
    if n_frames is not None:
        after = beyond(n_frames, energy)
        active = active & ~after
        energy = energy.masked_fill(after, -1)  # the last ones in the order
        n_all = n_frames.to(energy.device)
    order = energy.sort(dim=1, descending=True, stable=True).indices  # (B, n)
    n_active = active.sum(dim=1)
    places = torch.arange(energy.shape[1], device=energy.device)
    chosen = places < n_active.unsqueeze(1)  # by place in the order
    both = (chosen & active.gather(1, order)).sum(dim=1).double()
    iou = (both / (2 * n_active - both)).masked_fill((energy <= 0).all(dim=1), 0)
    nothing_to_find = (n_active == 0) | (n_active == n_all)
    return iou.masked_fill(nothing_to_find, torch.nan)


def _check_frames(name, frames, a):
    if frames.dtype != torch.bool or frames.shape != a.shape[:2]:
        raise ValueError(
            f"{name} must be boolean of shape {tuple(a.shape[:2])}, "
            f"not {frames.dtype} of shape {tuple(frames.shape)}."
        )


def frame_energies(scored):
    """Return the energies of interpretation and target in each frame.

    Arguments
    ---------
    scored : ScoreInputs
        With the sources.

    Returns
    -------
    tuple of torch.Tensor
        Each (B, n), float64.
    torch.dtype
        The type of scores that are computed from them.
    """
    (a, target), dtype = in_double(
        dims=("B", "n", "f"),
        attribution=scored.attribution,
        target_mag=scored.target_mag,
    )
    energies = a.abs().expm1().square().sum(dim=2), target.square().sum(dim=2)
    return energies, dtype


def _active(scored):
    (_, of_target), _ = scored.once(frame_energies)
    return _active_of(of_target, n_frames=scored.n_frames)


def _relevance(scored):
    return speech_relevance_at(
        scored.attribution,
        scored.target_mag,
        scored.other_mag,
        PERCENTILES,
        scored.once(_active),
    )


def _temporal_iou(scored):
    (energy, _), dtype = scored.once(frame_energies)
    iou = _temporal_iou_of(energy, scored.once(_active), scored.n_frames)
    return iou.masked_fill(scored.zero_maps, torch.nan).to(dtype)


register(
    *(
        Metric(
            f"eta ({percentile:g})",
            lambda s, place=place: s.once(_relevance)[place],
            better="higher",
            range=(0, 1),
            undefined=SOMETIMES,
            needs=("sources",),
            group=GROUND_TRUTH,
        )
        for place, percentile in enumerate(PERCENTILES)
    ),
    Metric(
        "IoU (time)",
        _temporal_iou,
        better="higher",
        range=(0, 1),
        undefined=SOMETIMES,
        needs=("sources",),
        group=GROUND_TRUTH,
    ),
)
