"""Psi is aligned in time as the U-Nets are; Theta equals its formulas."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmac_td.classifiers.cnn14 import Cnn14, Cnn14Classifier
from lmac_td.contracts import Geometry
from lmac_td.errors import SettingError
from lmac_td.features import SpectralFeatures
from lmac_td.nn.psi import AttentionPooling, Psi, Theta, build_psi, build_theta
from tests.nn.test_unet_checkpoints import former_fit

HOP = 186
POOLINGS = (5, 5, 4)  # of the three representations, deepest first
FEATURES = SpectralFeatures(16000, 1024, 23.2199, 11.6099)


def geometry_of(channels, mel_bins=80, poolings=POOLINGS):
    """Of CNN14's blocks, deepest first."""
    return [
        Geometry("", c, mel_bins // 2**d, 2**d * HOP, (2**d - 1) / 2 * HOP)
        for c, d in zip(channels, poolings, strict=True)
    ]


def make_psi(channels, n_components, width, mel_bins=80):
    return Psi(geometry_of(channels, mel_bins), HOP, n_components, width)


def samples(n_frames):
    """Samples of a clip of as many STFT frames."""
    return (n_frames - 1) * HOP


def zeros(channels, n_frames, mel_bins=80):
    """Three silent representations of a clip."""
    return [
        torch.zeros(1, c, n_frames // 2**d, mel_bins // 2**d, dtype=torch.float64)
        for c, d in zip(channels, POOLINGS, strict=True)
    ]


def linear(psi):
    """Make Psi sum its input: constant weights, no bias, so ReLUs have no effect."""
    for name, parameter in psi.named_parameters():
        torch.nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 0.1)
    return psi.double()


def centre(h):
    """Centre of mass of H (1, K, frames), in frames."""
    mass = h.detach().sum(dim=(0, 1)).numpy()
    return (mass * np.arange(len(mass))).sum() / mass.sum()


def expected_centre(index, poolings):
    """Average the STFT frames that were pooled into one index."""
    frames = [index]
    for _ in range(poolings):
        frames = [half for frame in frames for half in (2 * frame, 2 * frame + 1)]
    return np.mean(frames)


@pytest.mark.parametrize("n_frames", [60, 87, 204, 431, 861])
@pytest.mark.parametrize("level", range(3))
def test_psi_responds_at_the_time_of_its_input(n_frames, level):
    """Exact to 1e-4 of an index, except at the ends of the clip."""
    channels = (2, 2, 2)
    psi = linear(make_psi(channels, n_components=1, width=2))
    index_frames = 2 ** POOLINGS[level]
    last = n_frames // index_frames - 1
    for index in sorted({0, 1, last // 2, last - 1, last} & set(range(last + 1))):
        reps = zeros(channels, n_frames)
        reps[level][:, :, index] = 1
        h = psi(reps, samples(n_frames), n_frames)
        assert h.shape == (1, 1, n_frames)
        error = abs(centre(h) - expected_centre(index, POOLINGS[level]))
        bound = 0.4 if index in (0, last) else 1e-4
        assert error <= bound * index_frames


@pytest.mark.parametrize(("n_frames", "click_at"), [(204, 43), (204, 163), (431, 370)])
def test_a_click_changes_the_activations_at_the_time_of_the_click(n_frames, click_at):
    """From end to end through a Cnn14, whose convolutions blur but do not shift."""
    classifier = Cnn14(40, 16, channels=(8, 8, 8, 8, 8)).eval().double()
    psi = make_psi((16, 8, 8), n_components=8, width=16, mel_bins=40).double()
    quiet = torch.full((1, n_frames, 40), 0.1, dtype=torch.float64)
    click = quiet.clone()
    click[:, click_at] += 3
    with torch.no_grad():
        loud, soft = (
            psi(classifier(x)[1], samples(n_frames), n_frames) for x in (click, quiet)
        )
    strongest = (loud - soft).abs().sum(dim=(0, 1)).argmax().item()
    assert abs(strongest - click_at) < 2 * 16  # two frames of block 4


@pytest.mark.parametrize("n_frames", [1, 2, 31, 32, 33, 63, 64, 95, 431])
@pytest.mark.parametrize("mel_bins", [32, 40, 79, 80])
def test_any_clip_and_any_mel_bins(n_frames, mel_bins):
    channels = (2, 2, 3, 4, 5)
    classifier = Cnn14Classifier(FEATURES, mel_bins, channels, 6, 10).freeze()
    psi = build_psi(classifier, FEATURES, torch.rand(513, 7), width=4)
    reps = classifier(torch.rand(2, n_frames, mel_bins)).representations
    h = psi(reps, samples(n_frames), n_frames)
    assert h.shape == (2, 7, n_frames)
    assert (h >= 0).all()
    h.square().sum().backward()
    for name, parameter in psi.named_parameters():
        assert parameter.grad.isfinite().all(), name


def test_the_padding_of_short_clips_is_cut_from_the_activations():
    psi = make_psi((2, 2, 2), n_components=3, width=4).double()
    reps = [torch.rand_like(rep) for rep in zeros((2, 2, 2), 32)]
    short, long = psi(reps, samples(5), 5), psi(reps, samples(32), 32)
    torch.testing.assert_close(short, long[..., :5])


def test_the_result_for_a_clip_does_not_depend_on_its_batch():
    psi, theta = make_psi((8, 8, 4), 6, width=8), Theta(6, 10)
    reps = [torch.rand(4, c, 87 // 2**d, 80 // 2**d)
            for c, d in zip((8, 8, 4), POOLINGS, strict=True)]  # fmt: skip
    h = psi(reps, samples(87), 87)
    logits, pooled = theta(h)
    for clip in range(4):
        alone = psi([rep[clip : clip + 1] for rep in reps], samples(87), 87)
        torch.testing.assert_close(alone[0], h[clip], atol=1e-5, rtol=1e-5)
        for one, many in zip(theta(alone), (logits, pooled), strict=True):
            torch.testing.assert_close(one[0], many[clip], atol=1e-5, rtol=1e-5)


def test_every_pattern_is_active_before_training():
    """A ReLU that is 0 for every input has no gradient and stays 0."""
    reps = [torch.rand(8, c, 431 // 2**d, 80 // 2**d)
            for c, d in zip((128, 64, 64), POOLINGS, strict=True)]  # fmt: skip
    psi = make_psi((128, 64, 64), n_components=100, width=64)
    h = psi(reps, samples(431), 431)
    assert (h.amax(dim=(0, 2)) > 0).float().mean() > 0.9
    assert h.std(dim=0).mean() > 0.01  # and it depends on the input


def literal_attention(h, v, w):
    """a_t = exp(w' tanh(V h_t)) / sum; z = sum_t a_t h_t, for one clip (K, frames)."""
    n_components, n_frames = len(h), len(h[0])
    scores = []
    for t in range(n_frames):
        score = 0.0
        for row, weight in zip(v, w, strict=True):
            score += weight * math.tanh(
                sum(row[k] * h[k][t] for k in range(n_components))
            )
        scores.append(math.exp(score))
    a = [score / sum(scores) for score in scores]
    return [sum(a[t] * h[k][t] for t in range(n_frames)) for k in range(n_components)]


@pytest.mark.parametrize("n_frames", [1, 7, 50])
@pytest.mark.parametrize("pooling", ["att", "max"])
def test_theta_equals_its_literal_twin(pooling, n_frames):
    theta = Theta(5, n_classes=4, pooling=pooling).double()
    h = torch.rand(3, 5, n_frames, dtype=torch.float64)
    logits, pooled = theta(h)
    weight = theta.linear.weight.tolist()
    for clip in range(3):
        if pooling == "att":
            v, (w,) = theta.pool.v.weight.tolist(), theta.pool.w.weight.tolist()
            z = literal_attention(h[clip].tolist(), v, w)
        else:
            z = [max(row) for row in h[clip].tolist()]
        assert pooled[clip].tolist() == pytest.approx(z)
        expected = [sum(a * b for a, b in zip(row, z, strict=True)) for row in weight]
        assert logits[clip].tolist() == pytest.approx(expected)


def test_attention_is_not_the_mean():
    h = torch.rand(2, 5, 40)
    assert (AttentionPooling(5)(h) - h.mean(dim=2)).abs().max() > 1e-3


def test_silent_activations_give_silent_logits():
    for pooling in ("att", "max"):
        logits, pooled = Theta(5, 4, pooling)(torch.zeros(2, 5, 30))
        assert not logits.any()
        assert not pooled.any()


def test_what_cannot_be_built_is_refused():
    with pytest.raises(SettingError, match="--pooling att or max"):
        Theta(5, 4, pooling="mean")

    class Bare:
        name = "Bare"
        geometry = ()

    with pytest.raises(SettingError, match=r"Bare gives none.*representations"):
        build_psi(Bare, FEATURES, torch.rand(513, 7), width=4)


def test_the_three_deepest_representations_are_decoded():
    classifier = Cnn14Classifier(FEATURES, 80, (2, 2, 3, 4, 5), 6, 10).freeze()
    psi = build_psi(classifier, FEATURES, torch.rand(513, 7), width=4)
    assert [skip.in_channels for skip in psi.skips] == [6, 5, 4]
    reps = [rep.values for rep in classifier(torch.rand(2, 87, 80)).representations]
    h = psi(reps, samples(87), 87)
    torch.testing.assert_close(psi(reps[:3], samples(87), 87), h)
    theta = build_theta(torch.rand(513, 7), classifier, "att")
    assert theta(h)[0].shape == (2, 10)


class FormerPsi(nn.Module):
    """Literal: Psi for CNN14 alone, with the keys of its checkpoints."""

    def __init__(self, rep_channels, mel_bins, n_components, width):
        super().__init__()
        self.skips = nn.ModuleList(nn.Conv2d(c, width, 1) for c in rep_channels)
        self.up = nn.ConvTranspose2d(width, width, 4, 2, 1)
        self.fold = nn.Conv2d(width, width, (1, mel_bins // 16))
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(width, width, 4, 2, 1) for _ in range(4)
        )
        self.out = nn.Conv1d(width, n_components, 1)

    def forward(self, representations, n_frames):
        skip6, skip5, skip4 = (
            F.relu(conv(rep))
            for conv, rep in zip(self.skips, representations, strict=True)
        )
        h = skip6 + skip5  # (B, C, t // 32, mel // 32)
        h = former_fit(F.relu(self.up(h)), skip4.shape[2:]) + skip4
        h = F.relu(self.fold(h)).squeeze(3)  # (B, C, t // 16)
        t = max(n_frames, 16 * representations[2].shape[2])
        for up, size in zip(self.ups, (t // 8, t // 4, t // 2, t), strict=True):
            h = former_fit(F.relu(up(h)), (size,))
        return F.relu(self.out(h))[..., :n_frames]


@pytest.mark.parametrize("n_frames", [1, 5, 31, 32, 33, 63, 86, 87, 204, 430, 431])
@pytest.mark.parametrize("mel_bins", [32, 67, 80])
def test_former_checkpoints_give_the_same_activations(n_frames, mel_bins):
    classifier = Cnn14(mel_bins, 6, channels=(2, 2, 3, 4, 5)).eval()
    _, reps = classifier(torch.randn(2, n_frames, mel_bins))
    former = FormerPsi((6, 5, 4), mel_bins, n_components=7, width=8)
    psi = make_psi((6, 5, 4), n_components=7, width=8, mel_bins=mel_bins)
    assert {"up.weight", "up.bias"} <= former.state_dict().keys()
    psi.load_state_dict(former.state_dict(), strict=True)
    with torch.no_grad():
        expected = former(reps[:3], n_frames)
        assert expected.amax() > 0.01
        for n_samples in (samples(n_frames), samples(n_frames) + HOP - 1):
            h = psi(reps, n_samples, n_frames)
            torch.testing.assert_close(h, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "grids",
    [
        [(6, 12, 1600, 1400), (5, 12, 1600, 1400), (4, 12, 1600, 1400)],
        [(6, 1, 320, 199.5), (5, 1, 320, 199.5), (4, 1, 320, 199.5)],
        [(6, 4, 1280, 0), (5, 8, 640, 0), (4, 16, 320, 0)],
    ],
    ids=["tokens", "sequence", "strided convolutions"],
)
def test_psi_is_aligned_in_time_on_any_grid(grids):
    geometry = [Geometry("", c, f, hop, offset) for c, f, hop, offset in grids]
    psi = linear(Psi(geometry, HOP, n_components=1, width=2))
    n_samples, n_frames = 48000, 48000 // HOP + 1
    sizes = [int((n_samples - g.offset_samples) // g.hop_samples) + 1 for g in geometry]
    for level, rep in enumerate(geometry):
        for index in range(2, sizes[level] - 2, 5):
            reps = [
                torch.zeros(1, g.channels, size, g.frequencies, dtype=torch.float64)
                for g, size in zip(geometry, sizes, strict=True)
            ]
            reps[level][:, :, index] = 1
            h = psi(reps, n_samples, n_frames)
            assert h.shape == (1, 1, n_frames)
            impulse = rep.offset_samples + index * rep.hop_samples
            assert abs(centre(h) * HOP - impulse) <= rep.hop_samples
