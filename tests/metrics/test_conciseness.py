"""Sparseness and complexity against their definitions and against Quantus."""

import math

import numpy as np
import pytest
import quantus
import torch

from lmac_td.metrics import complexity, complexity_bound, mask_mean, sparseness


def slow_gini(values):
    """Half the relative mean difference: the definition, over all pairs."""
    values = [abs(v) for v in values]
    n, total = len(values), sum(values)
    return sum(abs(a - b) for a in values for b in values) / (2 * n * total)


def slow_entropy(values):
    total = sum(abs(v) for v in values)
    shares = [abs(v) / total for v in values]
    return -sum(p * math.log(p) for p in shares if p > 0)


def maps(n_clips=8, shape=(6, 9), seed=0, dtype=torch.float32):
    """Random maps of both signs, from flat to sparse, some bins zero."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n_clips, *shape, generator=generator, dtype=torch.float64)
    power = torch.linspace(0.2, 6, n_clips).reshape(-1, 1, 1)
    a = a.sign() * a.abs() ** power
    a[:, :, ::4] = 0
    return a.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("metric", "slow"), [(sparseness, slow_gini), (complexity, slow_entropy)]
)
def test_equals_the_definition(metric, slow, dtype):
    a = maps(dtype=dtype)
    want = [slow(clip) for clip in a.double().flatten(1).tolist()]
    got = metric(a)
    assert got.shape == (8,)
    np.testing.assert_allclose(got.double().numpy(), want, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("metric", "reference"),
    [(sparseness, quantus.Sparseness), (complexity, quantus.Complexity)],
)
def test_equals_quantus_on_one_map_at_a_time(metric, reference):
    a = maps(4, (20, 30), seed=1).abs()
    theirs = []
    for clip in a:
        attribution = clip[None, None].double().numpy().copy()
        theirs += reference(disable_warnings=True)(
            model=None,
            x_batch=np.ones_like(attribution),
            y_batch=np.zeros(1, dtype=int),
            a_batch=attribution,
            channel_first=True,
        )
    np.testing.assert_allclose(metric(a).numpy(), theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("metric", [sparseness, complexity, mask_mean])
def test_batch_size_does_not_matter_and_the_map_stays(metric):
    a = maps(8, (50, 201), seed=2)
    copy = a.clone()
    whole = metric(a)
    for size in (1, 3, 8):
        assert torch.equal(torch.cat([metric(part) for part in a.split(size)]), whole)
    assert torch.equal(a, copy)


def test_a_clip_does_not_hear_its_neighbours():
    a = maps(3)
    louder = a * torch.tensor([1.0, 1e6, 0.0]).reshape(3, 1, 1)
    for metric in (sparseness, complexity):
        assert torch.equal(metric(louder)[0], metric(a)[0])
        assert metric(louder)[1].item() == pytest.approx(metric(a)[1].item(), rel=1e-5)


def test_sums_are_taken_in_float64():
    n = 220_000
    half = torch.ones(1, n, dtype=torch.float16)
    assert sparseness(half).item() == pytest.approx(0, abs=1e-9)
    assert complexity(half).item() == pytest.approx(math.log(n), abs=1e-6)
    assert mask_mean(half).item() == 1


def test_extremes():
    n = 10
    one_bin, constant = torch.zeros(1, n), torch.full((1, n), -0.3)
    one_bin[0, 3] = -7
    assert sparseness(one_bin).item() == pytest.approx(1 - 1 / n)
    assert complexity(one_bin).item() == 0
    assert sparseness(constant).item() == pytest.approx(0, abs=1e-7)
    assert sparseness(constant).item() >= 0
    assert complexity(constant).item() == pytest.approx(math.log(n))


def test_an_all_zero_map_is_nan_and_leaves_its_neighbours_alone():
    a = maps(3)
    a[1] = 0
    for metric in (sparseness, complexity):
        assert metric(a).isnan().tolist() == [False, True, False]


def test_complexity_is_bounded_by_sparseness():
    a = maps(40, (10, 12), seed=3, dtype=torch.float64)
    n = a[0].numel()
    slow = [math.log(n) * (n * (1 - s) - 1) / (n - 1) for s in sparseness(a).tolist()]
    np.testing.assert_allclose(complexity_bound(sparseness(a), n).numpy(), slow)
    assert (complexity(a) >= torch.tensor(slow) - 1e-9).all()
    # Both ends of the bound are reached: a single bin, and a constant map.
    ends = torch.zeros(2, n, dtype=torch.float64)
    ends[0, 0], ends[1] = 1, 1
    gap = complexity(ends) - complexity_bound(sparseness(ends), n)
    np.testing.assert_allclose(gap.numpy(), 0, atol=1e-9)


def test_mask_mean():
    mask = torch.tensor([[[0.0, 1.0], [0.5, 0.5]], [[1.0, 1.0], [1.0, 0.0]]])
    assert mask_mean(mask).tolist() == [0.5, 0.75]


@pytest.mark.parametrize("metric", [sparseness, complexity, mask_mean])
def test_wrong_maps_are_named(metric):
    with pytest.raises(ValueError, match=r"\(B, ...\)"):
        metric(torch.rand(5))
    with pytest.raises(ValueError, match="floating-point"):
        metric(torch.ones(2, 5, dtype=torch.complex64))
    with pytest.raises(ValueError, match="no values"):
        metric(torch.rand(2, 0))
    with pytest.raises(ValueError, match="NaN or inf"):
        metric(torch.full((1, 4), math.inf))
