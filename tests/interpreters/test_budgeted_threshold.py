"""A soft threshold keeps exactly the share that it is asked for."""

import pytest
import scipy.optimize
import torch

from lmac_td.interpreters.budgeted import share_kept, soft_threshold
from lmac_td.interpreters.budgeted.threshold import POWERS

KEEP_BY = tuple(POWERS)
SIZES = (0.001, 0.04, 0.25, 0.5, 0.7, 0.99)
SHAPE = (3, 20, 33)


def loudness(shape=SHAPE, seed=1):
    """Magnitudes of very different sizes, as those of sounds are."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator) ** 6


def one_dominates():
    magnitude = loudness()
    magnitude[:, 3, 5] = 1e6
    return magnitude


def two_groups(distance):
    scores = torch.zeros(SHAPE)
    scores[:, :7] = distance
    return scores


SCORES = {
    "random": lambda: 4 * torch.randn(SHAPE),
    "constant": lambda: torch.full(SHAPE, -7.3),
    "a huge range": lambda: 1e4 * torch.randn(SHAPE),
    "the largest range": lambda: 5e5 * (2 * torch.rand(SHAPE) - 1),
    "a tiny range": lambda: 1e-6 * torch.randn(SHAPE),
    "far from 0": lambda: 1000 + torch.randn(SHAPE),
    "two groups": lambda: two_groups(2e4),
    "float16": lambda: (4 * torch.randn(SHAPE)).half(),
    "bfloat16": lambda: (4 * torch.randn(SHAPE)).bfloat16(),
    "float64": lambda: 4 * torch.randn(SHAPE).double(),
}
MAGNITUDES = {
    "random": loudness,
    "one bin dominates": one_dominates,
    "nearly silent": lambda: 1e-30 * loudness(),
    "silent": lambda: torch.zeros(SHAPE),
    "one bin sounds": lambda: one_dominates() * (one_dominates() == 1e6),
    "float16": lambda: loudness().half(),
    "float64": lambda: loudness().double(),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("keep_by", KEEP_BY)
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("scores", SCORES)
def test_the_size_is_met(scores, magnitude, keep_by, size):
    scores, magnitude = SCORES[scores](), MAGNITUDES[magnitude]()
    mask = soft_threshold(scores, magnitude, torch.full((3,), size), keep_by)
    assert mask.dtype == torch.promote_types(scores.dtype, torch.float32)
    assert mask.isfinite().all()
    assert mask.min() >= 0
    assert mask.max() <= 1
    share = share_kept(mask, magnitude, keep_by)
    torch.testing.assert_close(
        share, torch.full_like(share, size), atol=1e-4, rtol=1e-3
    )


def test_the_share_of_the_clip_counts_amplitude_or_energy():
    mask = torch.tensor([[[0.5, 1.0, 0.0]]])
    magnitude = torch.tensor([[[2.0, 1.0, 3.0]]])
    amplitude = (0.5 * 2 + 1) / 6
    energy = (1**2 + 1**2) / (2**2 + 1**2 + 3**2)
    assert share_kept(mask, magnitude).item() == pytest.approx(amplitude)
    assert share_kept(mask, magnitude, "energy").item() == pytest.approx(energy)


def test_of_a_silent_clip_the_share_of_its_bins_is_kept():
    mask = soft_threshold(torch.randn(SHAPE), torch.zeros(SHAPE), torch.full((3,), 0.3))
    torch.testing.assert_close(
        mask.mean(dim=(1, 2)), torch.full((3,), 0.3), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("keep_by", KEEP_BY)
def test_one_frame_and_one_bin(keep_by):
    for shape in ((2, 1, 33), (2, 1, 1)):
        magnitude = loudness(shape)
        mask = soft_threshold(torch.randn(shape), magnitude, torch.ones(2) / 2, keep_by)
        share = share_kept(mask, magnitude, keep_by)
        torch.testing.assert_close(share, torch.ones(2) / 2, atol=1e-5, rtol=0)


@pytest.mark.parametrize("keep_by", KEEP_BY)
@pytest.mark.parametrize("scores", SCORES)
def test_a_size_of_1_keeps_everything_exactly(scores, keep_by):
    scores = SCORES[scores]().requires_grad_()
    for magnitude in MAGNITUDES.values():
        mask = soft_threshold(scores, magnitude(), torch.ones(3), keep_by)
        assert (mask == 1).all()
    mask.sum().backward()
    assert (scores.grad == 0).all()


@pytest.mark.parametrize("keep_by", KEEP_BY)
@pytest.mark.parametrize("scores", ["random", "a huge range", "constant"])
def test_a_larger_size_keeps_no_bin_less(scores, keep_by):
    scores, magnitude = SCORES[scores](), loudness()
    before = torch.zeros(SHAPE)
    for size in torch.linspace(0.005, 1, 80):
        mask = soft_threshold(scores, magnitude, size.expand(3), keep_by)
        assert (mask >= before).all()
        before = mask


@pytest.mark.parametrize("keep_by", KEEP_BY)
@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_the_least_and_the_largest_sizes(magnitude, scores, keep_by):
    """Also where the share hardly depends on the level."""
    scores, magnitude = SCORES[scores](), MAGNITUDES[magnitude]()
    upper = magnitude[0, :7].float().sum() / magnitude[0].float().sum().clamp(min=1e-30)
    for size in (1e-30, 1e-9, 1e-6, float(upper), 1 - 1e-6, 1 - 6e-8):
        if 0 < size < 1:
            mask = soft_threshold(scores, magnitude, torch.full((3,), size), keep_by)
            share = share_kept(mask, magnitude, keep_by)[0].item()
            assert share == pytest.approx(size, abs=1e-5)


def test_higher_scores_are_kept_more():
    scores = torch.randn(SHAPE)
    mask = soft_threshold(scores, loudness(), torch.full((3,), 0.4))
    order = scores.flatten(1).argsort(dim=1)
    assert (mask.flatten(1).gather(1, order).diff(dim=1) >= 0).all()


def by_root_finding(scores, magnitude, size, power):
    """A slow literal twin for one clip, in float64."""
    scores, amount = scores.double(), magnitude.double() ** power

    def excess(level):
        mask = torch.sigmoid(scores - level)
        return float((mask**power * amount).sum() / amount.sum() - size)

    low, high = float(scores.min()) - 40, float(scores.max()) + 40
    level = scipy.optimize.brentq(excess, low, high, xtol=1e-13)
    return torch.sigmoid(scores - level)


@pytest.mark.parametrize("keep_by", KEEP_BY)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-8)]
)
def test_the_level_is_that_of_a_general_root_finder(size, keep_by, dtype, tolerance):
    scores, magnitude = 4 * torch.randn(SHAPE).to(dtype), loudness().to(dtype)
    masks = soft_threshold(
        scores, magnitude, torch.full((3,), size, dtype=dtype), keep_by
    )
    for clip in range(3):
        expected = by_root_finding(scores[clip], magnitude[clip], size, POWERS[keep_by])
        torch.testing.assert_close(
            masks[clip].double(), expected, atol=tolerance, rtol=0
        )


@pytest.mark.parametrize("keep_by", KEEP_BY)
def test_a_clip_has_the_same_mask_alone_as_in_a_batch(keep_by):
    spread = torch.tensor([0.1, 4, 300])[:, None, None]
    scores, magnitude = spread * torch.randn(SHAPE), loudness()
    size = torch.tensor([0.1, 0.5, 0.9])
    masks = soft_threshold(scores, magnitude, size, keep_by)
    for clip in range(3):
        one = slice(clip, clip + 1)
        alone = soft_threshold(scores[one], magnitude[one], size[one], keep_by)
        torch.testing.assert_close(alone, masks[one], atol=1e-6, rtol=0)


def test_candidates_share_the_magnitude_and_the_size_of_their_clip():
    scores, magnitude = torch.randn(2, 4, 20, 33), loudness((2, 20, 33))
    size = torch.tensor([0.2, 0.6])
    masks = soft_threshold(scores, magnitude.unsqueeze(1), size.unsqueeze(1))
    for k in range(4):
        alone = soft_threshold(scores[:, k], magnitude, size)
        torch.testing.assert_close(masks[:, k], alone, atol=1e-6, rtol=0)


def losses(weights):
    return {
        "linear": lambda mask: (mask * weights).sum(),
        # Each bin's part depends on the whole mask.
        "of the whole mask": lambda mask: (
            (mask * weights).sum() ** 2 / (1 + mask.square().sum())
            + (mask.logsumexp(dim=(1, 2)) * weights[:, 0, 0]).sum()
        ),
    }


@pytest.mark.parametrize("loss", losses(None))
@pytest.mark.parametrize("keep_by", KEEP_BY)
@pytest.mark.parametrize("size", [0.05, 0.5, 0.9])
def test_gradients_are_those_of_finite_differences(size, keep_by, loss):
    shape = (2, 4, 5)
    scores = (2 * torch.randn(shape)).double().requires_grad_()
    magnitude = loudness(shape).double()
    loss = losses(torch.randn(shape).double())[loss]
    size = torch.full((2,), size).double()

    def value(scores):
        return loss(soft_threshold(scores, magnitude, size, keep_by))

    (gradient,) = torch.autograd.grad(value(scores), scores)
    assert gradient.abs().max() > 1e-3
    step, found = 1e-4, torch.zeros(shape).double()
    with torch.no_grad():
        for index in torch.cartesian_prod(*map(torch.arange, shape)).tolist():
            moved = torch.zeros_like(scores)
            moved[tuple(index)] = step
            difference = value(scores + moved) - value(scores - moved)
            found[tuple(index)] = difference / (2 * step)
    torch.testing.assert_close(gradient, found, atol=1e-6, rtol=1e-5)


def test_the_size_does_not_change_along_the_gradient():
    """The level moves with the scores, so the share is a constant."""
    scores = torch.randn(SHAPE).requires_grad_()
    mask = soft_threshold(scores, loudness(), torch.full((3,), 0.3))
    share_kept(mask, loudness()).sum().backward()
    torch.testing.assert_close(scores.grad, torch.zeros(SHAPE), atol=1e-7, rtol=0)


@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("scores", SCORES)
def test_gradients_are_finite(scores, magnitude):
    scores = SCORES[scores]().requires_grad_()
    for keep_by in KEEP_BY:
        mask = soft_threshold(
            scores, MAGNITUDES[magnitude](), torch.full((3,), 0.3), keep_by
        )
        (gradient,) = torch.autograd.grad(mask.square().sum(), scores)
        assert gradient.isfinite().all()
        assert gradient.dtype == scores.dtype


def test_few_passes_over_the_bins_find_the_level(monkeypatch):
    """Scores 30 apart need 8 halvings and 3 steps."""
    passes, subtract = [], torch.sub

    def counted(*arguments, **settings):
        passes.append(arguments)
        return subtract(*arguments, **settings)

    monkeypatch.setattr(torch, "sub", counted)
    scores = 30 * torch.rand(SHAPE)
    soft_threshold(scores, loudness(), torch.full((3,), 0.3))
    assert 3 < len(passes) <= 11
