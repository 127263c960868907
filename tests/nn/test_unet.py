"""The aligned U-Net is aligned in time with the sound, for any geometry."""

import numpy as np
import pytest
import torch

from lmac_td.classifiers.cnn14 import Cnn14, Cnn14Classifier
from lmac_td.contracts import Geometry
from lmac_td.features import SpectralFeatures
from lmac_td.nn.decoders import ENCODED_LEVEL, build_mask_unet, build_unet
from lmac_td.nn.published import PublishedUNet
from lmac_td.nn.unet import AlignedUNet, interpolate
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

SECONDS = (0.7, 1, 2.37, 5, 10)


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("level", range(4))
def test_the_aligned_unet_responds_at_the_time_of_its_input(seconds, level):
    """Exact to 1e-4 of an index, except at the ends of the clip."""
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


@pytest.mark.parametrize(("seconds", "click_at"), [(2.37, 0.5), (2.37, 1.9), (5, 4.3)])
def test_a_click_changes_the_output_at_the_time_of_the_click(seconds, click_at):
    """From end to end through a Cnn14, whose convolutions blur but do not shift."""
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


@pytest.mark.parametrize("scale", [0.01, 1, 100])
def test_the_output_depends_on_the_representations_from_the_start(scale):
    """It is not all biases, whatever the level of the representations."""
    torch.manual_seed(0)
    classifier = Cnn14Classifier(FEATURES, 80, (16, 32, 64, 64, 128), 128, 10)
    unet = build_unet("aligned", classifier, FEATURES, 128, (64,) * 4, normalise=True)
    n_stft_frames, n_frames = sizes(1)
    silent = zeros([skip.in_channels for skip in unet.skips], n_stft_frames)
    one, other = (
        unet(
            [scale * torch.rand(x.shape) for x in silent],
            n_samples=SAMPLE_RATE,
            n_frames=n_frames,
            samples_per_frame=STRIDE,
        )
        for _ in range(2)
    )
    assert ENCODED_LEVEL / 3 < one.std() < 3 * ENCODED_LEVEL
    assert (one - other).std() > one.std() / 3


def test_a_classifier_without_representations_has_no_unet():
    classifier = cnn14()
    classifier.geometry = ()
    for geometry in ("aligned", "published"):
        assert build_unet(geometry, classifier, FEATURES, 9, (4, 5, 6, 7)) is None
    with pytest.raises(ValueError, match="representations"):
        build_mask_unet("aligned", "stft", classifier, FEATURES, (4, 5, 6, 7))


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
def test_the_output_responds_at_the_time_of_an_impulse(name, per_frame):
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
def test_an_impulse_in_frequency_stays_at_its_frequency(name):
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
