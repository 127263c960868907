"""Is the explanation loud when the target sounds?

The ROC-AUC of the explanation's level in segments of 100 ms, against the segments in
which the target sounds: what a benchmark of time-localised explanations computes with
annotated events (Interspeech 2025). Mixing keeps the scaled target, so here the events
are known for every clip. Unlike an overlap at one threshold, the AUC asks for the order
of the segments alone.
"""

import torch

from lmac_td.metrics._tensors import beyond, in_double
from lmac_td.metrics.localisation import frame_energies
from lmac_td.metrics.registry import GROUND_TRUTH, SOMETIMES, Metric, register

SEGMENT_MS = 100


def segment_energies(magnitude, sample_rate, hop_samples, n_frames=None):
    """Add up the energy of a spectrogram in segments of 100 ms.

    E_s = Σ |STFT|² over all bins of the frames f with s = ⌊f · hop / 100 ms⌋: a frame
    belongs to the segment in which its centre lies. The last segment may be shorter
    than the others.

    Arguments
    ---------
    magnitude : torch.Tensor
        (B, n, f) |STFT|, frame f centred on sample f · hop_samples.
    sample_rate, hop_samples : int
    n_frames : torch.Tensor | None
        (B,) frames of each clip before padding; those after them do not count. None
        counts all.

    Returns
    -------
    energies : torch.Tensor
        (B, S), float64.
    exists : torch.Tensor
        (B, S) boolean, False in segments that hold padding alone.

    Example
    -------
    >>> magnitude = torch.tensor([[[1.0], [2.0], [0.0], [3.0]]])
    >>> segment_energies(magnitude, sample_rate=1000, hop_samples=50)[0]
    tensor([[5., 9.]], dtype=torch.float64)
    """
    (magnitude,), _ = in_double(dims=("B", "n", "f"), magnitude=magnitude)
    energy = magnitude.square().sum(dim=2)
    return _segment_energies(energy, sample_rate, hop_samples, n_frames)


def _segment_energies(energy, sample_rate, hop_samples, n_frames):
    """:func:`segment_energies` of the energy in each frame (B, n)."""
    n_clips, n_all = energy.shape
    counts = torch.ones_like(energy)
    if n_frames is not None:
        after = beyond(n_frames, energy)
        energy, counts = (t.masked_fill(after, 0) for t in (energy, counts))
    centres = torch.arange(n_all) * hop_samples
    segments = centres * 1000 // (sample_rate * SEGMENT_MS)
    n_segments = int(segments[-1]) + 1
    segments = segments.to(energy.device)
    energies, exists = (
        t.new_zeros(n_clips, n_segments).index_add_(1, segments, t)
        for t in (energy, counts)
    )
    return energies, exists > 0


def temporal_auc(
    attribution, target_mag, sample_rate, hop_samples, n_frames=None, range_db=30
):
    """ROC-AUC of the explanation's level against the segments with the target.

    AUC = (#{E_p > E_q} + #{E_p = E_q} / 2) / (P · Q) over all pairs of a segment p
    with the target (P of them) and a segment q without it (Q); E is the energy of the
    interpretation, see :func:`segment_energies`. The target sounds in the segments in
    which its own energy is within ``range_db`` of its loudest one.

    Arguments
    ---------
    attribution : torch.Tensor
        (B, n, f) log1p|STFT(i)| of the interpretation.
    target_mag : torch.Tensor
        (B, n, f) magnitude STFT of the target as it is in the mixture.
    sample_rate, hop_samples : int
        Frame f is centred on sample f · hop_samples.
    n_frames : torch.Tensor | None
        (B,) frames of each clip before padding; those after them do not count. None
        counts all.
    range_db : float
        0 or more.

    Returns
    -------
    torch.Tensor
        (B,) in [0, 1], 0.5 for a level that is the same everywhere; NaN where the
        target sounds in every segment, or in none.

    Example
    -------
    >>> target = torch.tensor([[[0.0], [1.0], [0.0], [0.0]]])
    >>> attribution = torch.tensor([[[0.1], [0.4], [0.9], [0.2]]])
    >>> temporal_auc(attribution, target, sample_rate=1000, hop_samples=100)
    tensor([0.6667])
    """
    (a, target), dtype = in_double(
        dims=("B", "n", "f"), attribution=attribution, target_mag=target_mag
    )
    if not range_db >= 0:
        raise ValueError(f"range_db must be 0 or more, not {range_db}.")
    energies = a.abs().expm1().square().sum(dim=2), target.square().sum(dim=2)
    frames = sample_rate, hop_samples, n_frames
    return _temporal_auc_of(*energies, *frames, range_db).to(dtype)


def _temporal_auc_of(
    energy, target_energy, sample_rate, hop_samples, n_frames, range_db=30
):
    """:func:`temporal_auc` of the energies in each frame (B, n)."""
    frames = sample_rate, hop_samples, n_frames
    level, exists = _segment_energies(energy, *frames)
    of_target, _ = _segment_energies(target_energy, *frames)  # (B, S)
    loudest = of_target.amax(dim=1, keepdim=True)
    sounds = (of_target >= loudest * 10 ** (-range_db / 10)) & (of_target > 0)
    # Padding comes last in the order, and is no segment of either kind.
    level = level.masked_fill(~exists, torch.inf)
    ordered = level.sort(dim=1).values
    below = torch.searchsorted(ordered, level)
    up_to = torch.searchsorted(ordered, level, right=True)
    rank = (below + up_to + 1).double() / 2  # of ties the mean, from 1
    n_with = sounds.sum(dim=1)
    n_without = exists.sum(dim=1) - n_with
    # The pairs that segments with the target win (Mann and Whitney's U).
    won = (rank * sounds).sum(dim=1) - n_with * (n_with + 1) / 2
    auc = won / (n_with * n_without)
    nothing_to_find = (n_with == 0) | (n_without == 0)
    return auc.masked_fill(nothing_to_find, torch.nan)


def _temporal_auc(scored):
    energies, dtype = scored.once(frame_energies)
    auc = _temporal_auc_of(
        *energies, scored.sample_rate, scored.hop_samples, scored.n_frames
    )
    return auc.masked_fill(scored.zero_maps, torch.nan).to(dtype)


register(
    Metric(
        "AUC (time)",
        _temporal_auc,
        better="higher",
        range=(0, 1),
        undefined=SOMETIMES,
        needs=("sources", "frame_times"),
        group=GROUND_TRUTH,
    ),
    after="IoU (time)",
)
