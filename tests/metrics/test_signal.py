"""Kept energy and completeness against their definitions, number by number."""

import math

import numpy as np
import pytest
import torch

from lmac_td.metrics import (
    completeness_db,
    kept_energy_db,
    kept_gain,
    kept_of_source_db,
    si_sdr_db,
)
from lmac_td.metrics.signal import SI_SDR_LIMIT_DB, SILENCE_DB
from tests.conftest import WaitsForTheGpu


def slow_kept(x, i):
    return 10 * math.log10(sum(v * v for v in i) / sum(v * v for v in x))


def slow_si_sdr(estimate, reference):
    dot = sum(e * s for e, s in zip(estimate, reference, strict=True))
    alpha = dot / sum(s * s for s in reference)
    target = sum((alpha * s) ** 2 for s in reference)
    distortion = sum(
        (e - alpha * s) ** 2 for e, s in zip(estimate, reference, strict=True)
    )
    return 10 * math.log10(target / distortion)


def signals(n, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(n, 8, 400, generator=generator, dtype=torch.float64)
    return (draws - 0.4).to(dtype)  # an offset, so that removing a mean would show


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_equals_the_definition(dtype):
    x, i, r = signals(3, dtype=dtype)
    lists = [t.double().tolist() for t in (x, i, r)]
    kept = [slow_kept(a, b) for a, b, _ in zip(*lists, strict=True)]
    complete = [
        slow_si_sdr([b + c for b, c in zip(kept_, gone, strict=True)], a)
        for a, kept_, gone in zip(*lists, strict=True)
    ]
    ratio = [slow_si_sdr(b, a) for a, b, _ in zip(*lists, strict=True)]
    close = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(kept_energy_db(x, i).numpy(), kept, **close)
    np.testing.assert_allclose(completeness_db(x, i, r).numpy(), complete, **close)
    np.testing.assert_allclose(si_sdr_db(i, x).numpy(), ratio, **close)


def test_batch_size_does_not_matter_and_arguments_stay():
    x, i, r = signals(3, seed=1, dtype=torch.float32)
    copies = [t.clone() for t in (x, i, r)]
    for size in (1, 3):
        parts = list(zip(x.split(size), i.split(size), r.split(size), strict=True))
        kept = torch.cat([kept_energy_db(a, b) for a, b, _ in parts])
        complete = torch.cat([completeness_db(a, b, c) for a, b, c in parts])
        assert torch.equal(kept, kept_energy_db(x, i))
        assert torch.equal(complete, completeness_db(x, i, r))
    for tensor, copy in zip((x, i, r), copies, strict=True):
        assert torch.equal(tensor, copy)


def test_kept_energy_of_everything_half_and_nothing():
    x = signals(1)[0]
    assert kept_energy_db(x, x).tolist() == [0] * 8
    half = kept_energy_db(x, 0.5 * x)
    np.testing.assert_allclose(half.numpy(), 20 * math.log10(0.5), rtol=1e-12)
    assert kept_energy_db(x, torch.zeros_like(x)).tolist() == [-math.inf] * 8
    assert kept_energy_db(torch.zeros_like(x), x).tolist() == [math.inf] * 8
    assert kept_energy_db(torch.zeros_like(x), torch.zeros_like(x)).isnan().all()


def test_completeness_ends_where_float32_ends():
    x = signals(1, dtype=torch.float32)[0]
    zeros = torch.zeros_like(x)
    assert completeness_db(x, x, zeros).tolist() == [SI_SDR_LIMIT_DB] * 8
    assert completeness_db(x, zeros, x).tolist() == [SI_SDR_LIMIT_DB] * 8
    assert completeness_db(x, zeros, zeros).tolist() == [-SI_SDR_LIMIT_DB] * 8
    rounded = completeness_db(x, x / 3, x - x / 3)
    assert rounded.tolist() == [SI_SDR_LIMIT_DB] * 8
    assert completeness_db(zeros, x, zeros).isnan().all()
    assert completeness_db(zeros, zeros, zeros).isnan().all()


def test_completeness_hears_what_is_invented_and_what_is_lost():
    x, invented = signals(2)
    assert (completeness_db(x, 0.3 * x + 0.1 * invented, 0.7 * x) < 30).all()
    lost = x.clone()
    lost[:, :40] = 0
    assert (completeness_db(x, lost, torch.zeros_like(x)) < 30).all()


def test_an_offset_is_a_distortion():
    x = signals(1)[0]
    assert (si_sdr_db(x + 0.1, x) < 30).all()


def test_arguments_are_checked_at_one_look():
    wavs = torch.rand(3, 8)
    with WaitsForTheGpu() as waits:
        kept_energy_db(wavs, wavs)
    assert waits.times == 1
    spoilt = wavs.clone()
    spoilt[1, 2], spoilt[2, 0] = math.nan, math.inf
    with pytest.raises(ValueError, match=r"^residual is NaN .* clips \[1, 2\] of"):
        completeness_db(wavs, wavs, spoilt)
    with pytest.raises(ValueError, match=r"^interpretation is NaN or infinite in"):
        completeness_db(wavs, spoilt, spoilt)


def test_wrong_signals_are_named():
    x = torch.rand(2, 5)
    with pytest.raises(ValueError, match="interpretation and wavs"):
        kept_energy_db(x, x[:, :4])
    with pytest.raises(ValueError, match="residual and wavs"):
        completeness_db(x, x, x[:1])
    with pytest.raises(ValueError, match=r"estimate must have shape \(B, T\)"):
        si_sdr_db(x[0], x[0])
    with pytest.raises(ValueError, match="floating-point"):
        kept_energy_db(x.int(), x.int())


def slow_gain(kept, whole):
    return [
        0.0 if x == 0 else min(1.0, i / x) for i, x in zip(kept, whole, strict=True)
    ]


def slow_kept_of_source(gain, source):
    kept = sum((g * s) ** 2 for g, s in zip(gain, source, strict=True))
    return 10 * math.log10(kept / sum(s * s for s in source))


def spectra(dtype=torch.float64):
    generator = torch.Generator().manual_seed(4)
    kept, whole, source = torch.rand(3, 8, 6, 9, generator=generator).to(dtype)
    whole[0, 2], kept[0, 2, :4] = 0, 0
    return kept, whole, source


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_is_kept_of_a_source_equals_the_definition(dtype):
    kept, whole, source = spectra(dtype)
    gain = kept_gain(kept, whole)
    assert gain.shape == whole.shape
    want = [
        slow_gain(i, x)
        for i, x in zip(
            kept.flatten(1).tolist(), whole.flatten(1).tolist(), strict=True
        )
    ]
    np.testing.assert_allclose(gain.flatten(1).numpy(), want, rtol=1e-6)
    assert (gain == 1).any()
    want = [
        slow_kept_of_source(g, s)
        for g, s in zip(want, source.flatten(1).tolist(), strict=True)
    ]
    got = kept_of_source_db(gain, source)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-5)


def test_a_perfect_mask_keeps_the_target_and_not_the_interference():
    _, _, target = spectra()
    other = torch.rand_like(target)
    apart = (torch.rand_like(target) < 0.5).double()
    target, other = apart * target, (1 - apart) * other
    gain = kept_gain(target, target + other)
    assert kept_of_source_db(gain, target).eq(0).all()
    assert kept_of_source_db(gain, other).eq(SILENCE_DB).all()
    half = kept_of_source_db(0.5 * gain, target)
    np.testing.assert_allclose(half.numpy(), 20 * math.log10(0.5), rtol=1e-12)


def test_silence_is_finite_and_a_silent_source_undefined():
    source = spectra()[2]
    assert kept_of_source_db(torch.zeros_like(source), source).tolist() == [-100] * 8
    assert kept_of_source_db(1e-9 * source, source).tolist() == [SILENCE_DB] * 8
    assert kept_of_source_db(source, torch.zeros_like(source)).isnan().all()


def test_kept_of_source_by_itself_and_in_a_batch():
    kept, whole, source = spectra(torch.float32)
    copies = [t.clone() for t in (kept, whole, source)]
    gain = kept_gain(kept, whole)
    for i in range(8):
        alone = kept_gain(kept[i : i + 1], whole[i : i + 1])
        assert torch.equal(alone, gain[i : i + 1])
        db = kept_of_source_db(alone, source[i : i + 1])
        assert torch.equal(db, kept_of_source_db(gain, source)[i : i + 1])
    for tensor, copy in zip((kept, whole, source), copies, strict=True):
        assert torch.equal(tensor, copy)
    with pytest.raises(ValueError, match="magnitude and magnitude_in"):
        kept_gain(kept, whole[:3])
    with pytest.raises(ValueError, match="source_mag and gain"):
        kept_of_source_db(gain, source[:, :2])


def test_padding_does_not_count():
    """The definitions over the samples before padding, whatever sounds after them."""
    x, i, r = signals(3, seed=4)
    n_samples = torch.tensor([400, 399, 250, 10, 400, 1, 200, 300])
    ours = (
        kept_energy_db(x, i, n_samples),
        completeness_db(x, i, r, n_samples),
        si_sdr_db(i, x, n_samples),
    )
    for clip, n in enumerate(n_samples.tolist()):
        if n == 1:
            continue  # one sample has no distortion
        a, kept, gone = (t[clip, :n].tolist() for t in (x, i, r))
        total = [b + c for b, c in zip(kept, gone, strict=True)]
        twin = (slow_kept(a, kept), slow_si_sdr(total, a), slow_si_sdr(kept, a))
        for mine, theirs in zip(ours, twin, strict=True):
            assert float(mine[clip]) == pytest.approx(theirs, rel=1e-9)
    assert float(ours[2][5]) == SI_SDR_LIMIT_DB


def test_clips_without_padding_stay_what_they_are():
    x, i, r = signals(3, seed=5, dtype=torch.float32)
    n_samples = torch.tensor([400] * 7 + [30])
    for metric, arguments in (
        (kept_energy_db, (x, i)),
        (completeness_db, (x, i, r)),
        (si_sdr_db, (i, x)),
    ):
        ours, plain = metric(*arguments, n_samples), metric(*arguments)
        assert torch.equal(ours[:7], plain[:7])
        assert ours[7] != plain[7]
        assert torch.equal(metric(*arguments, torch.full((8,), 400)), plain)


@pytest.mark.parametrize("wrong", [[400] * 7, [0] + [400] * 7, [401] + [400] * 7])
def test_lengths_that_cannot_be(wrong):
    x, i, _ = signals(3)
    with pytest.raises(ValueError, match="valid length"):
        kept_energy_db(x, i, torch.tensor(wrong))
