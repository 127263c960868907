"""Loading, fitting and saving of sound files."""

import numpy as np
import pytest
import soundfile
import torch

from lmac_td.audio import (
    fit_to_length,
    load_audio,
    read_mono,
    recorded_length,
    save_audio,
)
from lmac_td.errors import LoadAudioError


def write(path, samples, rate=16000, **kwargs):
    soundfile.write(path, samples, rate, **kwargs)
    return path


def tone(rate, hz=440.0, seconds=0.5):
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
def test_formats(tmp_path, ending):
    wav = load_audio(write(tmp_path / f"a.{ending}", tone(16000)), 16000)
    assert wav.shape == (8000,)
    assert wav.dtype == torch.float32
    np.testing.assert_allclose(wav, tone(16000), atol=0.05)


def test_channels_are_averaged(tmp_path, rng):
    channels = rng.uniform(-0.5, 0.5, (800, 3))
    path = write(tmp_path / "a.wav", channels, subtype="FLOAT")
    twin = [sum(frame) / 3 for frame in channels]
    np.testing.assert_allclose(load_audio(path, 16000), twin, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 22050, 22257, 44100, 44101, 48000])
def test_resampling_keeps_the_tone(tmp_path, rate):
    wav = load_audio(write(tmp_path / "a.wav", tone(rate), rate), 16000)
    assert abs(len(wav) - 8000) <= 1
    # Except near the ends it equals the tone.
    np.testing.assert_allclose(wav[1000:7000], tone(16000)[1000:7000], atol=2e-3)


def test_resampling_removes_frequencies_above_the_new_nyquist(tmp_path):
    """A tone above the new Nyquist frequency disappears, one below is not delayed."""
    high = write(tmp_path / "high.wav", tone(44101, hz=9000.0), 44101)
    assert load_audio(high, 16000)[1000:7000].abs().max() < 1e-3
    click = np.zeros(44101)
    click[22050] = 0.9
    wav = load_audio(write(tmp_path / "click.wav", click, 44101), 16000)
    assert int(wav.abs().argmax()) == round(22050 * 16000 / 44101)


@pytest.mark.parametrize("seconds", [0.2, 0.5, 1.001])
def test_signal_length(tmp_path, seconds):
    path = write(tmp_path / "a.wav", tone(16000, seconds=seconds))
    wav = load_audio(path, 16000, signal_length_s=0.5)
    n_heard = min(8000, round(seconds * 16000))
    assert wav.shape == (8000,)
    np.testing.assert_allclose(
        wav[:n_heard], tone(16000, seconds=1)[:n_heard], atol=1e-4
    )
    assert not wav[n_heard:].any()


def test_signal_length_is_exact_after_resampling(tmp_path):
    path = write(tmp_path / "a.wav", tone(44100, seconds=5.001), 44100)
    assert load_audio(path, 16000, signal_length_s=5).shape == (80000,)


def test_fit_to_length_keeps_batches():
    assert fit_to_length(torch.ones(2, 3), 5).tolist() == [[1, 1, 1, 0, 0]] * 2
    assert fit_to_length(torch.ones(2, 3), 2).shape == (2, 2)


def bad_missing(path):
    return path


def bad_corrupt(path):
    path.write_bytes(b"this is no sound")
    return path


def bad_zero_bytes(path):
    path.write_bytes(b"")
    return path


def bad_empty(path):
    return write(path, np.zeros(0))


def bad_silent(path):
    return write(path, np.zeros(100))


def bad_cancelling(path):
    channels = np.stack([tone(16000), -tone(16000)], axis=1)
    return write(path, channels, subtype="FLOAT")


def bad_silent_where_kept(path):
    return write(path, np.concatenate([np.zeros(16000), tone(16000)]))


def bad_nan(path):
    return write(path, np.array([0.1, np.nan]), subtype="FLOAT")


def bad_infinite(path):
    return write(path, np.array([0.1, -np.inf]), subtype="FLOAT")


def bad_folder(path):
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (bad_missing, "missing"),
        (bad_folder, "missing"),
        (bad_corrupt, "decoded"),
        (bad_zero_bytes, "decoded"),
        (bad_empty, "empty"),
        (bad_silent, "silent"),
        (bad_cancelling, "silent"),
        (bad_silent_where_kept, "silent"),
        (bad_nan, "NaN"),
        (bad_infinite, "infinite"),
    ],
)
def test_bad_files_are_named(tmp_path, make, word):
    path = make(tmp_path / "the_bad_one.wav")
    with pytest.raises(LoadAudioError) as caught:
        load_audio(path, 16000, signal_length_s=0.5)
    message = str(caught.value)
    assert word in message
    assert "the_bad_one.wav" in message
    assert "remove it or set skip_bad_files: True" in message
    assert "\n" not in message


def test_read_mono_reads_only_the_excerpt(tmp_path):
    path = write(tmp_path / "a.wav", tone(44100), 44100, subtype="FLOAT")
    samples, rate = read_mono(path, start=100, n_frames=50)
    assert rate == 44100
    np.testing.assert_allclose(samples, tone(44100)[100:150], atol=1e-6)


@pytest.mark.parametrize(
    ("peak", "subtype"), [(0.3, "PCM_16"), (1.0, "PCM_16"), (1.7, "FLOAT")]
)
def test_save_keeps_the_level(tmp_path, peak, subtype):
    wav = torch.randn(2000)
    wav = peak * wav / wav.abs().max()
    path = save_audio(tmp_path / "new" / "a.wav", wav, 8000)
    assert soundfile.info(path).subtype == subtype
    assert soundfile.info(path).samplerate == 8000
    np.testing.assert_allclose(load_audio(path, 8000), wav, atol=2**-15)


def test_24_bits_round_less(tmp_path):
    wav = torch.rand(2000) - 0.5
    path = save_audio(tmp_path / "a.wav", wav, 8000, bits=24)
    assert soundfile.info(path).subtype == "PCM_24"
    np.testing.assert_allclose(load_audio(path, 8000), wav, atol=2**-23)


def test_save_channels_and_grad(tmp_path):
    wav = (torch.rand(2, 100) * 0.5).requires_grad_()
    path = save_audio(tmp_path / "a.wav", wav, 8000)
    assert soundfile.info(path).channels == 2
    np.testing.assert_allclose(
        load_audio(path, 8000), wav.detach().mean(0), atol=2**-15
    )


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = save_audio(tmp_path / "a.wav", torch.full((10,), 0.5), 8000)
    before = path.read_bytes()

    def fill_the_disk(file, *args, **kwargs):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(soundfile, "write", fill_the_disk)
    with pytest.raises(OSError, match="No space"):
        save_audio(path, torch.zeros(10), 8000)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("rate", [8000, 22050, 44101])
def test_the_length_of_a_recording_needs_no_decoding(tmp_path, ending, rate):
    for seconds in (0.1, 0.25, 0.3337):
        path = write(tmp_path / f"a.{ending}", tone(rate, seconds=seconds), rate)
        assert abs(recorded_length(path, 16000) - len(load_audio(path, 16000))) <= 1
        assert recorded_length(path, rate) == len(load_audio(path, rate))


def test_the_length_of_a_missing_recording_is_an_error(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no sound")
    for name in ("a.wav", "b.wav"):
        with pytest.raises(LoadAudioError, match=name):
            recorded_length(tmp_path / name, 16000)
