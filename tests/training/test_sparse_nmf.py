"""Sparse NMF: the formulas of Le Roux et al., and what they promise."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import NMF

from lmac_td.errors import SettingError
from lmac_td.training import sparse_nmf as module
from lmac_td.training.sparse_nmf import (
    components_per_frame,
    reconstruction_error,
    sparse_nmf,
)


def random_frames(n_bins, n_frames, seed=0, power=1.0):
    """Return random frames; a larger power gives more pronounced peaks."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.rand(n_bins, n_frames, generator=generator, dtype=torch.float64)
    return frames**power


def literal_twin(x, n_components, mu, n_iterations, seed):
    """The updates of Le Roux et al., entry by entry."""
    n_bins, n_frames = x.shape
    bins, frames, components = range(n_bins), range(n_frames), range(n_components)
    generator = torch.Generator().manual_seed(seed)
    w = torch.rand(n_bins, n_components, generator=generator, dtype=torch.float64)
    w = (w / w.norm(dim=0)).numpy()
    h = np.ones((n_components, n_frames))

    def rebuilt(f, t):
        return sum(w[f, k] * h[k, t] for k in components)

    for _ in range(n_iterations):
        new_h = np.empty_like(h)
        for k in components:
            for t in frames:
                up = sum(w[f, k] * x[f, t] for f in bins)
                down = sum(w[f, k] * rebuilt(f, t) for f in bins) + mu
                new_h[k, t] = h[k, t] * up / down
        h = new_h
        new_w = np.empty_like(w)
        for k in components:
            a = [sum(x[f, t] * h[k, t] for t in frames) for f in bins]
            b = [sum(rebuilt(f, t) * h[k, t] for t in frames) for f in bins]
            for f in bins:
                up = a[f] + w[f, k] * sum(b[g] * w[g, k] for g in bins)
                down = b[f] + w[f, k] * sum(a[g] * w[g, k] for g in bins)
                new_w[f, k] = w[f, k] * up / down
        for k in components:
            norm = sum(new_w[f, k] ** 2 for f in bins) ** 0.5
            for f in bins:
                new_w[f, k] /= norm
        w = new_w
    error = sum((x[f, t] - rebuilt(f, t)) ** 2 for f in bins for t in frames)
    penalty = sum(h[k, t] for k in components for t in frames)
    return w, h, (error / 2 + mu * penalty) / n_frames


@pytest.mark.parametrize("n_iterations", [1, 4])
@pytest.mark.parametrize("mu", [0.0, 0.3])
def test_the_literal_twin(mu, n_iterations, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4)  # several products, the last one smaller
    x = random_frames(5, 7)
    w, h, objective = sparse_nmf(x, 3, mu, n_iterations, seed=2)
    twin_w, twin_h, twin_objective = literal_twin(x.numpy(), 3, mu, n_iterations, 2)
    np.testing.assert_allclose(w.numpy(), twin_w, rtol=1e-10)
    np.testing.assert_allclose(h.numpy(), twin_h, rtol=1e-10)
    assert len(objective) == n_iterations
    assert objective[-1] == pytest.approx(twin_objective, rel=1e-10)


@pytest.mark.parametrize("mu", [0.0, 0.01, 0.3, 3.0, 30.0])
@pytest.mark.parametrize("power", [1.0, 10.0])
@pytest.mark.parametrize("shape", [(12, 40, 4), (6, 50, 20), (30, 60, 10), (3, 100, 1)])
def test_the_objective_never_rises(shape, power, mu):
    n_bins, n_frames, n_components = shape
    x = random_frames(n_bins, n_frames, seed=n_bins, power=power)
    w, h, objective = sparse_nmf(x, n_components, mu, 100, seed=1)
    rounding = 1e-13 * float(x.square().sum()) / n_frames
    assert (np.diff(objective) <= rounding).all()
    assert objective[-1] < objective[0]
    assert (w >= 0).all()
    assert (h >= 0).all()
    torch.testing.assert_close(w.norm(dim=0), torch.ones_like(w[0]))


def test_float32_follows_float64():
    x = random_frames(20, 300)
    w, h, objective = sparse_nmf(x.float(), 5, 0.1, 30, seed=0)
    exact_w, exact_h, exact = sparse_nmf(x, 5, 0.1, 30, seed=0)
    assert w.dtype == h.dtype == torch.float32
    torch.testing.assert_close(w.double(), exact_w, rtol=0, atol=1e-4)
    torch.testing.assert_close(h.double(), exact_h, rtol=0, atol=1e-3)
    np.testing.assert_allclose(objective, exact, rtol=1e-5)


def test_a_larger_sparsity_gives_fewer_components_per_frame():
    x = random_frames(20, 200, power=3.0)
    learned = [sparse_nmf(x, 10, mu, 200, seed=0) for mu in (0.0, 0.2, 1.0)]
    used = [components_per_frame(h) for _, h, _ in learned]
    errors = [reconstruction_error(x, w, h) for w, h, _ in learned]
    l1 = [float(h.sum()) for _, h, _ in learned]
    assert used[0] > used[1] > used[2]
    assert l1[0] > l1[1] > l1[2]
    assert errors[0] < errors[1] < errors[2]


def test_the_seed_determines_the_dictionary():
    x = random_frames(10, 50)
    first, again, other = (sparse_nmf(x, 3, 0.1, 5, seed)[0] for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_planted_components_are_found():
    generator = torch.Generator().manual_seed(0)
    planted = torch.rand(24, 4, generator=generator)
    planted *= torch.eye(4).repeat_interleave(6, dim=0) + 0.05  # a band of bins each
    planted /= planted.norm(dim=0)
    activations = torch.rand(4, 400, generator=generator)
    activations *= torch.rand(4, 400, generator=generator) < 0.4
    x = planted @ activations
    w, h, _ = sparse_nmf(x, 4, 0.01, 300, seed=0)
    cosines = (planted.T @ w).numpy()
    matched = cosines[linear_sum_assignment(-cosines)]
    assert matched.min() > 0.95
    assert reconstruction_error(x, w, h) < 0.1


def test_without_sparsity_the_error_is_that_of_scikit_learn():
    x = random_frames(20, 150, power=2.0)
    w, h, objective = sparse_nmf(x, 6, 0.0, 500, seed=0)
    theirs = NMF(6, solver="mu", init="random", random_state=0, max_iter=500, tol=0)
    theirs.fit(x.T.numpy())
    error = reconstruction_error(x, w, h) * float(x.norm())
    assert error < 1.05 * theirs.reconstruction_err_
    assert objective[-1] == pytest.approx(error**2 / 2 / 150)


def test_silent_frames_change_nothing():
    x = random_frames(10, 40)
    silent = torch.zeros(10, 15, dtype=x.dtype)
    w, h, _ = sparse_nmf(x, 4, 0.1, 20, seed=0)
    same_w, same_h, objective = sparse_nmf(torch.cat([silent, x], 1), 4, 0.1, 20, 0)
    torch.testing.assert_close(same_w, w)
    torch.testing.assert_close(same_h[:, 15:], h)
    assert same_h[:, :15].max() < 1e-12
    assert np.isfinite(objective).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("n_components", "mu"),
    [
        (8, 0.0),  # of which one would do: rank one
        (3, 1e6),  # H is driven to nothing
    ],
)
def test_unused_components_give_no_nan(n_components, mu, dtype):
    x = (torch.ones(5, 1) @ torch.linspace(1, 2, 30).unsqueeze(0)).to(dtype)
    x[3] = 0  # a bin without any sound
    w, h, objective = sparse_nmf(x, n_components, mu, 300, seed=0)
    for tensor in (w, h, torch.tensor(objective)):
        assert torch.isfinite(tensor).all()
    torch.testing.assert_close(w.norm(dim=0), torch.ones_like(w[0]))


def test_progress_is_reported():
    reported = []
    x = random_frames(6, 20)
    *_, objective = sparse_nmf(
        x, 2, 0.1, 3, 0, lambda *progress: reported.append(progress)
    )
    assert reported == list(enumerate(objective, start=1))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_components": 0}, "--n_components"),
        ({"n_components": 2.5}, "--n_components"),
        ({"n_iterations": 0}, "--n_iterations"),
        ({"sparsity": -0.1}, "--sparsity"),
        ({"sparsity": float("nan")}, "--sparsity"),
        ({"sparsity": "much"}, "--sparsity"),
        ({"n_components": 11}, "only 10 frames are not silent"),
    ],
)
def test_wrong_settings_are_refused(settings, words):
    x = torch.cat([random_frames(6, 10), torch.zeros(6, 10)], dim=1)
    usual = {"n_components": 2, "sparsity": 0.1, "n_iterations": 2, "seed": 0}
    with pytest.raises(SettingError, match=words):
        sparse_nmf(x, **usual | settings)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_frames_that_are_not_magnitudes_are_refused(value):
    x = random_frames(6, 10)
    x[2, 3] = value
    with pytest.raises(ValueError, match="non-negative"):
        sparse_nmf(x, 2, 0.1, 2, 0)
