"""How much sound does an explanation keep, and does it invent any?

Keeping everything gives a perfect fidelity, so the energy that is kept is reported
beside every score. What is kept and what is removed must add up to the clip: this
is measured with the SI-SDR (Le Roux et al., "SDR – half-baked or well done?", 2019).
Where the mixture's sources are known, the energy that is kept of each is measured by
itself.
"""

import math

import torch

from lmac_td.metrics._tensors import in_double, without_padding
from lmac_td.metrics.registry import (
    GROUND_TRUTH,
    SOMETIMES,
    ZERO_MAP,
    Metric,
    register,
)

# Analysis and resynthesis in float32 leave an error of -130 to -150 dB: what lies
# below this is rounding, and no property of a method. Means over clips stay finite.
SI_SDR_LIMIT_DB = 120.0
# Less than this is silence in a 16-bit file (its step is -96 dB). A single clip of
# which nothing is kept would otherwise take the mean over all clips to -inf.
SILENCE_DB = -100.0


def kept_energy_db(wavs, interpretation, n_samples=None):
    """Energy of what is kept relative to the input: 10 log10(E_i / E_x).

    Arguments
    ---------
    wavs : torch.Tensor
        (B, T) mixtures.
    interpretation : torch.Tensor
        (B, T) what is kept of them.
    n_samples : torch.Tensor | None
        (B,) samples of each clip before padding; what lies after them does not count.
        None counts all.

    Returns
    -------
    torch.Tensor
        (B,) dB: 0 if the energy is the input's, −inf if nothing is kept; +inf if
        something is kept of a silent clip, NaN if nothing is.

    Example
    -------
    >>> import torch
    >>> wavs = torch.ones(2, 8)
    >>> kept_energy_db(wavs, wavs * torch.tensor([[0.1], [0.0]]))
    tensor([-20., -inf])
    """
    (x, i), dtype = in_double(dims=("B", "T"), wavs=wavs, interpretation=interpretation)
    x, i = without_padding(n_samples, x, i)
    ratio = i.square().sum(dim=1) / x.square().sum(dim=1)
    return (10 * ratio.log10()).to(dtype)


def completeness_db(wavs, interpretation, residual, n_samples=None):
    """Completeness: SI-SDR of interpretation + residual against the input.

    High where nothing is invented and nothing lost. No mean is removed. It is blind
    to a gain common to both parts; :func:`kept_energy_db` sees that.

    Arguments
    ---------
    wavs : torch.Tensor
        (B, T) mixtures.
    interpretation : torch.Tensor
        (B, T) what is kept of them.
    residual : torch.Tensor
        (B, T) what is removed.
    n_samples : torch.Tensor | None
        (B,) samples of each clip before padding; what lies after them does not count.
        None counts all.

    Returns
    -------
    torch.Tensor
        (B,) dB, higher is better, as :func:`si_sdr_db` gives it.

    Example
    -------
    >>> import torch
    >>> wavs = torch.tensor([[0.5, -0.25, 0.75, 0.0]])
    >>> completeness_db(wavs, 0.25 * wavs, 0.75 * wavs)
    tensor([120.])
    """
    (x, i, r), dtype = in_double(
        dims=("B", "T"), wavs=wavs, interpretation=interpretation, residual=residual
    )
    return si_sdr_db(i + r, x, n_samples).to(dtype)


def si_sdr_db(estimate, reference, n_samples=None):
    """Scale-invariant signal-to-distortion ratio, higher is better.

    10 log10(‖αs‖² / ‖ŝ − αs‖²) with α = ⟨ŝ, s⟩ / ‖s‖². No mean is removed: an
    offset counts as distortion.

    Arguments
    ---------
    estimate : torch.Tensor
        (B, T) signal ŝ.
    reference : torch.Tensor
        (B, T) signal s.
    n_samples : torch.Tensor | None
        (B,) samples of each clip before padding; what lies after them does not count.
        None counts all.

    Returns
    -------
    torch.Tensor
        (B,) dB, held within ±``SI_SDR_LIMIT_DB`` (120 dB): the
        upper limit for a perfect copy, the lower one for a silent estimate; NaN for
        a silent reference.

    Example
    -------
    >>> import torch
    >>> reference = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> si_sdr_db(torch.tensor([[2.0, 0.2], [0.0, 0.0]]), reference)
    tensor([  20., -120.])
    """
    (estimate, reference), dtype = in_double(
        dims=("B", "T"), estimate=estimate, reference=reference
    )
    estimate, reference = without_padding(n_samples, estimate, reference)
    energy = reference.square().sum(dim=1, keepdim=True)
    alpha = (estimate * reference).sum(dim=1, keepdim=True) / energy
    target = alpha * reference
    distortion = (estimate - target).square().sum(dim=1)
    ratio_db = 10 * (target.square().sum(dim=1) / distortion).log10()
    # 0 / 0: there is neither target nor distortion in a silent estimate.
    silent = (estimate == 0).all(dim=1) & (energy.squeeze(1) > 0)
    ratio_db = ratio_db.masked_fill(silent, -SI_SDR_LIMIT_DB)
    return ratio_db.clamp(-SI_SDR_LIMIT_DB, SI_SDR_LIMIT_DB).to(dtype)


def kept_gain(magnitude_in, magnitude):
    """Return the gain of each bin: min(1, |STFT(i)| / |X|), 0 where |X| = 0.

    What a method keeps as a mask on the STFT, for methods whose mask lives elsewhere.
    More than the mixture holds cannot be kept of it, so the gain ends at 1.

    Arguments
    ---------
    magnitude_in : torch.Tensor
        (B, ...) magnitude STFT of the interpretation.
    magnitude : torch.Tensor
        (B, ...) magnitude STFT of the mixture.

    Returns
    -------
    torch.Tensor
        (B, ...) in [0, 1].

    Example
    -------
    >>> kept_gain(torch.tensor([[0.5, 3.0, 1.0]]), torch.tensor([[2.0, 2.0, 0.0]]))
    tensor([[0.2500, 1.0000, 0.0000]])
    """
    (kept, whole), dtype = in_double(magnitude_in=magnitude_in, magnitude=magnitude)
    gain = (kept.abs() / whole.abs()).clamp(max=1)
    return torch.where(whole == 0, 0, gain).to(dtype)


def kept_of_source_db(gain, source_mag):
    """Energy that a gain keeps of one source: 10 log10(Σ (g S)² / Σ S²).

    Of the target high is better, of the interference low. Each source is scaled by
    itself, so their cross terms in the mixture do not count.

    Arguments
    ---------
    gain : torch.Tensor
        (B, ...) of each bin, see :func:`kept_gain`.
    source_mag : torch.Tensor
        (B, ...) magnitude STFT S of the source as it is in the mixture.

    Returns
    -------
    torch.Tensor
        (B,) dB, ``SILENCE_DB`` (-100 dB) at least; NaN for a silent source.

    Example
    -------
    >>> kept_of_source_db(torch.tensor([[0.1, 0.0]]), torch.tensor([[2.0, 0.0]]))
    tensor([-20.])
    """
    (gain, source), dtype = in_double(gain=gain, source_mag=source_mag)
    kept = (gain * source).square().flatten(1).sum(dim=1)
    ratio = kept / source.square().flatten(1).sum(dim=1)
    return (10 * ratio.log10()).clamp(min=SILENCE_DB).to(dtype)


def _kept_gain(scored):
    return kept_gain(scored.attribution.expm1(), scored.magnitude)


def _si_sdr(scored):
    si_sdr = si_sdr_db(scored.interpretation, scored.target, scored.n_samples)
    return si_sdr.masked_fill(scored.zero_maps, math.nan)


def _si_sdr_improvement(scored):
    before = si_sdr_db(scored.wavs, scored.target, scored.n_samples)
    return scored.once(_si_sdr) - before


def _kept_of(name, better, source):
    """Energy that is kept of one source: more than all of it cannot be."""
    return Metric(
        name,
        lambda s: kept_of_source_db(s.once(_kept_gain), getattr(s, source)),
        decimals=1,
        better=better,
        range=(SILENCE_DB, 0),
        tolerance=1e-5,
        undefined=SOMETIMES,
        needs=("sources",),
        group=GROUND_TRUTH,
    )


register(
    Metric(
        "completeness (dB)",
        lambda s: completeness_db(s.wavs, s.interpretation, s.residual, s.n_samples),
        decimals=1,
        better="higher",
        range=(-SI_SDR_LIMIT_DB, SI_SDR_LIMIT_DB),
        undefined=SOMETIMES,
    ),
    Metric(
        "kept (dB)",
        # The function says -inf; one such clip would be the mean of all.
        lambda s: kept_energy_db(s.wavs, s.interpretation, s.n_samples).clamp(
            min=SILENCE_DB
        ),
        decimals=1,
        range=(SILENCE_DB, math.inf),
        undefined=SOMETIMES,
    ),
    after="AD (published)",
)
register(
    Metric(
        "SI-SDR (dB)",
        lambda s: s.once(_si_sdr),
        decimals=2,
        better="higher",
        range=(-SI_SDR_LIMIT_DB, SI_SDR_LIMIT_DB),
        undefined=ZERO_MAP,
        needs=("sources",),
        group=GROUND_TRUTH,
    ),
    Metric(
        "SI-SDRi (dB)",
        _si_sdr_improvement,
        decimals=2,
        better="higher",
        range=(-2 * SI_SDR_LIMIT_DB, 2 * SI_SDR_LIMIT_DB),
        undefined=ZERO_MAP,
        needs=("sources",),
        group=GROUND_TRUTH,
    ),
    _kept_of("target kept (dB)", "higher", "target_mag"),
    _kept_of("interference kept (dB)", "lower", "other_mag"),
    after="AUC (time)",
)
