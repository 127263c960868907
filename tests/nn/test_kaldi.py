"""The batched Kaldi filterbank gives what torchaudio's gives for each clip."""

import math

import pytest
import torch
from torchaudio.compliance import kaldi

from lmac_td.nn.kaldi import KaldiFilterbank


def by_torchaudio(wav, sample_rate, n_mels):
    return kaldi.fbank(
        wav.unsqueeze(0),
        sample_frequency=sample_rate,
        window_type="hanning",
        num_mel_bins=n_mels,
    )


def by_the_definition(wav, n_mels):
    """Kaldi's filterbank at 16 kHz in float64, sample by sample."""
    wav = wav.double().tolist()
    mel = lambda hertz: 1127.0 * math.log(1.0 + hertz / 700.0)  # noqa: E731
    low, step = mel(20.0), (mel(8000.0) - mel(20.0)) / (n_mels + 1)
    rows = []
    for start in range(0, len(wav) - 399, 160):
        frame = wav[start : start + 400]
        mean = sum(frame) / 400
        frame = [x - mean for x in frame]
        frame = [x - 0.97 * frame[max(0, n - 1)] for n, x in enumerate(frame)]
        hann = [0.5 - 0.5 * math.cos(2 * math.pi * n / 399) for n in range(400)]
        frame = [x * w for x, w in zip(frame, hann, strict=True)]
        padded = torch.tensor(frame + [0.0] * 112, dtype=torch.float64)
        n = torch.arange(512, dtype=torch.float64)
        power = []
        for k in range(256):
            angle = 2 * math.pi * k * n / 512
            power.append(
                float((padded * angle.cos()).sum() ** 2)
                + float((padded * angle.sin()).sum() ** 2)
            )
        row = []
        for band in range(n_mels):
            left = low + band * step
            centre, right = left + step, left + 2 * step
            energy = 0.0
            for k in range(256):
                here = mel(k * 16000 / 512)
                slope = min((here - left) / step, (right - here) / step)
                energy += max(0.0, slope) * power[k]
            row.append(math.log(max(energy, 2.0**-23)))
        assert math.isclose(centre + step, right)
        rows.append(row)
    return torch.tensor(rows)


def clips(n_clips, n_samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-3, 0, n_clips).unsqueeze(1)
    return scale * torch.randn(n_clips, n_samples, generator=generator)


@pytest.mark.parametrize("n_samples", [400, 401, 559, 560, 561, 4000, 16000, 40123])
def test_every_clip_of_a_batch_has_the_features_of_torchaudio(n_samples):
    wavs = clips(3, n_samples)
    features = KaldiFilterbank(16000, 128)(wavs)
    expected = torch.stack([by_torchaudio(wav, 16000, 128) for wav in wavs])
    assert features.shape == expected.shape
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("sample_rate", "n_mels"), [(8000, 23), (16000, 80), (22050, 64), (44100, 128)]
)
def test_other_rates_and_numbers_of_bands(sample_rate, n_mels):
    wavs = clips(2, sample_rate)
    features = KaldiFilterbank(sample_rate, n_mels)(wavs)
    expected = torch.stack([by_torchaudio(wav, sample_rate, n_mels) for wav in wavs])
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


def test_a_loud_tone_beside_silent_bands():
    """Bands near the floor hold the rounding of the FFT: it is torchaudio's, too."""
    time = torch.arange(16000) / 16000
    tones = [torch.sin(2 * math.pi * f * time) for f in (100.0, 997.0, 7900.0)]
    wavs = torch.stack(tones)
    features = KaldiFilterbank(16000, 128)(wavs)
    expected = torch.stack([by_torchaudio(wav, 16000, 128) for wav in wavs])
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-4)


def test_the_definition_written_out():
    wavs = clips(1, 1000)
    expected = by_the_definition(wavs[0], 24)
    features = KaldiFilterbank(16000, 24)(wavs)[0]
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-4)


def test_a_clip_has_the_same_features_alone_and_in_a_batch():
    filterbank = KaldiFilterbank(16000, 128)
    wavs = clips(4, 16000)
    alone = torch.cat([filterbank(wav.unsqueeze(0)) for wav in wavs])
    torch.testing.assert_close(filterbank(wavs), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_samples", [400, 559, 560, 16000])
def test_the_number_of_frames_is_known_beforehand(n_samples):
    filterbank = KaldiFilterbank(16000, 24)
    n_frames = filterbank.n_frames(n_samples)
    assert filterbank(torch.zeros(1, n_samples)).shape[1] == n_frames
    assert filterbank.n_samples(n_frames) <= n_samples
    assert filterbank.n_samples(n_frames + 1) > n_samples


def test_a_clip_shorter_than_a_frame_has_none():
    assert KaldiFilterbank(16000, 24).n_frames(399) == 0


def test_the_gradient_is_that_of_torchaudio():
    wavs = clips(2, 4000)
    gradients = []
    for function in (
        KaldiFilterbank(16000, 40),
        lambda w: torch.stack([by_torchaudio(wav, 16000, 40) for wav in w]),
    ):
        leaf = wavs.clone().requires_grad_()
        weights = torch.linspace(-1, 1, 40)
        (function(leaf) * weights).sum().backward()
        gradients.append(leaf.grad)
    ours, theirs = gradients
    assert (ours - theirs).norm() < 1e-4 * theirs.norm()


@pytest.mark.parametrize("level", [0.0, 1e-42, 1e-30, 1e-12])
def test_gradients_are_finite_at_digital_silence(level):
    wavs = level * clips(2, 2000)
    wavs.requires_grad_()
    KaldiFilterbank(16000, 40)(wavs).sum().backward()
    assert wavs.grad.isfinite().all()


def test_a_clip_with_a_silent_half_has_finite_gradients_that_are_not_all_zero():
    wavs = clips(2, 4000)
    wavs[:, 2000:] = 0
    wavs.requires_grad_()
    KaldiFilterbank(16000, 40)(wavs).sum().backward()
    assert wavs.grad.isfinite().all()
    assert wavs.grad[:, :1500].abs().sum() > 0


def test_autocast_changes_nothing():
    wavs = clips(2, 4000)
    filterbank = KaldiFilterbank(16000, 40)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = filterbank(wavs)
    assert features.dtype == torch.float32
    assert torch.equal(features, filterbank(wavs))


def test_the_filterbank_saves_nothing_in_checkpoints():
    assert KaldiFilterbank(16000, 40).state_dict() == {}
