"""Mix clips with interference at an exact signal-to-noise ratio, keeping both.

The ratio is 10 log10(E_s / E_n) dB, with the energies of the clip and of the
interference. If a short recording was padded with zeros, its padding gets no
interference and does not count. A loaded batch holds clips and interference as they
were decoded; they are mixed on the device, one batch at a time. The scaled sources are
returned with the mixture: they are the ground truth of the evaluation.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from speechbrain.dataio.batch import PaddedBatch

from lmac_td.errors import DataError

# The ratio of a clip that stays clean.
CLEAN_DB = math.inf

_REMEDY = "remove it from the data set"


class MixedBatch(NamedTuple):
    """A batch of mixtures and their sources: mixture = target + interference.

    Arguments
    ---------
    mixture : torch.Tensor
        (B, T), each with a peak of 1.
    target : torch.Tensor
        (B, T), the clips, at their level in the mixtures.
    interference : torch.Tensor
        (B, T), at its level in the mixtures; zero in the padding.
    n_samples : torch.Tensor
        (B,), int64, the length of each clip before padding.
    """

    mixture: torch.Tensor
    target: torch.Tensor
    interference: torch.Tensor
    n_samples: torch.Tensor


def make_mixtures(batch: PaddedBatch, device: str | torch.device) -> MixedBatch:
    """Mix a loaded batch on a device. All mixtures are made by this function.

    Arguments
    ---------
    batch : PaddedBatch
        A batch of :func:`lmac_td.data.datasets.make_dataset`: it has ``id``, ``clip``,
        ``interference``, ``snr_db`` and, if clips are padded, ``n_samples``.
    device : str or torch.device

    Returns
    -------
    MixedBatch
        On the device.

    Raises
    ------
    DataError
        As :func:`mix_batch`.
    """
    clips, interference, snr_db = (
        part.to(device, non_blocking=True)
        for part in (batch.clip.data, batch.interference.data, batch.snr_db)
    )
    return mix_batch(clips, interference, snr_db, batch.id, unpadded_lengths(batch))


def unpadded_lengths(batch: PaddedBatch) -> torch.Tensor:
    """Return the length in samples of each clip of a loaded batch, before padding.

    Arguments
    ---------
    batch : PaddedBatch
        Without ``n_samples``, the relative lengths of the batch are used.

    Returns
    -------
    torch.Tensor
        (B,), int64, on the device of the batch.
    """
    if hasattr(batch, "n_samples"):
        return torch.as_tensor(batch.n_samples)
    clips, lengths = batch.clip
    return (lengths.double() * clips.shape[1]).round().long()


def has_interference(batch: PaddedBatch) -> bool:
    """Return whether any clip of a loaded batch (on the CPU) has interference."""
    return bool((batch.snr_db < CLEAN_DB).any())


def mix_batch(
    clips: torch.Tensor,
    interference: torch.Tensor,
    snr_db: torch.Tensor,
    clip_ids: Sequence[str],
    n_samples: torch.Tensor | None = None,
) -> MixedBatch:
    """Add interference to clips so that their power ratio is ``snr_db``.

    With energies E = sum of squares, the interference of each clip is multiplied by
    g = sqrt(E_s / E_n / 10^(dB / 10)); then mixture, clip and interference are divided
    by max |mixture|. Interference in the padding of a clip is removed first.

    Arguments
    ---------
    clips : torch.Tensor
        (B, T), none of them silent.
    interference : torch.Tensor
        (B, T); if it is silent, the clip stays clean.
    snr_db : torch.Tensor
        (B,), power of the clip over the power of the interference, in dB; ``CLEAN_DB``
        for a clip that stays clean.
    clip_ids : sequence of str
        (B,), for error messages.
    n_samples : torch.Tensor, optional
        (B,), the length of each clip before padding; T by default.

    Returns
    -------
    MixedBatch

    Raises
    ------
    DataError
        If a clip and its interference cancel out.

    Example
    -------
    >>> clips, noise = torch.randn(2, 3, 16000)
    >>> snr_db = torch.tensor([5.0, -10.0, CLEAN_DB])
    >>> mixed = mix_batch(clips, noise, snr_db, ["dog", "rain", "clock"])
    >>> ratio = mixed.target.square().sum(1) / mixed.interference.square().sum(1)
    >>> (10 * ratio.log10()).round().tolist()
    [5.0, -10.0, inf]
    """
    if clips.shape != interference.shape or clips.ndim != 2:
        raise ValueError(
            "clips and interference must both be (B, T), not "
            f"{tuple(clips.shape)} and {tuple(interference.shape)}"
        )
    n_clips, length = clips.shape
    if n_samples is None:
        n_samples = torch.full((n_clips,), length)
    padded = any(n < length for n in n_samples.tolist())
    n_samples = n_samples.to(clips.device, non_blocking=True)
    if padded:
        after = torch.arange(length, device=clips.device) >= n_samples.unsqueeze(1)
        interference = interference.masked_fill(after, 0)
    # In float32, a sum of 80 000 squares is wrong in the fourth digit of a dB.
    clip_energy, noise_energy = (
        part.double().square().sum(dim=1) for part in (clips, interference)
    )
    gain = (clip_energy / noise_energy / 10 ** (snr_db.double() / 10)).sqrt()
    # Rounding to float32 removes differences between devices in the order of sums.
    gain = torch.where(noise_energy > 0, gain, 0).to(clips.dtype).unsqueeze(1)  # (B, 1)
    # In place from here on: on a CPU new memory costs more than the arithmetic.
    interference = gain * interference
    mixture = clips + interference
    peak = mixture.abs().amax(dim=1, keepdim=True)
    silent = peak == 0
    if silent.any():
        first = int(silent.nonzero()[0, 0])
        raise DataError(
            f"the clip {clip_ids[first]!r} and its noise cancel out at "
            f"{float(snr_db[first]):g} dB: {_REMEDY}."
        )
    target = clips / peak
    interference /= peak
    # Added again after scaling, so that mixture = target + interference bit by bit.
    torch.add(target, interference, out=mixture)
    return MixedBatch(mixture, target, interference, n_samples)


def require_sound(wav: torch.Tensor, what: str) -> None:
    """Refuse a silent signal: it has no signal-to-noise ratio.

    Arguments
    ---------
    wav : torch.Tensor
        (T,).
    what : str
        The name of the signal in the error message.

    Raises
    ------
    DataError
        If it is silent or holds NaN.
    """
    if not wav.abs().max() > 0:  # NaN fails this comparison, too
        raise DataError(f"{what} is silent: {_REMEDY}.")
