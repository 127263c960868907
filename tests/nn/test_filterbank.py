"""The filterbank has SpeechBrain's numbers and keys, and reconstructs perfectly."""

import math

import numpy as np
import pytest
import torch
from speechbrain.lobes.models import dual_path

from lmac_td.nn.filterbank import Decoder, Encoder, Filterbank, perfect_filters

LENGTHS = (1, 5, 8, 15, 16, 17, 999, 1000, 1003)


def si_sdr_db(reference, estimate):
    """Scale-invariant signal-to-distortion ratio in dB, in float64."""
    reference, estimate = reference.double(), estimate.double()
    target = (estimate @ reference) / (reference @ reference) * reference
    return 10 * torch.log10((target @ target) / ((estimate - target) ** 2).sum())


def test_encoder_and_decoder_are_those_of_speechbrain():
    wavs = torch.randn(2, 203)
    theirs = dual_path.Encoder(8, 12)
    ours = Encoder(8, 12)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(wavs), theirs(wavs), rtol=0, atol=0)

    h = theirs(wavs)
    decoder = dual_path.Decoder(12, 1, kernel_size=8, stride=4, bias=False)
    twin = Decoder(12, 1, kernel_size=8, stride=4)
    twin.load_state_dict(decoder.state_dict())
    torch.testing.assert_close(twin(h), decoder(h), rtol=0, atol=0)
    assert twin(h[:1]).shape == (1, 200)
    assert Encoder(8, 12, in_channels=2)(torch.randn(3, 2, 40)).shape == (3, 12, 9)
    assert Decoder(12, 2, kernel_size=8, stride=4)(h).shape == (2, 2, 200)


def test_encode_frames_and_decode_overlap_add_as_loops_do():
    bank = Filterbank(6, 8, init="random").double()
    wavs = torch.randn(2, 20, dtype=torch.float64)
    encoder = bank.encoder.conv1d.weight[:, 0].detach().numpy()
    decoder = bank.decoder.weight[:, 0].detach().numpy()
    x, stride = wavs.numpy(), 3

    n_frames = math.ceil(20 / stride) + 1
    h = np.zeros((2, 8, n_frames))
    out = np.zeros((2, 20))
    for b in range(2):
        for m in range(n_frames):
            for n in range(8):
                for i in range(6):  # frame m is centred on sample m * stride
                    at = m * stride - stride + i
                    if 0 <= at < 20:
                        h[b, n, m] += encoder[n, i] * x[b, at]
                h[b, n, m] = max(h[b, n, m], 0)
                for i in range(6):
                    at = m * stride - stride + i
                    if 0 <= at < 20:
                        out[b, at] += decoder[n, i] * h[b, n, m]

    np.testing.assert_allclose(bank.encode(wavs).detach().numpy(), h, atol=1e-12)
    decoded = bank.decode(torch.from_numpy(h), 20).detach().numpy()
    np.testing.assert_allclose(decoded, out, atol=1e-12)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("kernel_size", "out_channels"), [(16, 32), (16, 64), (6, 50)])
def test_perfect_pair_loses_nothing(length, kernel_size, out_channels):
    bank = Filterbank(kernel_size, out_channels)
    wavs = torch.randn(2, length)
    h = bank.encode(wavs)
    assert h.shape == (2, out_channels, bank.n_frames(length))
    decoded = bank.decode(h, length)
    assert decoded.shape == wavs.shape
    for x, y in zip(wavs, decoded, strict=True):
        if length > 1:  # one sample has no direction: its SI-SDR is always infinite
            assert si_sdr_db(x, y) > 100
        assert torch.allclose(x, y, atol=1e-5)


def test_any_mask_and_its_complement_add_up_to_the_input():
    bank = Filterbank(16, 64)
    wavs = torch.randn(3, 1001)
    h = bank.encode(wavs)
    mask = torch.rand_like(h)
    total = bank.decode(mask * h, 1001) + bank.decode((1 - mask) * h, 1001)
    for x, y in zip(wavs, total, strict=True):
        assert si_sdr_db(x, y) > 100


def test_filters_are_the_dct_iv_under_a_sine_window_and_its_negative():
    size, half = 10, 12
    expected = np.zeros((half, size))
    for k in range(half):
        for n in range(size):
            cosine = math.cos(math.pi / half * (k + 0.5) * (n + 0.5))
            window = math.sin(math.pi * (n + 0.5) / size)
            expected[k, n] = math.sqrt(2 / half) * cosine * window
    filters = perfect_filters(size, 2 * half).numpy()
    np.testing.assert_allclose(filters[:half], expected, atol=1e-12)
    np.testing.assert_array_equal(filters[half:], -filters[:half])


def test_filters_are_localised_in_frequency():
    # 2 L filters, so that half of them are as many as a frame has samples.
    spectrum = np.abs(np.fft.rfft(perfect_filters(64, 128)[:64].numpy(), 1024)) ** 2
    peaks = spectrum.argmax(axis=1) / 1024 * 2 * 64 - 0.5
    assert np.abs(peaks - np.arange(64)).max() < 1
    for k in range(64):  # the energy lies within four bands of the filter's own
        band = np.arange(513) / 1024 * 2 * 64 - 0.5
        near = np.abs(band - k) < 4
        assert spectrum[k, near].sum() > 0.95 * spectrum[k].sum()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"kernel_size": 15, "out_channels": 64}, "kernel_size"),
        ({"kernel_size": 16, "out_channels": 30}, "encoder_channels.*kernel_size"),
        ({"kernel_size": 16, "out_channels": 33}, "encoder_channels.*kernel_size"),
        ({"kernel_size": 16, "out_channels": 64, "init": "best"}, "filterbank_init"),
    ],
)
def test_settings_that_cannot_work_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        Filterbank(**arguments)


def test_autocast_loses_nothing():
    bank = Filterbank(8, 16)
    wavs = torch.randn(2, 1000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        back = bank.decode(bank.encode(wavs), 1000)
    torch.testing.assert_close(back, wavs, atol=1e-5, rtol=0)
