"""The published U-Net: its drift, its keys, and the same output at less cost."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.published import PlainUNet
from lmac_td.errors import SettingError
from lmac_td.nn.published import PublishedStftMask, PublishedUNet
from lmac_td.nn.unet import AlignedUNet
from tests.nn.unet_helpers import (
    HOP,
    POOLINGS,
    SAMPLE_RATE,
    STRIDE,
    centre,
    expected_centre,
    geometry_of,
    linear,
    sizes,
    zeros,
)

# By how much the blocks of CNN14 that are decoded pool time and mel, deepest first.
POOLED = (32, 32, 16, 8)


def test_published_unet_drifts():
    """The reason for the aligned U-Net: it is 0.3 to 0.65 s late at the end of 5 s."""
    channels = (16, 8, 4, 2)
    unet = linear(PublishedUNet(dim=16))
    n_stft_frames, n_frames = sizes(5)
    delays = []
    for level, poolings in enumerate(POOLINGS):
        last = n_stft_frames // 2**poolings - 1
        reps = zeros(channels, n_stft_frames)
        reps[level][:, :, last] = 1
        h = unet(reps, 5 * SAMPLE_RATE, 11082, STRIDE)
        delays.append((centre(h) - expected_centre(last, poolings)) / SAMPLE_RATE)
        if level >= 2:  # the response to the last entry is cut off
            assert centre(h) > n_frames * STRIDE
    assert min(delays) > 0.3
    assert max(delays) > 0.6


def test_full_width_is_far_cheaper_than_the_published_one():
    with torch.device("meta"):
        reps = [
            torch.empty(1, c, 431 // 2**d, 80 // 2**d)
            for c, d in zip((2048, 1024, 512, 256), POOLINGS, strict=True)
        ]
        aligned = AlignedUNet(geometry_of((2048, 1024, 512, 256)), HOP)
        published = PublishedUNet(dim=2048)
        plain = PlainUNet(dim=2048)
    gflops = {}
    for unet, frames in (
        (aligned, (80000, 10001, STRIDE)),
        (published, (80000, 10001, STRIDE)),
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
    assert unet(reps, 80000, 11082, STRIDE).shape == (1, 256, 11082)
    with pytest.raises(ValueError, match="--geometry aligned"):
        unet(reps, 80000, 11083, STRIDE)


@pytest.mark.parametrize("n_frames", [1, 21, 10001, 11082])
def test_the_published_unet_skips_rows_without_a_change_of_its_output(n_frames):
    unet, plain = PublishedUNet(dim=16).double(), PlainUNet(dim=16).double()
    plain.load_state_dict(unet.state_dict())
    reps = [torch.randn_like(rep) for rep in zeros((16, 8, 4, 2), 431)]
    inputs = [[rep.clone().requires_grad_() for rep in reps] for _ in range(2)]
    h = unet(inputs[0], 80000, n_frames, STRIDE)
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
def test_two_merged_layers_equal_both_layers_up_to_the_edges(size):
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
    with pytest.raises(ValueError, match="--geometry aligned"):
        unet(reps, int(2.37 * SAMPLE_RATE), n_frames, STRIDE)
    few_bands = [rep.float() for rep in zeros((16, 8, 4, 2), 431, mel_bins=40)]
    with pytest.raises(ValueError, match="--geometry aligned"):
        unet(few_bands, 80000, 10001, STRIDE)


@pytest.mark.parametrize("place", [1, 2, 3])
def test_the_published_geometry_refuses_representations_of_other_grids(place):
    """A network may halve its channels as CNN14 does, and not its time."""
    reps = [torch.rand(1, 16 // 2**d, 431 // p, 80 // p) for d, p in enumerate(POOLED)]
    reps[place] = torch.rand(1, 16 // 2**place, 99, 80 // POOLED[place])
    with pytest.raises(SettingError, match=r"different shapes.*--geometry aligned"):
        PublishedUNet(16)(reps, 80000, n_frames=10001, samples_per_frame=8)


@pytest.mark.parametrize(("level", "late"), [(0, 4.5), (1, 4.5), (2, 4.5), (3, 0.5)])
def test_the_published_mask_is_late(level, late):
    """L-MAC's decoder of the release: by 4.5 frames (52 ms), 0.5 for the finest."""
    mask = linear(PublishedStftMask(16))
    reps = zeros((16, 8, 4, 2), 431)
    reps[level][:, :, 2] = 1
    response = mask(reps, n_frames=425).sum(dim=(0, 1))
    frames = torch.arange(425)
    found = (response * frames).sum() / response.sum()
    span = POOLED[level]
    expected = 2 * span + (span - 1) / 2
    assert found.item() - expected == pytest.approx(late, abs=0.01)
