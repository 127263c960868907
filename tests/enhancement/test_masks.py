"""Eq. 2, 3 and 6, bin by bin."""

import torch

from lmac_td.enhancement.masks import ideal_binary_mask, ideal_ratio_mask
from lmac_td.enhancement.mixtures import draw_mixtures


def sources():
    c, u = torch.rand(2, 4, 5)
    c[0, 0] = u[0, 0] = 0  # silence
    c[1] = u[1]  # equal
    return c, u


def test_ratio_mask_is_equation_3():
    c, u = sources()
    mask = ideal_ratio_mask(c, u)
    for n in range(4):
        for f in range(5):
            total = c[n, f] + u[n, f]
            expected = c[n, f] / total if total > 0 else torch.tensor(0.0)
            torch.testing.assert_close(mask[n, f], expected)


def test_binary_mask_is_equation_6():
    c, u = sources()
    mask = ideal_binary_mask(c, u)
    for n in range(4):
        for f in range(5):
            assert mask[n, f] == (1 if abs(c[n, f]) > abs(u[n, f]) else 0)
    assert not mask[1].any()  # equal is not greater


def test_mixture_is_speech_and_noise(noisy_speech):
    """Eq. 2, at the ratio that is written beside it."""
    for noisy in draw_mixtures(noisy_speech, "test", "effects", (-5, 10), 5, "a"):
        assert torch.equal(noisy.mixture, noisy.speech + noisy.noise)
        ratio = noisy.speech.square().sum() / noisy.noise.square().sum()
        torch.testing.assert_close(
            float(10 * ratio.log10()), noisy.snr_db, atol=1e-3, rtol=0
        )
