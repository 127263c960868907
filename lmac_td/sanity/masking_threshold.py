"""Compute which sounds a clip masks for a human ear: its masking threshold.

The model is that of MPEG-1 (ISO/IEC 11172-3, annex D.1, psychoacoustic model 1) as Lin
and Abdulla describe it ("Audio Watermark", 2015, chapter 2), with the simplification of
Qin et al. ("Imperceptible, robust, and targeted adversarial examples for automatic
speech recognition", https://arxiv.org/abs/1903.10346, section 4.1): every masker counts
as a tone. A tone masks less than noise of the same level, so this never raises the
threshold. Levels are sound pressure levels in dB if the loudest bin of the clip is
played at 96 dB, as Qin et al. assume.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LOUDEST_DB = 96.0  # sound pressure level of the loudest bin of a clip
SPACING_BARK = 0.5  # of two maskers that are nearer, only the stronger one counts
_NOTHING = -1000.0  # dB


def bark(frequency_hz: Tensor) -> Tensor:
    """Return the critical-band rate of frequencies, in Bark.

    Arguments
    ---------
    frequency_hz : Tensor (...)

    Example
    -------
    >>> bark(torch.tensor([0.0, 1000.0])).round(decimals=2)
    tensor([0.0000, 8.5100])
    """
    return 13 * torch.atan(0.00076 * frequency_hz) + 3.5 * torch.atan(
        (frequency_hz / 7500) ** 2
    )


def hearing_threshold(frequency_hz: Tensor) -> Tensor:
    """Return the level below which a tone in silence is not audible, in dB.

    Terhardt's formula, 12 dB lower, as MPEG-1 takes it for high bit rates, and at most
    68 dB, as MPEG-1's tables end.

    Arguments
    ---------
    frequency_hz : Tensor (...)
        Below 20 Hz, the value at 20 Hz is returned.
    """
    khz = frequency_hz.clamp(min=20) / 1000
    best = 6.5 * torch.exp(-0.6 * (khz - 3.3) ** 2)  # where the ear is most sensitive
    return (3.64 * khz**-0.8 - best + 1e-3 * khz**4 - 12).clamp(max=68)


def masking_threshold(level_db: Tensor, frequency_hz: Tensor) -> Tensor:
    """Return the level in each bin below which a further sound is not audible.

    Arguments
    ---------
    level_db : Tensor (frames, bins)
        Sound pressure levels of a spectrogram.
    frequency_hz : Tensor (bins,)

    Returns
    -------
    Tensor (frames, bins)
        In dB: the threshold of hearing and the thresholds of all maskers of the frame,
        added as powers.

    Example
    -------
    >>> hz = torch.arange(0.0, 8001.0, 31.25)
    >>> level_db = torch.full((1, 257), -20.0)
    >>> level_db[0, 32] = 80.0  # a tone of 1 kHz
    >>> threshold = masking_threshold(level_db, hz)
    >>> threshold[0, [16, 32, 64]].round()  # an octave below, the tone, an octave above
    tensor([-6., 72., 16.])
    """
    z, quiet = bark(frequency_hz), hearing_threshold(frequency_hz)
    frame, place, masker_db = _maskers(level_db, z, quiet)
    distance = z - z[place].unsqueeze(1)  # (maskers, bins), in Bark
    # dB for each Bark: steep towards low frequencies, flatter for loud maskers.
    upwards = -27 + 0.37 * (masker_db - 40).clamp(min=0)
    slope = torch.where(distance > 0, upwards.unsqueeze(1), 27.0)
    offset = -6.025 - 0.275 * z[place]
    masked_db = (masker_db + offset).unsqueeze(1) + slope * distance
    power = (10 ** (quiet / 10)).repeat(len(level_db), 1)
    power.index_add_(0, frame, 10 ** (masked_db / 10))
    return 10 * power.log10()


def _maskers(level_db, z, quiet):
    """Return frame, bin and level of each masker, all (maskers,).

    A masker is a local maximum above the threshold of hearing, with its two neighbours
    added, if no stronger one lies within ``SPACING_BARK``.
    """
    around = F.pad(level_db, (1, 1), value=_NOTHING)
    below, above = around[:, :-2], around[:, 2:]
    summed = 10 * sum(10 ** (part / 10) for part in (below, level_db, above)).log10()
    is_peak = (level_db >= below) & (level_db >= above) & (summed > quiet)
    is_peak[:, [0, -1]] = False
    peaks = torch.where(is_peak, summed, _NOTHING)
    frame, place = is_peak.nonzero(as_tuple=True)
    near = (z.unsqueeze(1) - z).abs() < SPACING_BARK
    strongest = torch.where(near[place], peaks[frame], _NOTHING).amax(dim=1)
    counts = peaks[frame, place] >= strongest
    frame, place = frame[counts], place[counts]
    return frame, place, peaks[frame, place]
