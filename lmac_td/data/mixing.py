"""Mix clips with interference at an exact signal-to-noise ratio, keeping both.

The ratio is one of powers over the clip, 10 log10(E_s / E_n) dB. Zeros that a short
recording is padded with are no part of it: nothing is mixed with them. A loader's
batches carry clips and interference as they were decoded; they are mixed a batch at a
time on the device that computes. The scaled sources are returned beside the mixture:
they are the ground truth that explanations are measured against.
"""

import math
from typing import NamedTuple

import torch

from lmac_td.errors import DataError

# Of a clip that stays alone.
CLEAN_DB = math.inf

_REMEDY = "remove it from the data set"


class Mixture(NamedTuple):
    """Mixtures and what they are made of: mixture = target + interference.

    Arguments
    ---------
    mixture : torch.Tensor
        (B, T), the largest magnitude of each is 1.
    target : torch.Tensor
        (B, T), the clips to be classified, at their level in the mixtures.
    interference : torch.Tensor
        (B, T), the rest, at its level in the mixtures; zero in the padding.
    n_samples : torch.Tensor
        (B,), int64, the samples of each clip before padding.
    """

    mixture: torch.Tensor
    target: torch.Tensor
    interference: torch.Tensor
    n_samples: torch.Tensor


def mixtures_of(batch, device):
    """Mix a loader's batch on a device: the one place where mixtures are made.

    Arguments
    ---------
    batch : PaddedBatch
        Of :func:`lmac_td.data.datasets.make_dataset`, with ``id``, ``clip``,
        ``interference``, ``snr_db`` and, where clips are padded, ``n_samples``.
    device : str or torch.device

    Returns
    -------
    Mixture
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
    return mix_batch(clips, interference, snr_db, batch.id, n_samples_of(batch))


def n_samples_of(batch):
    """Samples of each clip of a loader's batch before padding.

    Arguments
    ---------
    batch : PaddedBatch
        With ``n_samples``; without it, clips are as long as the batch says.

    Returns
    -------
    torch.Tensor
        (B,), int64, where the batch lies.
    """
    if hasattr(batch, "n_samples"):
        return torch.as_tensor(batch.n_samples)
    clips, lengths = batch.clip
    return (lengths.double() * clips.shape[1]).round().long()


def is_mixed(batch):
    """Whether any clip of a loader's batch has interference; no GPU is asked."""
    return bool((batch.snr_db < CLEAN_DB).any())


def mix_batch(clips, interference, snr_db, clip_ids, n_samples=None):
    """Add interference to clips so that their power ratio is ``snr_db``.

    With energies E = sum of squares, the interference of each clip is multiplied by
    g = sqrt(E_s / E_n / 10^(dB / 10)); then all three are divided by max |mixture|.
    What would sound after a clip's end does not count in E_n and is not mixed.

    Arguments
    ---------
    clips : torch.Tensor
        (B, T), none of them silent.
    interference : torch.Tensor
        (B, T); where it is silent, the clip stays alone.
    snr_db : torch.Tensor
        (B,), power of the clip over that of the interference, dB; ``CLEAN_DB`` for a
        clip that stays alone.
    clip_ids : sequence of str
        (B,), named by errors.
    n_samples : torch.Tensor, optional
        (B,), samples of each clip before padding; all T when left out.

    Returns
    -------
    Mixture
        The mixtures and both sources as they are in them.

    Raises
    ------
    DataError
        A clip and its interference cancel out.

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
    # float64: a sum of 80 000 squares in float32 is off in the fourth digit of a dB.
    own, other = (part.double().square().sum(dim=1) for part in (clips, interference))
    gain = (own / other / 10 ** (snr_db.double() / 10)).sqrt()
    # Rounded: in what order a device sums is lost with the last digits.
    gain = torch.where(other > 0, gain, 0).to(clips.dtype).unsqueeze(1)  # (B, 1)
    # In place where it may be: on a CPU new memory costs more than the sums.
    interference = gain * interference
    mixture = clips + interference
    peak = mixture.abs().amax(dim=1, keepdim=True)
    silent = peak == 0
    if silent.any():
        place = int(silent.nonzero()[0, 0])
        raise DataError(
            f"the clip {clip_ids[place]!r} and its noise cancel out at "
            f"{float(snr_db[place]):g} dB: {_REMEDY}."
        )
    target = clips / peak
    interference /= peak
    # Summed again after scaling, so that the sum holds to the last bit.
    torch.add(target, interference, out=mixture)
    return Mixture(mixture, target, interference, n_samples)


def require_sound(wav, what):
    """Refuse what has no power: it cannot be set to a ratio.

    Arguments
    ---------
    wav : torch.Tensor
        (T,).
    what : str
        What it is, for the error.

    Raises
    ------
    DataError
        It is silent or holds NaN.
    """
    if not wav.abs().max() > 0:  # written so that NaN fails too
        raise DataError(f"{what} is silent: {_REMEDY}.")
