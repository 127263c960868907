"""The STFT and the mel filters against SpeechBrain's modules, and backwards."""

import pytest
import torch
from speechbrain.processing.features import ISTFT, STFT, Filterbank

from lmac_td.errors import SettingError
from lmac_td.features import LogMel, SpectralFeatures

MEL = LogMel(16000, 1024, 80)


def test_equals_the_front_end_of_speechbrains_recipes(spectral, wavs):
    stft = STFT(16000, win_length=23.2199, hop_length=11.6099, n_fft=1024)(wavs)
    fbank = Filterbank(n_mels=80, n_fft=1024, sample_rate=16000, log_mel=False)
    magnitude = stft.pow(2).sum(-1).sqrt()

    features = spectral(wavs)

    torch.testing.assert_close(torch.view_as_real(features.stft), stft)
    torch.testing.assert_close(features.magnitude, magnitude)
    log_mel = MEL(features.magnitude)
    torch.testing.assert_close(log_mel, torch.log1p(fbank(magnitude)))
    istft = ISTFT(16000, win_length=23.2199, hop_length=11.6099, n_fft=1024)
    torch.testing.assert_close(
        spectral.istft(features.stft, 16000), istft(stft, sig_length=16000)
    )


def test_istft_inverts_stft_for_any_length(spectral):
    for length in (500, 16000, 16001, 37777):
        wavs = torch.randn(2, length)
        back = spectral.istft(spectral.stft(wavs), length)
        torch.testing.assert_close(back, wavs, atol=1e-5, rtol=0)
        assert spectral(wavs).magnitude.shape == (2, spectral.n_frames(length), 513)


def test_silence_has_finite_gradients(spectral):
    wavs = torch.zeros(1, 4000, requires_grad=True)
    MEL(spectral(wavs).magnitude).sum().backward()
    assert torch.isfinite(wavs.grad).all()


def test_stays_in_float32_under_autocast(spectral, wavs):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = spectral(wavs)
        log_mel = MEL(features.magnitude)
    assert features.magnitude.dtype == log_mel.dtype == torch.float32
    torch.testing.assert_close(features.magnitude, spectral(wavs).magnitude)
    torch.testing.assert_close(log_mel, MEL(spectral(wavs).magnitude))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hop_length": 0}, "hop_length 0 ms"),
        ({"hop_length": 30}, "480, 372 and 1024"),
        ({"n_fft": 256}, "n_fft 256"),
        ({"sample_rate": 48000}, "sample_rate of 48000"),
    ],
)
def test_frames_that_do_not_fit_are_refused(settings, words):
    arguments = {
        "sample_rate": 16000, "n_fft": 1024, "win_length": 23.2199,
        "hop_length": 11.6099,
    }  # fmt: skip
    with pytest.raises(SettingError, match=words):
        SpectralFeatures(**arguments | settings)


def test_subnormal_magnitudes_have_a_finite_gradient(spectral):
    """For subnormal numbers of float32, 1 / |z| is infinite."""
    for level in (0.0, 1e-42, 1e-39, 1e-30, 1e-3):
        wavs = (level * torch.randn(1, 4001)).requires_grad_()
        spectral(wavs).magnitude.sum().backward()
        assert wavs.grad.isfinite().all(), level


def test_features_of_some_clips_in_their_order(spectral, wavs):
    features = spectral(wavs)
    some = features.select(torch.tensor([2, 0, 2]))
    assert torch.equal(some.stft, features.stft[[2, 0, 2]])
    assert torch.equal(some.magnitude, features.magnitude[[2, 0, 2]])


def test_another_magnitude_keeps_the_phase(spectral, wavs):
    """The same magnitude gives the same sound; half of it half the sound."""
    features = spectral(wavs)
    for gain in (1.0, 0.5):
        sound = spectral.with_magnitude(
            features.stft, gain * features.magnitude, wavs.shape[1]
        )
        torch.testing.assert_close(sound, gain * wavs, atol=1e-5, rtol=0)
    silence = spectral.with_magnitude(0 * features.stft, features.magnitude, 16000)
    assert silence.isfinite().all()


def test_each_bin_is_shared_by_the_bands_that_cover_it():
    """Literal, bin by bin; bins without a band follow the nearest centre."""
    matrix = MEL.matrix.double()
    centres = [
        sum(k * float(matrix[k, band]) for k in range(513))
        / float(matrix[:, band].sum())
        for band in range(80)
    ]
    for k in range(513):
        total = float(matrix[k].sum())
        if total > 0:
            expected = [float(matrix[k, band]) / total for band in range(80)]
        else:
            nearest = min(range(80), key=lambda band: abs(centres[band] - k))
            expected = [float(band == nearest) for band in range(80)]
        assert MEL.bands_of_bins[:, k].tolist() == pytest.approx(expected, abs=1e-6)
