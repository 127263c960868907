"""Relevance becomes scores: it is averaged over kernels and scaled."""

import math

import pytest
import torch
from torch import nn

from lmac_td.errors import SettingError
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.budgeted import KERNELS, Relevance
from lmac_td.interpreters.budgeted.scores import (
    box_mean,
    kernel_in_bins,
    nearest_odd,
    scaled,
)
from tests.conftest import SAMPLE_RATE


@pytest.mark.parametrize("frames", [1, 3, 7, 51])
@pytest.mark.parametrize("bins", [1, 5, 65])
def test_a_mean_over_a_box_counts_only_what_is_inside(frames, bins):
    """Kernels may be larger than the map: 20 frames, 33 bins."""
    x = torch.randn(2, 20, 33)
    expected = torch.empty_like(x)
    for t in range(20):
        for f in range(33):
            times = slice(max(0, t - frames // 2), t + frames // 2 + 1)
            freqs = slice(max(0, f - bins // 2), f + bins // 2 + 1)
            expected[:, t, f] = x[:, times, freqs].mean(dim=(1, 2))
    found = box_mean(x, frames, bins)
    assert found.dtype == x.dtype
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    pooled = nn.functional.avg_pool2d(
        x.unsqueeze(1),
        (frames, bins),
        stride=1,
        padding=(frames // 2, bins // 2),
        count_include_pad=False,
    )
    torch.testing.assert_close(found, pooled[:, 0], atol=1e-6, rtol=1e-5)


def test_a_mean_beside_a_loud_event_keeps_its_digits():
    x = torch.full((1, 50, 60), 1e-4)
    x[0, 0, 0] = 1e4
    found = box_mean(x, frames=5, bins=5)[0, 10:]
    torch.testing.assert_close(found, torch.full_like(found, 1e-4), rtol=1e-4, atol=0)


def test_a_box_of_one_bin_changes_nothing():
    """The order of the smallest values is kept, too."""
    x = torch.randn(2, 40, 50) ** 31
    assert torch.equal(box_mean(x, frames=1, bins=1), x)


@pytest.mark.parametrize("rate", [8000, 16000, 32000])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_covers_the_nearest_odd_number_of_bins_and_frames(rate, kernel):
    features = SpectralFeatures(rate, 1024, 23.2199, 11.6099)
    bins, frames = kernel_in_bins(kernel, features)
    hz, ms = kernel
    for found, wanted in (
        (bins, hz / (rate / 1024)),
        (frames, ms / (1000 * features.hop_samples / rate)),
    ):
        assert found % 2 == 1
        assert found >= 1
        assert abs(found - wanted) <= 1 or found == 1


def test_the_kernels_of_the_recipes(spectral):
    assert [kernel_in_bins(kernel, spectral) for kernel in KERNELS] == [
        (1, 13), (5, 7), (17, 23), (33, 23), (65, 23), (129, 45),
    ]  # fmt: skip
    assert kernel_in_bins((0.001, 0.001), spectral) == (1, 1)
    assert [nearest_odd(x) for x in (1, 2.5, 3, 4.1, 100.3)] == [1, 3, 3, 5, 101]


@pytest.mark.parametrize(
    "kernel", [(0, 3), (3, 0), (-1, 3), (3,), (1, 2, 3), 5, "ab", (True, 3),
               ("1", 3), (math.inf, 3), (math.nan, 3), None],
)  # fmt: skip
def test_a_kernel_is_a_pair_of_numbers_above_0(spectral, kernel):
    with pytest.raises(SettingError, match="give --kernels pairs"):
        Relevance(spectral, [(80, 80), kernel])


@pytest.mark.parametrize("kernels", [[], (), None, 5])
def test_at_least_one_kernel(spectral, kernels):
    with pytest.raises(SettingError, match="give --kernels pairs"):
        Relevance(spectral, kernels)


@pytest.mark.parametrize("size", [1, 1e-30, 1e-40, 1e30])
def test_scores_are_4_asinh_of_twice_the_relevance_over_its_rms(size):
    shape = (2, 3, 10, 12)
    relevance = torch.randn(shape) ** 3
    expected = torch.empty(shape)
    for b in range(2):
        for k in range(3):
            rms = math.sqrt(sum(float(r) ** 2 for r in relevance[b, k].flatten()) / 120)
            for t in range(10):
                for f in range(12):
                    value = 4 * math.asinh(2 * float(relevance[b, k, t, f]) / rms)
                    expected[b, k, t, f] = value
    found = scaled(relevance * size)
    tolerance = 1e-4 if size > 1e-38 else 0.05  # numbers that small have few digits
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_scores_of_a_map_of_zeros_are_0_and_leave_other_clips_alone():
    relevance = torch.randn(3, 10, 12)
    relevance[1] = 0
    found = scaled(relevance)
    assert (found[1] == 0).all()
    assert torch.equal(found[2:], scaled(relevance[2:]))


def test_a_value_100_times_larger_hides_no_other():
    """Scores grow logarithmically beyond the RMS."""
    relevance = torch.randn(1, 40, 40)
    relevance[0, 0, 0] = 1000
    scores = scaled(relevance)
    assert scores.max() < 25
    assert scores[0, 1:].std() > 0.2


class Given(Relevance):
    """Relevance that is given, one map or one for each kernel."""

    def __init__(self, features, kernels, maps):
        super().__init__(features, kernels)
        self.maps = maps

    def relevance(self, wavs, features, decision):
        return self.maps


@pytest.mark.parametrize("own", [False, True])
def test_each_kernel_gives_one_candidate(spectral, frozen, own):
    kernels = [(15, 144), (80, 80), (265, 270)]
    maps = torch.randn(2, 3, 87, 513) if own else torch.randn(2, 87, 513)
    source = Given(spectral, kernels, maps)
    wavs = torch.randn(2, SAMPLE_RATE)
    candidates = source(wavs, spectral(wavs), frozen.decide(wavs))
    assert source.n_candidates == 3
    assert candidates.shape == (2, 3, 87, 513)
    for k, (bins, frames) in enumerate([(1, 13), (5, 7), (17, 23)]):
        one = maps[:, k] if own else maps
        expected = scaled(box_mean(one, frames, bins))
        assert torch.equal(candidates[:, k], expected)
