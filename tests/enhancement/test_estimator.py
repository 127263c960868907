"""The mask estimator: its layers, padding, and gradients in evaluation mode."""

import pytest
import torch
from torch import nn

from lmac_td.enhancement.estimator import MaskEstimator, differentiable_recurrence
from lmac_td.features import SpectralFeatures


def test_layers_are_those_of_the_paper():
    features = SpectralFeatures(16000, 800, 50, 25)
    estimator = MaskEstimator(features, hidden_size=4)
    assert (features.win_samples, features.hop_samples) == (800, 400)
    assert estimator.lstm.num_layers == 2
    assert estimator.lstm.bidirectional
    assert estimator.lstm.input_size == estimator.linear.out_features == 401
    mask = estimator(estimator.inputs_of(torch.rand(2, 7, 401)))
    assert mask.shape == (2, 7, 401)
    assert mask.min() >= 0
    assert mask.max() <= 1


def test_inputs_have_mean_0_and_variance_1_in_each_bin(estimator):
    magnitude = torch.rand(3, 11, 9) * torch.logspace(-3, 3, 9)
    n_frames = torch.tensor([11, 7, 3])
    inputs = estimator.inputs_of(magnitude, n_frames)
    for row, n in enumerate(n_frames.tolist()):
        for f in range(9):
            x = magnitude[row, :n, f]
            expected = (x - x.mean()) / x.std(correction=0)
            torch.testing.assert_close(inputs[row, :n, f], expected)


def test_padding_changes_no_mask(estimator):
    wavs = torch.randn(3, 200)
    n_samples = torch.tensor([200, 121, 63])
    for row, n in enumerate(n_samples.tolist()):
        wavs[row, n:] = 0
    n_frames = n_samples // estimator.features.hop_samples + 1
    magnitude = estimator.features(wavs).magnitude
    together = estimator(estimator.inputs_of(magnitude, n_frames), n_frames)
    for row, (n, frames) in enumerate(
        zip(n_samples.tolist(), n_frames.tolist(), strict=True)
    ):
        alone = estimator.features(wavs[row : row + 1, :n]).magnitude
        torch.testing.assert_close(
            together[row, :frames], estimator(estimator.inputs_of(alone))[0]
        )


def test_a_mask_of_ones_keeps_the_sound(estimator):
    estimator.linear.bias.fill_(100)
    wavs = torch.randn(2, 200)
    torch.testing.assert_close(estimator.enhance(wavs), wavs)


def test_gradients_change_no_bit_in_evaluation_mode():
    lstm = nn.LSTM(4, 3, num_layers=2, dropout=0.9, bidirectional=True)
    network = nn.Sequential(lstm, nn.Identity()).eval()
    x = torch.randn(7, 2, 4)
    expected = lstm(x)[0]
    with differentiable_recurrence(network):
        # cuDNN looks at this flag, and draws dropout by this number.
        assert lstm.training
        assert lstm.dropout == 0
        assert not network.training
        assert torch.equal(lstm(x)[0], expected)
    assert (lstm.training, lstm.dropout) == (False, 0.9)


def test_modes_are_restored_after_an_error():
    lstm = nn.LSTM(4, 3, num_layers=2, dropout=0.9).eval()
    with pytest.raises(KeyError), differentiable_recurrence(lstm):
        raise KeyError
    assert (lstm.training, lstm.dropout) == (False, 0.9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="cuDNN needs a GPU")
def test_cudnn_computes_gradients():
    lstm = nn.LSTM(4, 3, num_layers=2).eval().cuda()
    x = torch.randn(7, 2, 4, device="cuda", requires_grad=True)
    expected = lstm(x)[0]
    with differentiable_recurrence(lstm):
        out = lstm(x)[0]
        assert torch.equal(out, expected)
        torch.autograd.grad(out.sum(), x)
