"""Each faithfulness metric against its equation, written out clip by clip."""

import math

import numpy as np
import pytest
import torch

from lmac_td import metrics
from tests.conftest import WaitsForTheGpu

PAIRS = [
    metrics.average_increase,
    metrics.average_drop,
    metrics.average_gain,
    metrics.faithfulness,
    metrics.input_fidelity,
    metrics.average_drop_published,
]


def slow_argmax(row):
    best = 0
    for j in range(len(row)):
        if row[j] > row[best]:
            best = j
    return best


def slow_softmax(row):
    exponentials = [math.exp(p) for p in row]
    return [e / sum(exponentials) for e in exponentials]


def slow_drop(x, y, c):
    return 100 * max(0.0, x[c] - y[c]) / x[c]


def slow_gain(x, y, c):
    return 100 * max(0.0, y[c] - x[c]) / (1 - x[c]) if x[c] < 1 else 0.0


def slow_published(x, y, c):
    return slow_drop(slow_softmax(x), slow_softmax(y), c)


SLOW = {
    "average_increase": lambda x, y, c: 100.0 if y[c] > x[c] else 0.0,
    "average_drop": slow_drop,
    "average_gain": slow_gain,
    "faithfulness": lambda x, y, c: x[c] - y[c],
    "input_fidelity": lambda x, y, c: float(slow_argmax(y) == c),
    "average_drop_published": slow_published,
}


def probabilities(n_clips=40, n_classes=6, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n_clips, n_classes, generator=generator, dtype=torch.float64)
    return (3 * logits).softmax(dim=1).to(dtype)


@pytest.mark.parametrize("metric", PAIRS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_equals_the_equation(metric, dtype):
    p_x, p_y = probabilities(seed=1, dtype=dtype), probabilities(seed=2, dtype=dtype)
    p_y[:10] = (0.9 * p_x[:10].double() + 0.1 * p_y[:10].double()).to(dtype)
    slow = [
        SLOW[metric.__name__](x, y, slow_argmax(x))
        for x, y in zip(p_x.double().tolist(), p_y.double().tolist(), strict=True)
    ]
    got = metric(p_x, p_y)
    assert got.shape == (40,)
    assert got.dtype == torch.promote_types(dtype, torch.float32)
    np.testing.assert_allclose(got.double().numpy(), slow, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("metric", PAIRS, ids=lambda f: f.__name__)
def test_batch_size_does_not_matter_and_arguments_stay(metric):
    p_x = probabilities(seed=3, dtype=torch.float32)
    p_y = probabilities(seed=4, dtype=torch.float32)
    copies = p_x.clone(), p_y.clone()
    whole = metric(p_x, p_y)
    for size in (1, 3, 8):
        parts = [
            metric(a, b) for a, b in zip(p_x.split(size), p_y.split(size), strict=True)
        ]
        assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(p_x, copies[0])
    assert torch.equal(p_y, copies[1])


@pytest.mark.parametrize("metric", PAIRS, ids=lambda f: f.__name__)
def test_wrong_arguments_are_named(metric):
    p = probabilities(3)
    with pytest.raises(ValueError, match="same shape"):
        metric(p, p[:, :5])
    with pytest.raises(ValueError, match=r"p_x must have shape \(B, C\)"):
        metric(p[0], p[0])
    with pytest.raises(ValueError, match="p_x must be a floating-point tensor"):
        metric(p.argmax(dim=1, keepdim=True), p[:, :1])
    with pytest.raises(ValueError, match="apply the softmax"):
        metric(p, 5 * p)
    other = "p_out" if metric is metrics.faithfulness else "p_in"
    for bad in (math.nan, math.inf, -math.inf):
        spoilt = p * torch.tensor([[1.0], [bad], [1.0]])
        match = r" is NaN or infinite in clips \[1\] of the batch\.$"
        with pytest.raises(ValueError, match=f"^{other}{match}"):
            metric(p, spoilt)
        with pytest.raises(ValueError, match=f"^p_x{match}"):
            metric(spoilt, 5 * p)  # both are wrong: NaN is said first
    with pytest.raises(ValueError, match=r"^p_x must hold .* -1 to 0: apply"):
        metric(p.round() - 1, 5 * p)  # both are: the first is named


@pytest.mark.parametrize("metric", PAIRS, ids=lambda f: f.__name__)
def test_arguments_are_checked_at_one_look(metric):
    p = probabilities()
    with WaitsForTheGpu() as waits:
        metric(p, p)
    assert waits.times == 1


def test_the_decided_class_is_the_first_on_ties():
    p_x = torch.tensor([[0.2, 0.4, 0.4]])
    p_in = torch.tensor([[0.1, 0.3, 0.6]])
    assert metrics.decided_class(p_x).tolist() == [1]
    assert metrics.average_increase(p_x, p_in).item() == 0
    assert metrics.average_drop(p_x, p_in).item() == pytest.approx(25, rel=1e-6)
    assert metrics.input_fidelity(p_x, p_in).item() == 0


def test_fidelity_of_a_tie_takes_the_first_index():
    p_x = torch.tensor([[0.6, 0.4], [0.4, 0.6]])
    tied = torch.full((2, 2), 0.5)
    assert metrics.input_fidelity(p_x, tied).tolist() == [1, 0]


def test_increase_is_strict():
    p = probabilities()
    assert metrics.average_increase(p, p).count_nonzero() == 0


def test_certainty_has_nothing_to_gain():
    certain = torch.tensor([[1.0, 0.0]])
    assert metrics.average_gain(certain, certain).tolist() == [0]
    assert metrics.average_gain(certain, 1 - certain).tolist() == [0]


def test_sigmoids_that_are_all_zero_have_nothing_to_lose():
    assert metrics.average_drop(torch.zeros(1, 3), torch.ones(1, 3)).tolist() == [0]


def test_identity_and_what_it_must_score():
    p = probabilities()
    for metric in (metrics.average_drop, metrics.average_gain):
        assert metric(p, p).count_nonzero() == 0
    assert metrics.input_fidelity(p, p).all()
    chance = torch.full_like(p, 1 / p.shape[1])
    assert (metrics.faithfulness(p, chance) > 0).all()


def row(confidence, n_classes):
    """One decided class, the rest spread evenly."""
    p = torch.full((1, n_classes), (1 - confidence) / (n_classes - 1))
    p[0, 0] = confidence
    return p.double()


@pytest.mark.parametrize(
    ("before", "after", "drop", "published"),
    [(0.99, 0.5, 49.5, 38.1), (0.3, 0.0, 100, 25.9)],
)
def test_the_published_drop_is_deflated(before, after, drop, published):
    p_x, p_in = row(before, 50), row(after, 50)
    assert metrics.average_drop(p_x, p_in).item() == pytest.approx(drop, abs=0.01)
    deflated = metrics.average_drop_published(p_x, p_in).item()
    assert deflated == pytest.approx(published, abs=0.05)


def test_the_published_drop_has_a_ceiling():
    ceiling = 100 * (1 - 1 / math.e)
    p_x, p_in = torch.eye(4).double(), torch.eye(4).roll(1, dims=0).double()
    worst = metrics.average_drop_published(p_x, p_in)
    np.testing.assert_allclose(worst.numpy(), ceiling, rtol=1e-12)
    others = metrics.average_drop_published(probabilities(seed=5), probabilities())
    assert others.max() <= ceiling <= 63.3


def test_gain_never_exceeds_increase_nor_faithfulness_confidence():
    p_x, p_y = probabilities(200, seed=6), probabilities(200, seed=7)
    gain, increase = metrics.average_gain(p_x, p_y), metrics.average_increase(p_x, p_y)
    assert (gain <= increase).all()
    assert (metrics.faithfulness(p_x, p_y) <= p_x.max(dim=1).values).all()


def test_the_tie_tolerance_takes_the_row_of_the_mixture():
    p_x = torch.tensor([[0.5, 0.3, 0.2]] * 3, dtype=torch.float64)
    p_in = p_x.clone()
    p_in[0] += torch.tensor([9e-7, -9e-7, 0])  # jitter
    p_in[1] += torch.tensor([2e-6, -2e-6, 0])  # a difference in the decided class
    p_in[2] += torch.tensor([0, 2e-6, -2e-6])  # a difference elsewhere
    before = p_in.clone()
    settled = metrics.apply_tie_tolerance(p_x, p_in)
    assert torch.equal(settled[0], p_x[0])
    assert torch.equal(settled[1:], p_in[1:])
    assert torch.equal(p_in, before)
    assert metrics.average_increase(p_x, settled).tolist() == [0, 100, 0]
    assert torch.equal(metrics.apply_tie_tolerance(p_x, p_in, tolerance=0), p_in)
    with pytest.raises(ValueError, match="tolerance"):
        metrics.apply_tie_tolerance(p_x, p_in, tolerance=-1)


def test_the_tie_tolerance_counts_the_tolerance_itself_as_a_tie():
    p_x = torch.tensor([[0.5, 0.5]])
    step = 2**-10  # exact in binary, so the difference is the tolerance
    p_in = p_x + torch.tensor([[step, -step]])
    assert torch.equal(metrics.apply_tie_tolerance(p_x, p_in, tolerance=step), p_x)


def of_tags(seed, n_clips=40, n_classes=6):
    """Sigmoids: they do not add up to one."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n_clips, n_classes, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("metric", PAIRS, ids=lambda f: f.__name__)
def test_the_class_that_is_asked_for_equals_the_equation(metric):
    """Whatever class the classifier decided on: softmax or sigmoids."""
    for p_x, p_y in (
        (probabilities(seed=1), probabilities(seed=2)),
        (of_tags(1), of_tags(2)),
    ):
        target = torch.arange(40) % 6
        slow = [
            SLOW[metric.__name__](x, y, c)
            for x, y, c in zip(p_x.tolist(), p_y.tolist(), target.tolist(), strict=True)
        ]
        got = metric(p_x, p_y, target)
        np.testing.assert_allclose(got.numpy(), slow, rtol=1e-6, atol=1e-9)
        decided = p_x.argmax(dim=1)
        assert torch.equal(metric(p_x, p_y, decided), metric(p_x, p_y))
        for wrong in (target[:3], target.unsqueeze(1)):
            with pytest.raises(ValueError, match=r"target must have shape \(40,\)"):
                metric(p_x, p_y, wrong)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_a_tag_stays_if_it_is_still_above_its_threshold(threshold):
    p_x, p_in = of_tags(1), of_tags(2)
    p_in[0] = threshold
    target = torch.arange(40) % 6
    slow = [
        float(row[c] >= threshold)
        for row, c in zip(p_in.tolist(), target.tolist(), strict=True)
    ]
    got = metrics.input_fidelity(p_x, p_in, target, threshold)
    assert got.tolist() == slow
    assert slow[0] == 1
    assert 0 < sum(slow) < 40


def test_of_a_tag_that_is_sure_or_impossible_nothing_can_be_gained_or_lost():
    p_x = torch.tensor([[1.0, 0.0, 1.0]])
    p_in = torch.tensor([[0.5, 0.5, 1.0]])
    for c, drop, gain in ((0, 50.0, 0.0), (1, 0.0, 50.0), (2, 0.0, 0.0)):
        target = torch.tensor([c])
        assert metrics.average_drop(p_x, p_in, target).item() == drop
        assert metrics.average_gain(p_x, p_in, target).item() == gain


def test_a_tag_exactly_at_its_threshold_is_still_there():
    """Tags are decided in float32, where 0.7 is not the 0.7 of float64."""
    p = torch.tensor([[0.7]])
    assert (p >= 0.7).all()
    target = torch.tensor([0])
    assert metrics.input_fidelity(p, p, target, threshold=0.7).tolist() == [1]
