"""Older checkpoints of the aligned U-Net give the same output."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmac_td.classifiers.cnn14 import Cnn14
from lmac_td.nn.unet import AlignedUNet
from tests.nn.unet_helpers import (
    HOP,
    STRIDE,
    geometry_of,
)


class FormerUNet(nn.Module):
    """Literal: the U-Net for CNN14 alone, with the keys of its checkpoints."""

    def __init__(self, rep_channels, mel_bins, out_channels, channels, normalise=False):
        super().__init__()
        self.normalise = normalise
        deep, middle, shallow, flat = channels
        widths = (deep, deep, middle, shallow)
        self.skips = nn.ModuleList(
            nn.Conv2d(c_in, c_out, 1)
            for c_in, c_out in zip(rep_channels, widths, strict=True)
        )
        self.up4 = nn.ConvTranspose2d(deep, middle, 4, 2, 1)
        self.up3 = nn.ConvTranspose2d(middle, shallow, 4, 2, 1)
        self.fold = nn.Conv2d(shallow, flat, (1, mel_bins // 8))
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(flat, flat, 4, 2, 1) for _ in range(3)
        )
        self.out = nn.Conv1d(flat, out_channels, 1)

    def forward(
        self,
        representations,
        n_stft_frames,
        n_frames,
        samples_per_stft_frame,
        samples_per_frame,
    ):
        if self.normalise:
            representations = [F.group_norm(rep, 1) for rep in representations]
        skip6, skip5, skip4, skip3 = (
            F.relu(conv(rep))
            for conv, rep in zip(self.skips, representations, strict=True)
        )
        h = skip6 + skip5  # (B, C, t // 32, mel // 32)
        h = former_fit(F.relu(self.up4(h)), skip4.shape[2:]) + skip4
        h = former_fit(F.relu(self.up3(h)), skip3.shape[2:]) + skip3
        h = F.relu(self.fold(h)).squeeze(3)  # (B, C, t // 8)
        n_stft_frames = max(n_stft_frames, 8 * representations[3].shape[2])
        for up, size in zip(
            self.ups,
            (n_stft_frames // 4, n_stft_frames // 2, n_stft_frames),
            strict=True,
        ):
            h = former_fit(F.relu(up(h)), (size,))
        h = self.out(h)  # (B, K, t)
        step = samples_per_frame / samples_per_stft_frame
        return former_interpolate(h, n_frames, step)


def former_fit(x, sizes):
    for axis, size in enumerate(sizes, start=2):
        missing = size - x.shape[axis]
        if missing < 0:
            x = x.narrow(axis, 0, size)
        elif missing:
            last = x.narrow(axis, x.shape[axis] - 1, 1)
            x = torch.cat([x, *[last] * missing], dim=axis)
    return x


def former_interpolate(x, n_frames, step):
    last = x.shape[-1] - 1
    position = torch.arange(n_frames, dtype=torch.float64) * step
    position = position.clamp(max=last)
    left = position.long()
    right = (left + 1).clamp(max=last)
    weight = (position - left).to(x.dtype)
    return torch.lerp(x[..., left], x[..., right], weight)


@pytest.mark.parametrize("n_stft_frames", [1, 5, 31, 32, 33, 63, 86, 87, 204, 430, 431])
@pytest.mark.parametrize("mel_bins", [32, 67, 80])
@pytest.mark.parametrize("use", ["LMAC-TD", "L-MAC"])
def test_former_checkpoints_give_the_same_output(n_stft_frames, mel_bins, use):
    """On the frames of LMAC-TD's encoder, and on those of L-MAC's mask."""
    classifier = Cnn14(mel_bins, 6, channels=(2, 2, 3, 4, 5)).eval()
    _, reps = classifier(torch.randn(2, n_stft_frames, mel_bins))
    settings = {
        "out_channels": 7,
        "channels": (6, 5, 4, 3),
        "normalise": use == "L-MAC",
    }
    former = FormerUNet((6, 5, 4, 3), mel_bins, **settings)
    unet = AlignedUNet(geometry_of((6, 5, 4, 3), mel_bins), HOP, **settings)
    assert {"up4.weight", "up3.bias"} <= former.state_dict().keys()
    unet.load_state_dict(former.state_dict(), strict=True)
    for n_samples in ((n_stft_frames - 1) * HOP, n_stft_frames * HOP - 1):
        per_frame, n_frames = HOP, n_stft_frames
        if use == "LMAC-TD":
            per_frame, n_frames = STRIDE, n_samples // STRIDE + 1
        with torch.no_grad():
            expected = former(reps, n_stft_frames, n_frames, HOP, per_frame)
            h = unet(reps, n_samples, n_frames, per_frame)
        assert expected.abs().amax() > 0.01
        torch.testing.assert_close(h, expected, rtol=0, atol=1e-6)


def test_former_keys_are_read_and_new_keys_are_saved():
    unet = AlignedUNet(geometry_of((6, 5, 4, 3)), HOP, 7, channels=(6, 5, 4, 3))
    former = FormerUNet((6, 5, 4, 3), 80, 7, (6, 5, 4, 3)).state_dict()
    holder = nn.ModuleDict({"unet": unet})  # as within an interpreter
    holder.load_state_dict({f"unet.{name}": x for name, x in former.items()})
    now = unet.state_dict()
    for name in ("weight", "bias"):
        assert torch.equal(now[f"rises.0.0.{name}"], former[f"up4.{name}"])
        assert torch.equal(now[f"rises.1.0.{name}"], former[f"up3.{name}"])
    unet.load_state_dict(now)
    assert "up4.weight" in former  # the caller's state dict is left as it was
