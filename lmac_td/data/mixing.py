"""Mix a clip with interference at an exact signal-to-noise ratio, keeping both.

The ratio is one of powers over the whole clip, 10 log10(E_s / E_n) dB. The scaled
sources are returned beside the mixture: they are the ground truth that explanations are
measured against.
"""

import math
from typing import NamedTuple

import torch

from lmac_td.audio import peak_normalise
from lmac_td.errors import DataError, SettingError

# The published code scales amplitudes, by .8 and .2 or by 1 and .5, not powers.
PUBLISHED_SNR_DB = {
    "mixtures": 20 * math.log10(0.8 / 0.2),
    "white_noise": 20 * math.log10(1 / 0.5),
    "speech": 20 * math.log10(0.8 / 0.2),
}

_REMEDY = "remove it from the data set"


class Mixture(NamedTuple):
    """A mixture and what it is made of: mixture = target + interference.

    Arguments
    ---------
    mixture : torch.Tensor
        (T,), its largest magnitude is 1.
    target : torch.Tensor
        (T,), the clip to be classified, at its level in the mixture.
    interference : torch.Tensor
        (T,), the rest, at its level in the mixture.
    """

    mixture: torch.Tensor
    target: torch.Tensor
    interference: torch.Tensor


def mix_at_snr(target, interference, snr_db, clip_id=""):
    """Add interference to a clip so that their power ratio is ``snr_db``.

    With energies E = sum of squares, the interference is multiplied by
    g = sqrt(E_s / E_n / 10^(dB / 10)); then all three are divided by max |mixture|.

    Arguments
    ---------
    target, interference : torch.Tensor
        (T,) each.
    snr_db : float
        Power of the target over that of the interference, dB.
    clip_id : str
        Named by errors.

    Returns
    -------
    Mixture
        The mixture and both sources as they are in it.

    Raises
    ------
    DataError
        One of the two is silent, or they cancel out.
    SettingError
        ``snr_db`` is not finite.

    Example
    -------
    >>> mixed = mix_at_snr(torch.randn(16000), torch.randn(16000), snr_db=5.0)
    >>> ratio = mixed.target.square().sum() / mixed.interference.square().sum()
    >>> round(10 * ratio.log10().item(), 3)
    5.0
    """
    if target.shape != interference.shape or target.ndim != 1:
        raise ValueError(
            "target and interference must both be (T,), not "
            f"{tuple(target.shape)} and {tuple(interference.shape)}"
        )
    if not math.isfinite(snr_db):
        raise SettingError(f"snr_db is {snr_db}: give a finite number of decibels.")
    # float64: a sum of 80 000 squares in float32 is off in the fourth digit of a dB.
    target_energy = target.double().square().sum().item()
    interference_energy = interference.double().square().sum().item()
    for energy, what in ((target_energy, "clip"), (interference_energy, "noise for")):
        if not energy > 0:  # written so that NaN fails too
            raise DataError(f"the {what} {clip_id!r} is silent: {_REMEDY}.")
    gain = math.sqrt(target_energy / interference_energy / 10 ** (snr_db / 10))
    interference = gain * interference
    peak = (target + interference).abs().max()
    if peak == 0:
        raise DataError(
            f"the clip {clip_id!r} and its noise cancel out at {snr_db} dB: {_REMEDY}."
        )
    target, interference = target / peak, interference / peak
    # Summed again after scaling, so that the sum holds to the last bit.
    return Mixture(target + interference, target, interference)


def clean(target, clip_id=""):
    """Make the mixture that is nothing but the clip, its peak at 1.

    Arguments
    ---------
    target : torch.Tensor
        (T,).
    clip_id : str
        Named by errors.

    Returns
    -------
    Mixture
        Its interference is zero.

    Raises
    ------
    DataError
        The clip is silent.

    Example
    -------
    >>> clean(torch.tensor([0.5, -1.0])).interference
    tensor([0., 0.])
    """
    if not target.any():
        raise DataError(f"the clip {clip_id!r} is silent: {_REMEDY}.")
    target = peak_normalise(target)
    return Mixture(target, target, torch.zeros_like(target))
