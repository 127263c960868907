"""Mixing at an exact signal-to-noise ratio, against a literal twin."""

import math

import numpy as np
import pytest
import torch

from lmac_td.data.mixing import PUBLISHED_SNR_DB, clean, mix_at_snr
from lmac_td.errors import DataError, SettingError


def literal_mix(target, interference, snr_db):
    """PROTOCOL's formula, sample by sample in float64."""
    energy_s = sum(float(x) ** 2 for x in target)
    energy_n = sum(float(x) ** 2 for x in interference)
    g = math.sqrt(energy_s / energy_n / 10 ** (snr_db / 10))
    mixture = [
        float(s) + g * float(n) for s, n in zip(target, interference, strict=True)
    ]
    scale = 1 / max(abs(x) for x in mixture)
    return (
        [scale * x for x in mixture],
        [scale * float(s) for s in target],
        [scale * g * float(n) for n in interference],
    )


def sources(level=1.0):
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(3000, generator=generator) * torch.linspace(0, 1, 3000)
    return 0.1 * target, level * torch.rand(3000, generator=generator)


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 3.0, 5.0, 40.0])
@pytest.mark.parametrize("level", [1e-4, 1.0, 50.0])
def test_equals_the_formula(snr_db, level):
    target, interference = sources(level)
    for ours, twin in zip(
        mix_at_snr(target, interference, snr_db),
        literal_mix(target, interference, snr_db),
        strict=True,
    ):
        assert ours.shape == (3000,)
        assert ours.dtype == torch.float32
        np.testing.assert_allclose(ours, twin, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 3.0, 5.0])
def test_ratio_sum_and_peak(snr_db):
    mixed = mix_at_snr(*sources(), snr_db)
    power = [wav.double().square().mean() for wav in mixed[1:]]
    assert 10 * math.log10(power[0] / power[1]) == pytest.approx(snr_db, abs=1e-4)
    assert torch.equal(mixed.mixture, mixed.target + mixed.interference)
    assert mixed.mixture.abs().max() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("condition", "target_gain", "other_gain", "rounded"),
    [
        ("mixtures", 0.8, 0.2, 12.04),
        ("white_noise", 1.0, 0.5, 6.02),
        ("speech", 0.8, 0.2, 12.04),
    ],
)
def test_published_ratios_are_those_of_amplitudes(
    condition, target_gain, other_gain, rounded
):
    """What the published code's gains make of two sounds of the same power."""
    target, other = sources()
    other = other * (target.norm() / other.norm())
    energies = [
        sum(float(x) ** 2 for x in gain * wav)
        for gain, wav in ((target_gain, target), (other_gain, other))
    ]
    measured = 10 * math.log10(energies[0] / energies[1])
    assert PUBLISHED_SNR_DB[condition] == pytest.approx(measured, abs=1e-4)
    assert round(PUBLISHED_SNR_DB[condition], 2) == rounded


def test_ratio_ignores_where_the_sound_lies():
    """It is taken over the whole clip: padding must change nothing but the length."""
    target, interference = sources()
    padded = torch.cat([target, torch.zeros(3000)])
    mixed = mix_at_snr(padded, interference.repeat(2), 3.0)
    power = [wav.double().square().sum() for wav in mixed[1:]]
    assert 10 * math.log10(power[0] / power[1]) == pytest.approx(3, abs=1e-4)


def test_arguments_are_left_alone():
    target, interference = sources()
    copies = target.clone(), interference.clone()
    mix_at_snr(target, interference, 0.0)
    clean(target)
    assert torch.equal(target, copies[0])
    assert torch.equal(interference, copies[1])


@pytest.mark.parametrize("bad", [0.0, math.nan])
@pytest.mark.parametrize("which", [0, 1])
def test_silence_names_the_clip(which, bad):
    pair = list(sources())
    pair[which] = torch.full((3000,), bad)
    with pytest.raises(DataError, match="1-100032-A-0"):
        mix_at_snr(*pair, 0.0, clip_id="1-100032-A-0")


def test_cancelling_names_the_clip():
    target, _ = sources()
    with pytest.raises(DataError, match="1-100032-A-0"):
        mix_at_snr(target, -target, 0.0, clip_id="1-100032-A-0")


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="target and interference"):
        mix_at_snr(torch.ones(5), torch.ones(1), 0.0)


def test_snr_must_be_finite():
    with pytest.raises(SettingError, match="snr_db"):
        mix_at_snr(*sources(), math.inf)


def test_clean():
    target, _ = sources()
    mixed = clean(target)
    assert torch.equal(mixed.mixture, mixed.target)
    assert not mixed.interference.any()
    assert mixed.mixture.abs().max() == 1
    with pytest.raises(DataError, match="1-100032-A-0"):
        clean(torch.zeros(5), clip_id="1-100032-A-0")
