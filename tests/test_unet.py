"""The U-Nets: what is decoded from a moment stands over that moment."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.published import PlainUNet
from lmac_td.classifier import Cnn14
from lmac_td.nn.unet import AlignedUNet, PublishedUNet, build_unet

SAMPLE_RATE, HOP, STRIDE = 16000, 186, 8  # 11.625 ms STFT frames, 0.5 ms frames
POOLINGS = (5, 5, 4, 3)  # of the four representations, deepest first
SECONDS = (0.7, 1, 2.37, 5, 10)


def sizes(seconds):
    """Return STFT frames and encoder frames of a clip."""
    n_samples = int(seconds * SAMPLE_RATE)
    return n_samples // HOP + 1, -(-n_samples // STRIDE) + 1


def zeros(channels, n_stft_frames, mel_bins=80):
    """Return four silent representations of a clip."""
    return [
        torch.zeros(1, c, n_stft_frames // 2**d, mel_bins // 2**d, dtype=torch.float64)
        for c, d in zip(channels, POOLINGS, strict=True)
    ]


def linear(unet):
    """Make a U-Net sum what it is given: constant weights, no bias, so idle ReLUs."""
    for name, parameter in unet.named_parameters():
        torch.nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 0.1)
    return unet.double()


def centre(h):
    """Return the centre of mass of |H_d| (1, K, T') along T', in samples."""
    mass = h.detach().abs().sum(dim=(0, 1)).numpy()
    return (mass * np.arange(len(mass))).sum() / mass.sum() * STRIDE


def expected_centre(index, poolings):
    """Average the samples on which the STFT frames pooled into one index stand."""
    frames = [index]
    for _ in range(poolings):
        frames = [half for frame in frames for half in (2 * frame, 2 * frame + 1)]
    return np.mean(frames) * HOP


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("level", range(4))
def test_aligned_unet_answers_where_the_representation_is(seconds, level):
    """Exact to 1e-4 of an index inside; the clip's ends cut or hold the response."""
    channels = (2, 2, 2, 2)
    unet = linear(AlignedUNet(channels, 80, out_channels=1, channels=channels))
    n_stft_frames, n_frames = sizes(seconds)
    index_samples = 2 ** POOLINGS[level] * HOP
    last = n_stft_frames // 2 ** POOLINGS[level] - 1
    for index in sorted({0, 1, last // 2, last - 1, last} & set(range(last + 1))):
        reps = zeros(channels, n_stft_frames)
        reps[level][:, :, index] = 1
        h = unet(reps, n_stft_frames, n_frames, HOP, STRIDE)
        assert h.shape == (1, 1, n_frames)
        error = abs(centre(h) - expected_centre(index, POOLINGS[level]))
        bound = 0.4 if index in (0, last) else 1e-4
        assert error <= bound * index_samples


def test_published_unet_drifts():
    """Why the aligned one exists: it is 0.3 to 0.65 s late by the end of 5 s."""
    channels = (16, 8, 4, 2)
    unet = linear(PublishedUNet(dim=16))
    n_stft_frames, n_frames = sizes(5)
    delays = []
    for level, poolings in enumerate(POOLINGS):
        last = n_stft_frames // 2**poolings - 1
        reps = zeros(channels, n_stft_frames)
        reps[level][:, :, last] = 1
        h = unet(reps, n_stft_frames, 11082, HOP, STRIDE)
        delays.append((centre(h) - expected_centre(last, poolings)) / SAMPLE_RATE)
        if level >= 2:  # the answer to the last of a skip stands past the cut
            assert centre(h) > n_frames * STRIDE
    assert min(delays) > 0.3
    assert max(delays) > 0.6


@pytest.mark.parametrize(("seconds", "click_at"), [(2.37, 0.5), (2.37, 1.9), (5, 4.3)])
def test_a_click_moves_the_output_where_it_sounds(seconds, click_at):
    """End to end through a Cnn14; its convolutions may blur, but not displace."""
    torch.manual_seed(0)
    classifier = Cnn14(40, 16, channels=(8, 8, 8, 8, 8)).eval().double()
    unet = AlignedUNet((16, 8, 8, 8), 40, 8, channels=(16, 16, 16, 16)).double()
    n_stft_frames, n_frames = sizes(seconds)
    quiet = torch.full((1, n_stft_frames, 40), 0.1, dtype=torch.float64)
    click = quiet.clone()
    click[:, round(click_at * SAMPLE_RATE / HOP)] += 3

    def decode(log_mel):
        return unet(classifier(log_mel)[1], n_stft_frames, n_frames, HOP, STRIDE)

    with torch.no_grad():
        change = (decode(click) - decode(quiet)).abs().sum(dim=(0, 1))
    strongest = change.argmax().item() * STRIDE / SAMPLE_RATE
    assert abs(strongest - click_at) < 2 * 8 * HOP / SAMPLE_RATE  # two of block 3


def test_interpolation_reads_the_stft_grid_at_the_encoders_centres():
    """With all layers idle, H_d(m) is the ramp f of STFT frames at m stride / hop."""
    unet = AlignedUNet((1, 1, 1, 1), 32, out_channels=1, channels=(1, 1, 1, 1))
    t, n_frames = 40, 1000
    ramp = torch.arange(40.0).view(1, 1, t)
    unet.out.register_forward_hook(lambda module, inputs, output: ramp)
    h = unet(zeros_float(t), t, n_frames, HOP, STRIDE)
    expected = [min(m * STRIDE / HOP, t - 1) for m in range(n_frames)]
    np.testing.assert_allclose(h[0, 0].numpy(), expected, rtol=1e-5)


def zeros_float(n_stft_frames):
    return [rep.float() for rep in zeros((1, 1, 1, 1), n_stft_frames, mel_bins=32)]


@pytest.mark.parametrize("n_stft_frames", [32, 33, 63, 64, 95, 431])
@pytest.mark.parametrize("mel_bins", [32, 40, 79, 80])
def test_any_clip_and_any_mel_bins(n_stft_frames, mel_bins):
    classifier = Cnn14(mel_bins, 6, channels=(2, 2, 3, 4, 5)).eval()
    unet = AlignedUNet((6, 5, 4, 3), mel_bins, 7, channels=(4, 4, 4, 4))
    _, reps = classifier(torch.rand(2, n_stft_frames, mel_bins))
    h = unet(reps, n_stft_frames, 501, HOP, STRIDE)
    assert h.shape == (2, 7, 501)
    h.square().sum().backward()
    for name, parameter in unet.named_parameters():
        assert parameter.grad.isfinite().all(), name


def test_full_width_is_far_cheaper_than_the_published_one():
    with torch.device("meta"):
        reps = [
            torch.empty(1, c, 431 // 2**d, 80 // 2**d)
            for c, d in zip((2048, 1024, 512, 256), POOLINGS, strict=True)
        ]
        aligned = AlignedUNet((2048, 1024, 512, 256))
        published = PublishedUNet()
        plain = PlainUNet()
    gflops = {}
    for unet, frames in (
        (aligned, (431, 10001, HOP, STRIDE)),
        (published, (431, 10001, HOP, STRIDE)),
        (plain, (10001, 256)),
    ):
        with FlopCounterMode(display=False) as counter:
            h = unet(reps, *frames)
        assert h.shape == (1, 256, 10001)
        gflops[unet] = counter.get_total_flops() / 1e9
    assert gflops[aligned] < 25
    assert gflops[plain] == pytest.approx(285, abs=1)
    assert gflops[published] < 0.53 * gflops[plain]  # with the same result
    assert sum(p.numel() for p in published.parameters()) / 1e6 == pytest.approx(
        139, abs=0.5
    )


def test_published_geometry_and_keys():
    unet = PublishedUNet(dim=16)
    assert {key.split(".")[0] for key in unet.state_dict()} == {
        f"convt{n}" for n in range(1, 10)
    }
    reps = [rep.float() for rep in zeros((16, 8, 4, 2), 431)]
    assert unet(reps, 431, 11082, HOP, STRIDE).shape == (1, 256, 11082)
    with pytest.raises(ValueError, match="geometry: aligned"):
        unet(reps, 431, 11083, HOP, STRIDE)


@pytest.mark.parametrize("n_frames", [1, 21, 10001, 11082])
def test_published_unet_computes_what_it_keeps_as_if_it_computed_all(n_frames):
    unet, plain = PublishedUNet(dim=16).double(), PlainUNet(dim=16).double()
    plain.load_state_dict(unet.state_dict())
    reps = [torch.randn_like(rep) for rep in zeros((16, 8, 4, 2), 431)]
    inputs = [[rep.clone().requires_grad_() for rep in reps] for _ in range(2)]
    h = unet(inputs[0], 431, n_frames, HOP, STRIDE)
    expected = plain(inputs[1], n_frames, 256)
    torch.testing.assert_close(h, expected, rtol=0, atol=1e-12)
    weight = torch.randn_like(h)
    for output in (h, expected):
        (weight * output).sum().backward()
    for one, other in zip(
        [*inputs[0], *unet.parameters()], [*inputs[1], *plain.parameters()], strict=True
    ):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [(1, 81), (2, 5), (2, 4), (3, 6), (7, 11)])
def test_two_layers_in_one_reach_all_edges(size):
    unet = PublishedUNet(dim=16).double()
    h = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    at_once, plain = unet.last_two(h), unet.convt9(unet.convt8(h))
    torch.testing.assert_close(at_once, plain, rtol=0, atol=1e-12)
    weight = torch.randn_like(plain)
    wanted = [h, *unet.convt8.parameters(), *unet.convt9.parameters()]
    for one, other in zip(
        torch.autograd.grad((weight * at_once).sum(), wanted),
        torch.autograd.grad((weight * plain).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_published_unet_refuses_clips_it_was_not_made_for():
    unet = PublishedUNet(dim=16)
    n_stft_frames, n_frames = sizes(2.37)
    reps = [rep.float() for rep in zeros((16, 8, 4, 2), n_stft_frames)]
    with pytest.raises(ValueError, match="geometry: aligned"):
        unet(reps, n_stft_frames, n_frames, HOP, STRIDE)
    few_bands = [rep.float() for rep in zeros((16, 8, 4, 2), 431, mel_bins=40)]
    with pytest.raises(ValueError, match="geometry: aligned"):
        unet(few_bands, 431, 10001, HOP, STRIDE)


def test_settings_that_cannot_work_are_named():
    with pytest.raises(ValueError, match="mel_bins"):
        AlignedUNet((4, 4, 4, 4), mel_bins=31)
    with pytest.raises(ValueError, match="rep_channels"):
        AlignedUNet((4, 4, 4))


def test_build_unet_fits_the_classifier():
    widths = {"cnn14_channels": (1, 2, 4, 8, 16), "mel_bins": 80, "out_channels": 9}
    unet = build_unet("aligned", 32, **widths, channels=(4, 5, 6, 7))
    assert [skip.in_channels for skip in unet.skips] == [32, 16, 8, 4]
    assert [skip.out_channels for skip in unet.skips] == [4, 4, 5, 6]
    assert isinstance(build_unet("published", 32, **widths, channels=()), PublishedUNet)
    with pytest.raises(ValueError, match="geometry: aligned"):
        build_unet("published", 64, **widths, channels=())
    with pytest.raises(ValueError, match="geometry"):
        build_unet("straight", 32, **widths, channels=(4, 5, 6, 7))
