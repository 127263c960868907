"""The masking threshold, literally, and noise that stays below it."""

import math

import pytest
import torch

from lmac_td.sanity.inaudible_noise import (
    Spectrogram,
    inaudible_noise,
    masked_magnitude,
)
from lmac_td.sanity.masking_threshold import (
    bark,
    hearing_threshold,
    masking_threshold,
)

HZ = torch.linspace(0, 8000, 129, dtype=torch.float64)


def literal_bark(hz):
    return 13 * math.atan(0.00076 * hz) + 3.5 * math.atan((hz / 7500) ** 2)


def literal_hearing(hz):
    khz = max(hz, 20) / 1000
    terhardt = 3.64 * khz ** (-0.8)
    terhardt -= 6.5 * math.exp(-0.6 * (khz - 3.3) ** 2)
    terhardt += 0.001 * khz**4
    return min(terhardt - 12, 68)


def literal_threshold(levels, hz):
    """Qin et al., section 4.1, one bin after the other, for one frame."""
    maskers = []
    for k in range(1, len(levels) - 1):
        if levels[k - 1] <= levels[k] >= levels[k + 1]:
            level = 10 * math.log10(sum(10 ** (levels[k + i] / 10) for i in (-1, 0, 1)))
            if level > literal_hearing(hz[k]):
                maskers.append((literal_bark(hz[k]), level))
    maskers = [
        (z, level)
        for z, level in maskers
        if not any(abs(z - y) < 0.5 and other > level for y, other in maskers)
    ]
    thresholds = []
    for f in hz:
        power = 10 ** (literal_hearing(f) / 10)
        for z, level in maskers:
            dz = literal_bark(f) - z
            slope = -27 + 0.37 * max(level - 40, 0) if dz > 0 else 27
            power += 10 ** ((level - 6.025 - 0.275 * z + slope * dz) / 10)
        thresholds.append(10 * math.log10(power))
    return thresholds


def test_the_threshold_is_its_definition():
    level_db = 60 + 25 * torch.randn(3, len(HZ), dtype=torch.float64)
    found = masking_threshold(level_db, HZ)
    for frame, levels in zip(found, level_db.tolist(), strict=True):
        expected = literal_threshold(levels, HZ.tolist())
        assert frame.tolist() == pytest.approx(expected, abs=1e-6)
    assert found.min() > -30


def test_scales_of_hearing():
    assert bark(HZ).tolist() == pytest.approx(list(map(literal_bark, HZ.tolist())))
    expected = list(map(literal_hearing, HZ.tolist()))
    assert hearing_threshold(HZ).tolist() == pytest.approx(expected)


def test_silence_masks_nothing():
    silent = torch.full((2, len(HZ)), -100.0)
    expected = hearing_threshold(HZ.float()).expand(2, -1)
    assert torch.allclose(masking_threshold(silent, HZ.float()), expected, atol=1e-4)


def make_tone(n=16000, rate=16000, hz=1000):
    wav = torch.zeros(n)
    half = n // 2
    wav[half:] = torch.sin(2 * math.pi * hz * torch.arange(n - half) / rate)
    return wav


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_noise_is_below_the_threshold_in_every_bin(rate):
    wav = make_tone(rate, rate).double() + 1e-4 * torch.randn(rate).double()
    noise = inaudible_noise(wav, rate, torch.Generator().manual_seed(0))
    excess = Spectrogram(rate, rate).of(noise).abs() / masked_magnitude(wav, rate)
    assert excess.max().item() == pytest.approx(1, abs=1e-6)
    # As loud as it may be: half of the bins are less than 26 dB below.
    assert excess.median() > 0.05


def test_noise_lies_where_the_clip_masks_it():
    """It does not begin before the tone, and is far below it."""
    wav = make_tone()
    noise = inaudible_noise(wav, 16000, torch.Generator().manual_seed(0))
    before, during = noise[:7000].square().mean(), noise[9000:].square().mean()
    assert before < 1e-4 * during
    assert during < 0.1 * wav[9000:].square().mean()


def test_noise_depends_on_its_generator_and_on_the_level_of_the_clip():
    wav = torch.randn(8000)

    def noise(wav, seed):
        return inaudible_noise(wav, 16000, torch.Generator().manual_seed(seed))

    assert torch.equal(noise(wav, 1), noise(wav, 1))
    assert not torch.allclose(noise(wav, 1), noise(wav, 2), atol=1e-3)
    assert torch.allclose(noise(wav / 8, 1), noise(wav, 1) / 8, atol=1e-5)


@pytest.mark.parametrize("n", [1, 300, 1000])
def test_short_clips_and_silence(n):
    generator = torch.Generator().manual_seed(0)
    assert inaudible_noise(torch.randn(n), 16000, generator).shape == (n,)
    assert not inaudible_noise(torch.zeros(n), 16000, generator).any()
