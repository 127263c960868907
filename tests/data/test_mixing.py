"""Mixing at an exact signal-to-noise ratio, against literal twins."""

import math

import numpy as np
import pytest
import torch
from speechbrain.dataio.batch import PaddedBatch

from lmac_td.data.conditions.mixtures import Mixtures
from lmac_td.data.conditions.speech import Speech
from lmac_td.data.conditions.white_noise import WhiteNoise
from lmac_td.data.mixing import (
    CLEAN_DB,
    has_interference,
    make_mixtures,
    mix_batch,
    require_sound,
    unpadded_lengths,
)
from lmac_td.errors import DataError


def literal_mix(target, interference, snr_db):
    """The formula of the ratio, sample by sample in float64."""
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


def mix_one(target, interference, snr_db):
    """Mix one clip, with energies and gain as Python numbers."""
    if snr_db == CLEAN_DB:
        target = target / target.abs().max()
        return target, target, torch.zeros_like(target)
    energy_s = target.double().square().sum().item()
    energy_n = interference.double().square().sum().item()
    interference = math.sqrt(energy_s / energy_n / 10 ** (snr_db / 10)) * interference
    peak = (target + interference).abs().max()
    target, interference = target / peak, interference / peak
    return target + interference, target, interference


def mix(target, interference, snr_db):
    """Call :func:`mix_batch` with one clip."""
    mixed = mix_batch(
        target[None], interference[None], torch.tensor([snr_db]), ["1-100032-A-0"]
    )
    return type(mixed)(*(part[0] for part in mixed))


def sources(level=1.0):
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(3000, generator=generator) * torch.linspace(0, 1, 3000)
    return 0.1 * target, level * torch.rand(3000, generator=generator)


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 3.0, 5.0, 40.0])
@pytest.mark.parametrize("level", [1e-4, 1.0, 50.0])
def test_equals_the_formula(snr_db, level):
    target, interference = sources(level)
    for ours, twin in zip(
        mix(target, interference, snr_db)[:3],
        literal_mix(target, interference, snr_db),
        strict=True,
    ):
        assert ours.shape == (3000,)
        assert ours.dtype == torch.float32
        np.testing.assert_allclose(ours, twin, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 3.0, 5.0])
def test_ratio_sum_and_peak(snr_db):
    mixed = mix(*sources(), snr_db)
    power = [wav.double().square().mean() for wav in mixed[1:3]]
    assert 10 * math.log10(power[0] / power[1]) == pytest.approx(snr_db, abs=1e-4)
    assert torch.equal(mixed.mixture, mixed.target + mixed.interference)
    assert mixed.mixture.abs().max() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("condition", "target_gain", "other_gain", "rounded"),
    [
        (Mixtures, 0.8, 0.2, 12.04),
        (WhiteNoise, 1.0, 0.5, 6.02),
        (Speech, 0.8, 0.2, 12.04),
    ],
)
def test_published_ratios_follow_from_the_gains_of_amplitudes(
    condition, target_gain, other_gain, rounded
):
    """The gains of the published code for two sounds of equal power."""
    target, other = sources()
    other = other * (target.norm() / other.norm())
    energies = [
        sum(float(x) ** 2 for x in gain * wav)
        for gain, wav in ((target_gain, target), (other_gain, other))
    ]
    measured = 10 * math.log10(energies[0] / energies[1])
    assert condition.published_snr_db == pytest.approx(measured, abs=1e-4)
    assert round(condition.published_snr_db, 2) == rounded


def test_the_ratio_does_not_depend_on_the_position_of_the_sound():
    """It is computed over the whole clip, so silence around a sound does not matter."""
    target, interference = sources()
    padded = torch.cat([target, torch.zeros(3000)])
    mixed = mix(padded, interference.repeat(2), 3.0)
    power = [wav.double().square().sum() for wav in mixed[1:3]]
    assert 10 * math.log10(power[0] / power[1]) == pytest.approx(3, abs=1e-4)


def real_sized(n_clips=6, n_samples=80_000):
    """Clips of 5 s with very different levels, alternately noisy and clean."""
    generator = torch.Generator().manual_seed(1)
    clips, noise = torch.randn(2, n_clips, n_samples, generator=generator)
    clips = clips * torch.logspace(-4, 0, n_clips)[:, None]
    noise = noise * torch.logspace(1, -3, n_clips)[:, None]
    clips[0, n_samples // 3 :] = 0  # a short clip, padded
    snr_db = torch.tensor([5.0, CLEAN_DB, -10.0, 0.0, CLEAN_DB, 12.04]).double()
    noise[snr_db == CLEAN_DB] = 0
    return clips, noise, snr_db, [str(i) for i in range(n_clips)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_equals_its_clips_one_by_one(dtype):
    clips, noise, snr_db, clip_ids = real_sized()
    clips, noise = clips.to(dtype), noise.to(dtype)
    mixed = mix_batch(clips, noise, snr_db, clip_ids)
    for i, db in enumerate(snr_db.tolist()):
        for ours, twin in zip(mixed[:3], mix_one(clips[i], noise[i], db), strict=True):
            assert ours.dtype == dtype
            torch.testing.assert_close(ours[i], twin, atol=1e-6, rtol=1e-6)


def test_a_clip_does_not_depend_on_its_batch():
    clips, noise, snr_db, clip_ids = real_sized()
    whole = mix_batch(clips, noise, snr_db, clip_ids)
    for some in (slice(2, 3), slice(1, 4), torch.tensor([5, 0, 3])):
        part = mix_batch(clips[some], noise[some], snr_db[some], clip_ids[:3])
        for ours, theirs in zip(part, whole, strict=True):
            assert torch.equal(ours, theirs[some])


def test_clips_that_stay_clean():
    clips, noise, snr_db, clip_ids = real_sized()
    mixed = mix_batch(clips, noise, snr_db, clip_ids)
    alone = snr_db == CLEAN_DB
    assert torch.equal(mixed.mixture[alone], mixed.target[alone])
    assert not mixed.interference[alone].any()
    assert mixed.interference[~alone].any(dim=1).all()
    assert (mixed.mixture[alone].abs().amax(dim=1) == 1).all()


def test_the_peak_is_that_of_the_magnitude():
    mixed = mix(torch.tensor([0.1, -0.4, 0.2]), torch.zeros(3), CLEAN_DB)
    assert mixed.mixture[1] == -1


def test_a_loaded_batch():
    clips, noise, snr_db, clip_ids = real_sized(n_samples=100)
    items = [
        {"id": name, "clip": clip, "interference": other, "snr_db": db}
        for name, clip, other, db in zip(
            clip_ids, clips, noise, snr_db.tolist(), strict=True
        )
    ]
    expected = mix_batch(clips, noise, snr_db, clip_ids)
    for ours, twin in zip(
        make_mixtures(PaddedBatch(items), "cpu"), expected, strict=True
    ):
        assert torch.equal(ours, twin)
    assert has_interference(PaddedBatch(items))
    assert not has_interference(PaddedBatch([items[1], items[4]]))


# ------------------------------------------------------------------ padding


def padded(n_samples=(3000, 1200, 7, 2999)):
    """Short clips with long interference."""
    generator = torch.Generator().manual_seed(2)
    clips, noise = torch.randn(2, len(n_samples), 3000, generator=generator)
    for clip, n in zip(clips, n_samples, strict=True):
        clip[n:] = 0
    snr_db = torch.tensor([3.0, -5.0, 0.0, CLEAN_DB])
    noise[snr_db == CLEAN_DB] = 0
    return clips, noise, snr_db, list("abcd"), torch.tensor(n_samples)


def test_padding_does_not_count():
    """The ratio is over the samples before padding; the padding stays zero."""
    clips, noise, snr_db, clip_ids, n_samples = padded()
    mixed = mix_batch(clips, noise, snr_db, clip_ids, n_samples)
    assert torch.equal(mixed.n_samples, n_samples)
    for i, n in enumerate(n_samples.tolist()):
        if snr_db[i] == CLEAN_DB:
            assert torch.equal(mixed.mixture[i], mixed.target[i])
            continue
        twin = literal_mix(clips[i, :n], noise[i, :n], float(snr_db[i]))
        for ours, theirs in zip(mixed[:3], twin, strict=True):
            np.testing.assert_allclose(ours[i, :n], theirs, rtol=1e-5, atol=1e-6)
            assert not ours[i, n:].any()
        power = [wav[i].double().square().sum() for wav in mixed[1:3]]
        ratio = 10 * math.log10(power[0] / power[1])
        assert ratio == pytest.approx(float(snr_db[i]), abs=1e-4)


def test_without_padding_nothing_changes():
    """Unpadded clips stay equal bit by bit, also in a batch with padded clips."""
    clips, noise, snr_db, clip_ids, n_samples = padded()
    plain = mix_batch(clips[:1], noise[:1], snr_db[:1], clip_ids[:1])
    assert plain.n_samples.tolist() == [3000]
    for count in (1, 4):
        mixed = mix_batch(
            clips[:count], noise[:count], snr_db[:count], clip_ids, n_samples[:count]
        )
        for ours, theirs in zip(mixed[:3], plain[:3], strict=True):
            assert torch.equal(ours[:1], theirs)


def test_the_unpadded_lengths_of_a_batch():
    clips, noise, snr_db, clip_ids, n_samples = padded()
    items = [
        {"id": name, "clip": clip, "interference": other, "snr_db": db, "n_samples": n}
        for name, clip, other, db, n in zip(
            clip_ids, clips, noise, snr_db.tolist(), n_samples.tolist(), strict=True
        )
    ]
    expected = mix_batch(clips, noise, snr_db, clip_ids, n_samples)
    mixed = make_mixtures(PaddedBatch(items), "cpu")
    assert all(map(torch.equal, mixed, expected))
    # Clips that are padded only by the batch keep their length.
    for item in items:
        n = item.pop("n_samples")
        item["clip"], item["interference"] = item["clip"][:n], item["interference"][:n]
    assert unpadded_lengths(PaddedBatch(items)).tolist() == n_samples.tolist()
    mixed = make_mixtures(PaddedBatch(items), "cpu")
    assert all(map(torch.equal, mixed, expected))


def test_autocast_does_not_change_mixtures():
    batch = real_sized()
    expected = mix_batch(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = mix_batch(*batch)
    assert all(map(torch.equal, mixed, expected))


def test_arguments_are_not_changed():
    batch = real_sized()
    copies = [part.clone() for part in batch[:3]]
    mix_batch(*batch)
    assert all(map(torch.equal, batch, copies))


@pytest.mark.parametrize("bad", [0.0, math.nan])
def test_silence_is_named(bad):
    with pytest.raises(DataError, match="the clip '1-100032-A-0' is silent: remove"):
        require_sound(torch.full((3000,), bad), "the clip '1-100032-A-0'")
    require_sound(torch.tensor([0.0, -1e-30]), "a quiet clip")


def test_cancelling_names_the_clip():
    clips, noise, snr_db, clip_ids = real_sized()
    noise[3] = -clips[3]
    with pytest.raises(DataError, match="clip '3' and its noise cancel out at 0 dB"):
        mix_batch(clips, noise, snr_db, clip_ids)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="clips and interference"):
        mix_batch(torch.ones(1, 5), torch.ones(1, 1), torch.zeros(1), ["a"])
