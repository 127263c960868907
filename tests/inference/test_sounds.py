"""Recordings of any kind, read in blocks."""

import numpy as np
import pytest
import soundfile
import torch

from lmac_td.audio import load_audio
from lmac_td.errors import LoadAudioError, SettingError
from lmac_td.inference import sounds
from lmac_td.inference.sounds import Sound


def noise(n_samples, channels=2, seed=0):
    generator = np.random.default_rng(seed)
    return (0.1 * generator.standard_normal((n_samples, channels))).astype(np.float32)


def read(sound, sample_rate=16000):
    return torch.from_numpy(np.concatenate(list(sound.blocks(sample_rate))))


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_file_is_read_as_the_recipes_read_it(tmp_path, monkeypatch, kind, rate):
    monkeypatch.setattr(sounds, "BLOCK", 5000)
    path = tmp_path / f"noise.{kind}"
    soundfile.write(path, noise(rate), rate)
    expected = load_audio(path, 16000)
    assert read(Sound(path)).shape == expected.shape
    torch.testing.assert_close(read(Sound(path)), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(read(Sound(path.read_bytes())), read(Sound(path)))


def test_arrays_of_every_kind_are_the_same_sound():
    stereo = noise(4000)
    expected = torch.from_numpy(stereo.mean(axis=1))
    for array in (stereo, stereo.T, torch.from_numpy(stereo), stereo.astype(float)):
        torch.testing.assert_close(read(Sound(array, 16000)), expected)
        given = {"array": array, "sampling_rate": 16000}
        torch.testing.assert_close(read(Sound(given)), expected)
    torch.testing.assert_close(
        read(Sound({"raw": stereo, "sampling_rate": 16000})), expected
    )


def test_whole_numbers_are_shares_of_the_largest():
    for kind in (np.int16, np.int32):
        samples = np.array([np.iinfo(kind).min, 0], dtype=kind)
        assert read(Sound(samples, 16000)).tolist() == [-1, 0]
    assert read(Sound(np.array([0, 128, 192], np.uint8), 16000)).tolist() == [
        -1,
        0,
        0.5,
    ]


@pytest.mark.parametrize(
    ("source", "rate", "error", "says"),
    [
        ("no_such_file.wav", None, LoadAudioError, "no_such_file.wav is missing"),
        (b"no sound", None, LoadAudioError, "cannot be decoded"),
        (np.zeros(8), None, SettingError, "give the rate"),
        (np.zeros((2, 2, 2)), 8000, SettingError, "is not supported"),
        ({"sampling_rate": 8000}, None, SettingError, "no array"),
        (np.zeros(0), 8000, LoadAudioError, "is empty"),
        (np.array([0.0, np.nan]), 8000, LoadAudioError, "NaN"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_sentence(source, rate, error, says):
    with pytest.raises(error, match=says):
        read(Sound(source, rate))
