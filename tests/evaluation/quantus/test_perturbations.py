"""How bins are removed, against literal twins."""

import numpy as np
import pytest
import torch

from lmac_td.evaluation.quantus import (
    faint_noise,
    impute,
    run_quantus,
    settings,
    silence,
)
from tests.evaluation.quantus.interpreters import Heatmap


def test_silence_takes_both_parts_of_a_bin_from_a_copy():
    arr = np.arange(1.0, 13.0).reshape(2, 6)
    kept = arr.copy()
    got = silence(arr, np.array([[0, 5], [4, 4]]), perturb_baseline=0.0)
    want = [[0, 2, 0, 0, 5, 0], [7, 0, 9, 10, 0, 12]]
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(arr, kept)


def test_noise_is_20_db_below_each_clip():
    np.random.seed(0)
    arr = np.random.randn(2, 20000).astype(np.float32) * np.array([[1], [100]])
    noise = faint_noise(arr.astype(np.float32), None) - arr
    level = 10 * np.log10(np.square(noise).mean(1) / np.square(arr).mean(1))
    np.testing.assert_allclose(level, -20, atol=0.2)


def test_imputing_leaves_other_bins_alone():
    arr = np.random.default_rng(0).normal(size=(2, 6, 7))
    got = impute(arr, np.array([10, 42 + 10, 42 + 20]), noise=0.0)
    changed = np.argwhere((got != arr).all(axis=0)).tolist()
    assert changed == [[10 // 7, 10 % 7], [20 // 7, 20 % 7]]
    assert ((got != arr).any(axis=0)).sum() == 2
    # Noiseless, an imputed bin is the weighted mean of its neighbours.
    patch = arr[:, 0:3, 2:5].copy()
    weights = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12
    np.testing.assert_allclose(got[:, 1, 3], (patch * weights).sum(axis=(1, 2)))


def test_road_imputes_shares_of_the_bins(explained, spectral, monkeypatch):
    shares = []

    def noting(arr, indices, **kwargs):
        got = impute(arr, indices, **kwargs)
        shares.append((got != arr).any(axis=0).mean())
        return got

    monkeypatch.setattr(settings, "impute", noting)
    interpreter = Heatmap(spectral, torch.rand(2, 26, 513))
    run_quantus(["ROAD"], spectral, explained(interpreter), interpreter)
    assert shares == pytest.approx(2 * [0.05, 0.1, 0.2, 0.4], abs=1e-3)
