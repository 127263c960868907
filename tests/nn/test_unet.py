"""The U-Nets: what is decoded from a moment stands over that moment."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.published import PlainUNet
from lmac_td.classifiers.cnn14 import Cnn14, Cnn14Classifier
from lmac_td.contracts import Geometry
from lmac_td.errors import SettingError
from lmac_td.features import SpectralFeatures
from lmac_td.nn.decoders import build_mask_unet, build_unet
from lmac_td.nn.published import PublishedUNet
from lmac_td.nn.unet import AlignedUNet, interpolate

# By how much the blocks of CNN14 that are decoded pool time and mel, deepest first.
POOLED = (32, 32, 16, 8)

SAMPLE_RATE, HOP, STRIDE = 16000, 186, 8  # 11.625 ms STFT frames, 0.5 ms frames
POOLINGS = (5, 5, 4, 3)  # of the four representations, deepest first
SECONDS = (0.7, 1, 2.37, 5, 10)


def geometry_of(channels, mel_bins=80, poolings=POOLINGS):
    """Of CNN14's blocks, deepest first."""
    return [
        Geometry("", c, mel_bins // 2**d, 2**d * HOP, (2**d - 1) / 2 * HOP)
        for c, d in zip(channels, poolings, strict=True)
    ]


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
    geometry = geometry_of(channels)
    unet = linear(AlignedUNet(geometry, HOP, out_channels=1, channels=channels))
    n_samples = int(seconds * SAMPLE_RATE)
    n_stft_frames, n_frames = sizes(seconds)
    index_samples = 2 ** POOLINGS[level] * HOP
    last = n_stft_frames // 2 ** POOLINGS[level] - 1
    for index in sorted({0, 1, last // 2, last - 1, last} & set(range(last + 1))):
        reps = zeros(channels, n_stft_frames)
        reps[level][:, :, index] = 1
        h = unet(reps, n_samples, n_frames, STRIDE)
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
        h = unet(reps, 5 * SAMPLE_RATE, 11082, STRIDE)
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
    geometry = geometry_of((16, 8, 8, 8), mel_bins=40)
    unet = AlignedUNet(geometry, HOP, 8, channels=(16, 16, 16, 16)).double()
    n_samples = int(seconds * SAMPLE_RATE)
    n_stft_frames, n_frames = sizes(seconds)
    quiet = torch.full((1, n_stft_frames, 40), 0.1, dtype=torch.float64)
    click = quiet.clone()
    click[:, round(click_at * SAMPLE_RATE / HOP)] += 3

    def decode(log_mel):
        return unet(classifier(log_mel)[1], n_samples, n_frames, STRIDE)

    with torch.no_grad():
        change = (decode(click) - decode(quiet)).abs().sum(dim=(0, 1))
    strongest = change.argmax().item() * STRIDE / SAMPLE_RATE
    assert abs(strongest - click_at) < 2 * 8 * HOP / SAMPLE_RATE  # two of block 3


def test_interpolation_reads_the_stft_grid_at_the_encoders_centres():
    """With all layers idle, H_d(m) is the ramp f of STFT frames at m stride / hop."""
    geometry = geometry_of((1, 1, 1, 1), mel_bins=32)
    unet = AlignedUNet(geometry, HOP, out_channels=1, channels=(1, 1, 1, 1))
    t, n_frames = 40, 1000
    ramp = torch.arange(40.0).view(1, 1, t)
    unet.out.register_forward_hook(lambda module, inputs, output: ramp)
    h = unet(zeros_float(t), (t - 1) * HOP, n_frames, STRIDE)
    expected = [min(m * STRIDE / HOP, t - 1) for m in range(n_frames)]
    np.testing.assert_allclose(h[0, 0].numpy(), expected, rtol=1e-5)


def zeros_float(n_stft_frames):
    return [rep.float() for rep in zeros((1, 1, 1, 1), n_stft_frames, mel_bins=32)]


@pytest.mark.parametrize("n_stft_frames", [32, 33, 63, 64, 95, 431])
@pytest.mark.parametrize("mel_bins", [32, 40, 79, 80])
def test_any_clip_and_any_mel_bins(n_stft_frames, mel_bins):
    classifier = Cnn14(mel_bins, 6, channels=(2, 2, 3, 4, 5)).eval()
    geometry = geometry_of((6, 5, 4, 3), mel_bins)
    unet = AlignedUNet(geometry, HOP, 7, channels=(4, 4, 4, 4))
    _, reps = classifier(torch.rand(2, n_stft_frames, mel_bins))
    h = unet(reps, (n_stft_frames - 1) * HOP, 501, STRIDE)
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
def test_published_unet_computes_what_it_keeps_as_if_it_computed_all(n_frames):
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
    with pytest.raises(ValueError, match="--geometry aligned"):
        unet(reps, int(2.37 * SAMPLE_RATE), n_frames, STRIDE)
    few_bands = [rep.float() for rep in zeros((16, 8, 4, 2), 431, mel_bins=40)]
    with pytest.raises(ValueError, match="--geometry aligned"):
        unet(few_bands, 80000, 10001, STRIDE)


FEATURES = SpectralFeatures(SAMPLE_RATE, 1024, 23.2199, 11.6099)


def cnn14(emb_dim=32, n_mels=80):
    return Cnn14Classifier(FEATURES, n_mels, (1, 2, 4, 8, 16), emb_dim, 10)


def test_build_unet_fits_the_classifier():
    unet = build_unet("aligned", cnn14(), FEATURES, 9, channels=(4, 5, 6, 7))
    assert [skip.in_channels for skip in unet.skips] == [32, 16, 8, 4]
    assert [skip.out_channels for skip in unet.skips] == [4, 4, 5, 6]
    published = build_unet("published", cnn14(), FEATURES, 9, channels=())
    assert isinstance(published, PublishedUNet)
    with pytest.raises(ValueError, match="--geometry aligned"):
        build_unet("published", cnn14(emb_dim=64), FEATURES, 9, channels=())
    with pytest.raises(ValueError, match="geometry"):
        build_unet("straight", cnn14(), FEATURES, 9, channels=(4, 5, 6, 7))


def test_a_classifier_without_representations_has_no_unet():
    classifier = cnn14()
    classifier.geometry = ()
    for geometry in ("aligned", "published"):
        assert build_unet(geometry, classifier, FEATURES, 9, (4, 5, 6, 7)) is None
    with pytest.raises(ValueError, match="representations"):
        build_mask_unet("aligned", "stft", classifier, FEATURES, (4, 5, 6, 7))


# ----------------------------------------------- checkpoints from before the contracts


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


def test_keys_that_are_read_under_their_former_names_are_saved_under_the_new():
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


# ---------------------------------------------------------------------- any geometry

# (channels, frequencies, hop, offset) of each representation, deepest first.
GRIDS = {
    "tokens": [(6, 12, 1600, 1400), (5, 12, 1600, 1400), (4, 12, 1600, 1400)],
    "sequence": [(6, 1, 320, 199.5), (5, 1, 320, 199.5)],
    "strided convolutions": [(6, 4, 1280, 0), (5, 8, 640, 0), (4, 16, 320, 0)],
    "strides of four": [(6, 2, 2560, 100), (5, 8, 640, 30)],
    "no multiples": [(6, 3, 1000, 480), (5, 7, 700, 333), (4, 20, 186, 0)],
    "finer than the STFT": [(6, 1, 320, 31.5), (5, 1, 64, 15.5)],
    "one": [(6, 5, 400, 100)],
}
N_SAMPLES = 3 * SAMPLE_RATE


def grid(name):
    return [
        Geometry("", channels, frequencies, hop, offset)
        for channels, frequencies, hop, offset in GRIDS[name]
    ]


def silent(geometry, n_samples=N_SAMPLES):
    """Representations of a silent clip, as many entries as are centred within it."""
    return [
        torch.zeros(
            1,
            rep.channels,
            int((n_samples - rep.offset_samples) // rep.hop_samples) + 1,
            rep.frequencies,
            dtype=torch.float64,
        )
        for rep in geometry
    ]


@pytest.mark.parametrize("per_frame", [STRIDE, HOP])
@pytest.mark.parametrize("name", GRIDS)
def test_an_impulse_is_answered_at_its_place(name, per_frame):
    """On any grid, at every representation: within one hop of the impulse."""
    geometry = grid(name)
    unet = linear(AlignedUNet(geometry, HOP, 1, channels=(2, 2, 2, 2)))
    n_frames = N_SAMPLES // per_frame + 1
    for level, rep in enumerate(geometry):
        last = silent(geometry)[level].shape[2] - 1
        for index in (0, 1, 2, last // 2, last - 2, last - 1, last):
            reps = silent(geometry)
            reps[level][:, :, index] = 1
            h = unet(reps, N_SAMPLES, n_frames, per_frame)
            assert h.shape == (1, 1, n_frames)
            mass = h.detach().abs().sum(dim=(0, 1)).numpy()
            assert mass.any(), (level, index)
            strongest = np.flatnonzero(mass > mass.max() * (1 - 1e-9)).mean()
            impulse = rep.offset_samples + index * rep.hop_samples
            hop = max(rep.hop_samples, per_frame)
            assert abs(strongest * per_frame - impulse) <= hop, (level, index)
            if 2 < index < last - 2:  # the ends cut or hold the response
                centre = (mass * np.arange(n_frames)).sum() / mass.sum() * per_frame
                bound = 0.05 if per_frame <= rep.hop_samples else 0.5
                assert abs(centre - impulse) <= bound * hop, (level, index)


@pytest.mark.parametrize("name", GRIDS)
def test_frequencies_stay_in_their_place(name):
    """An impulse in one entry along frequency: within one entry at every grid."""
    geometry = grid(name)
    unet = linear(AlignedUNet(geometry, HOP, 1, channels=(2, 2, 2, 2)))
    folded = []
    unet.fold.register_forward_pre_hook(lambda _, inputs: folded.append(inputs[0]))
    for level, rep in enumerate(geometry):
        for frequency in range(rep.frequencies):
            reps = silent(geometry)
            reps[level][:, :, :, frequency] = 1
            unet(reps, N_SAMPLES, 100, STRIDE)
            mass = folded.pop().detach().sum(dim=(0, 1, 2)).numpy()
            assert len(mass) == geometry[-1].frequencies
            centre = (mass * (np.arange(len(mass)) + 0.5)).sum() / mass.sum()
            impulse = (frequency + 0.5) / rep.frequencies
            assert abs(centre / len(mass) - impulse) <= 1 / rep.frequencies


@pytest.mark.parametrize("step", [2, 2.9, 3.9, 5])
def test_no_entry_is_lost_where_few_are_read(step):
    for entry in range(int(19 / step) * int(step)):
        x = torch.zeros(1, 1, 20)
        x[..., entry] = 1
        read = interpolate(x, int(19 / step) + 1, step)
        assert read.any(), entry
        strongest = np.flatnonzero(read[0, 0] == read.max()).mean()
        assert abs(strongest * step - entry) <= step


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("n_samples", [N_SAMPLES, 5000, 16001])
def test_any_geometry_gives_the_frames_and_gradients_that_are_asked_for(
    name, n_samples
):
    geometry = grid(name)
    unet = AlignedUNet(geometry, HOP, 7, channels=(6, 5, 4), normalise=True)
    reps = [torch.rand_like(rep).float() for rep in silent(geometry, n_samples)]
    n_frames = n_samples // STRIDE + 1
    h = unet(reps, n_samples, n_frames, STRIDE)
    assert h.shape == (1, 7, n_frames)
    assert h.isfinite().all()
    h.square().sum().backward()
    for name, parameter in unet.named_parameters():
        assert parameter.grad.isfinite().all(), name


def test_time_is_doubled_as_often_as_the_geometry_asks():
    """From tokens of 1600 samples to frames of 186: three times (to 200)."""
    for name, n_ups, n_groups in (
        ("tokens", 3, 1),
        ("sequence", 1, 1),
        ("strided convolutions", 1, 3),
        ("finer than the STFT", 0, 2),
    ):
        unet = AlignedUNet(grid(name), HOP, 7, channels=(6, 5, 4, 3))
        assert len(unet.ups) == n_ups
        assert len(unet.groups) == n_groups
        assert len(unet.skips) == len(grid(name))


@pytest.mark.parametrize("place", [1, 2, 3])
def test_the_published_geometry_refuses_representations_of_other_grids(place):
    """A network may halve its channels as CNN14 does, and not its time."""
    reps = [torch.rand(1, 16 // 2**d, 431 // p, 80 // p) for d, p in enumerate(POOLED)]
    reps[place] = torch.rand(1, 16 // 2**place, 99, 80 // POOLED[place])
    with pytest.raises(SettingError, match=r"different shapes.*--geometry aligned"):
        PublishedUNet(16)(reps, 80000, n_frames=10001, samples_per_frame=8)
