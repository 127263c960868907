"""Bins taken largest first, and areas under curves, against their definitions."""

import itertools

import numpy as np
import pytest
import torch

from lmac_td.metrics import area_under, top_bins, top_bins_at
from lmac_td.metrics.curves import SIZES


def slow_top_bins(ranking, magnitude, size, exponent=2):
    """One clip without ties, bin by bin."""
    bins = sorted(np.ndindex(*ranking.shape), key=lambda at: -ranking[at])
    whole = sum(magnitude[at] ** exponent for at in bins)
    taken, spent = np.zeros(ranking.shape, dtype=bool), 0.0
    for at in bins:
        taken[at] = True
        spent += magnitude[at] ** exponent
        if spent >= size * whole:
            break
    return taken


def draw(n_clips=8, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    ranking = torch.randn(n_clips, 6, 9, generator=generator).to(dtype)
    magnitude = torch.rand(n_clips, 6, 9, generator=generator).to(dtype) ** 3
    return ranking, magnitude


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", [1e-9, 0.05, 0.2, 0.6, 0.999])
def test_equals_the_definition(dtype, size):
    ranking, magnitude = draw(dtype=dtype)
    got = top_bins(ranking, magnitude, size)
    for i in range(8):
        want = slow_top_bins(ranking[i].numpy(), magnitude[i].double().numpy(), size)
        np.testing.assert_array_equal(got[i].numpy(), want)
    if size == 1e-9:
        assert (got.sum(dim=(1, 2)) == 1).all()


@pytest.mark.parametrize("size", [0.05, 0.2, 0.6])
def test_size_by_amplitude_equals_the_definition(size):
    ranking, magnitude = draw()
    got = top_bins(ranking, magnitude, size, by="amplitude")
    for i in range(8):
        args = ranking[i].numpy(), magnitude[i].double().numpy(), size
        want = slow_top_bins(*args, exponent=1)
        np.testing.assert_array_equal(got[i].numpy(), want)


def test_quiet_bins_are_free_by_energy_and_have_a_price_by_amplitude():
    magnitude = torch.full((1, 1, 101), 0.01)
    magnitude[..., 0] = 1.0
    quiet_first = -magnitude
    by_energy = top_bins(quiet_first, magnitude, 0.4)
    by_amplitude = top_bins(quiet_first, magnitude, 0.4, by="amplitude")
    assert by_energy.all()  # the hundred quiet bins hold a hundredth of the energy
    assert by_amplitude.sum() in (80, 81)  # and half of the amplitude


def test_the_bin_that_crosses_the_line_is_in_and_no_more():
    ranking = torch.tensor([[[4.0, 3.0, 2.0, 1.0]]])
    magnitude = torch.ones(1, 1, 4)
    for size, n_bins in ((0.1, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (1, 4)):
        want = torch.arange(4) < n_bins
        assert torch.equal(top_bins(ranking, magnitude, size)[0, 0], want), size


def test_every_map_spends_the_same_energy():
    """A large mask cannot win by keeping everything."""
    ranking, magnitude = draw()
    energy = magnitude.double().square()
    whole = energy.sum(dim=(1, 2))
    for mask in (ranking.sigmoid(), 0.01 * ranking.sigmoid(), (ranking > 1).float()):
        for size, top in zip(SIZES, top_bins_at(mask, magnitude), strict=True):
            spent = (energy * top).sum(dim=(1, 2))
            assert (spent >= size * whole * (1 - 1e-12)).all()
            assert (spent <= size * whole + energy.amax(dim=(1, 2))).all()


def test_several_sizes_are_cut_as_one_is_and_contain_each_other():
    ranking, magnitude = draw()
    ranking = ranking.round()  # ties
    tops = top_bins_at(ranking, magnitude)
    assert len(tops) == len(SIZES)
    for size, top in zip(SIZES, tops, strict=True):
        assert torch.equal(top, top_bins(ranking, magnitude, size))
    for small, large in itertools.pairwise(tops):
        assert (small <= large).all()
    assert top_bins(ranking, magnitude, 1).flatten(1).all()


def test_only_the_order_counts():
    ranking, magnitude = draw(dtype=torch.float64)
    want = top_bins(ranking, magnitude, 0.3)
    assert torch.equal(top_bins(0.001 * ranking, 50 * magnitude, 0.3), want)
    assert torch.equal(top_bins(ranking.exp(), magnitude, 0.3), want)
    assert not torch.equal(top_bins(-ranking, magnitude, 0.3), want)


def test_ties_are_broken_by_chance_and_the_same_chance_for_all():
    constant = torch.full((3, 40, 50), 0.5)
    constant[1], constant[2] = 0, -3
    top = top_bins(constant, torch.ones(3, 40, 50), 0.5)
    assert torch.equal(top[0], top[1])
    assert torch.equal(top[0], top[2])
    # Neither low frequencies nor early frames come first.
    for half in (top[0, :20], top[0, :, :25]):
        assert 400 < half.sum() < 600
    torch.manual_seed(5)
    assert torch.equal(top_bins(constant, torch.ones(3, 40, 50), 0.5), top)


def test_ties_follow_all_larger_bins():
    ranking = torch.zeros(1, 4, 5)
    ranking[0, 1, 2], ranking[0, 3, 0] = 0.1, 0.2
    top = top_bins(ranking, torch.ones(1, 4, 5), 0.5)
    assert top.sum() == 10
    assert top[0, 1, 2]
    assert top[0, 3, 0]
    negative = top_bins(ranking - 0.15, torch.ones(1, 4, 5), 0.5)
    assert torch.equal(negative, top)


def test_a_silent_clip_gives_one_bin():
    ranking, magnitude = draw(2)
    top = top_bins(ranking, magnitude * torch.tensor([0.0, 1.0])[:, None, None], 0.6)
    assert top[0].sum() == 1
    assert top[0].flatten()[ranking[0].argmax()]
    assert top[1].sum() > 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_batch_size_does_not_matter_and_arguments_stay(dtype):
    ranking, magnitude = draw(dtype=dtype)
    ranking = (2 * ranking).round()
    copies = ranking.clone(), magnitude.clone()
    whole = top_bins_at(ranking, magnitude)
    for size in (1, 3, 8):
        parts = zip(ranking.split(size), magnitude.split(size), strict=True)
        tops = zip(*(top_bins_at(*part) for part in parts), strict=True)
        for got, want in zip(tops, whole, strict=True):
            assert torch.equal(torch.cat(got), want)
    assert torch.equal(ranking, copies[0])
    assert torch.equal(magnitude, copies[1])


def slow_area(p, sizes):
    area = 0.0
    for i in range(1, len(sizes)):
        area += (sizes[i] - sizes[i - 1]) * (p[i] + p[i - 1]) / 2
    return area / (sizes[-1] - sizes[0])


def test_area_equals_the_trapezoidal_rule():
    p = torch.rand(8, len(SIZES), dtype=torch.float64)
    want = [slow_area(clip, SIZES) for clip in p.tolist()]
    np.testing.assert_allclose(area_under(p).numpy(), want, rtol=1e-12)
    assert area_under(p.float()).dtype == torch.float32
    assert ((area_under(p) > p.amin(dim=1)) & (area_under(p) < p.amax(dim=1))).all()


def test_area_is_a_mean_height():
    for height in (0, 0.25, 1):
        p = torch.full((2, len(SIZES)), float(height))
        torch.testing.assert_close(area_under(p), p[:, 0])
    # On unequal steps the wide ones count for more.
    assert area_under(torch.tensor([[0.0, 0, 0, 0, 1]])) > 0.15


def test_wrong_arguments_are_named():
    ranking, magnitude = draw(2)
    with pytest.raises(ValueError, match="magnitude and ranking"):
        top_bins(ranking, magnitude[:, :3], 0.5)
    for size in (0, -0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="sizes must be in"):
            top_bins(ranking, magnitude, size)
    with pytest.raises(ValueError, match="ranking is NaN"):
        top_bins(ranking / 0, magnitude, 0.5)
    with pytest.raises(ValueError, match="by must be one of energy, amplitude"):
        top_bins(ranking, magnitude, 0.5, by="loudness")
    with pytest.raises(ValueError, match="4 columns for 5 sizes"):
        area_under(torch.rand(2, 4))
    for sizes in ((0.5,), (0.5, 0.5), (0.5, 0.2)):
        with pytest.raises(ValueError, match="ascending"):
            area_under(torch.rand(2, len(sizes)), sizes)
