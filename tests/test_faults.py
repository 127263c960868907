"""Recordings that can be read, and are not what they seem to be."""

import logging

import numpy as np
import pytest
import soundfile

from lmac_td.audio import load_audio
from lmac_td.errors import LoadAudioError
from lmac_td.inference.sounds import Sound

RATE = 16000


def noise(n_channels=1, level=0.1, seed=0):
    generator = np.random.default_rng(seed)
    return level * generator.standard_normal((RATE, n_channels))


def cut(path, share):
    """Keep the header of a file and some of its samples."""
    content = path.read_bytes()
    path.write_bytes(content[: 44 + round(share * (len(content) - 44))])


def as_recipes(path):
    return load_audio(path, RATE)


def as_explained(path):
    sound = Sound(path)
    for _ in range(2):  # it is read several times
        samples = np.concatenate(list(sound.blocks(RATE)))
    return samples


def as_bytes(path):
    return np.concatenate(list(Sound(path.read_bytes()).blocks(RATE)))


READERS = [as_recipes, as_explained, as_bytes]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["wav", "flac"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_channels_that_cancel_each_other_are_refused(tmp_path, read, kind, subtype):
    left = noise()
    path = tmp_path / f"a.{kind}"
    # Of the second, rounding leaves a rest.
    for right in (-left, -left + 2.0**-15):
        soundfile.write(path, np.hstack([left, right]), RATE, subtype=subtype)
        with pytest.raises(LoadAudioError, match="channels cancel each other"):
            read(path)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("level", [0.25, -1.0, 2.0**-15])
def test_a_flat_line_is_refused(tmp_path, read, level):
    soundfile.write(tmp_path / "a.wav", np.full(RATE, level), RATE)
    with pytest.raises(LoadAudioError, match="is a flat line"):
        read(tmp_path / "a.wav")


def once(caplog, words):
    said = [record.getMessage() for record in caplog.records]
    assert [words in sentence for sentence in said] == [True], said


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("share", [0.5, 0.01, 0.99])
def test_half_a_file_is_named_once(tmp_path, caplog, read, share):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(), RATE)
    cut(path, share)
    with caplog.at_level(logging.WARNING):
        assert len(read(path)) == pytest.approx(share * RATE, abs=2)
    once(caplog, f"it is cut off: {100 * (1 - share):.0f} % is missing")


@pytest.mark.parametrize("read", READERS)
def test_a_file_that_is_clipped_throughout_is_named(tmp_path, caplog, read):
    soundfile.write(tmp_path / "a.wav", noise(2, level=5).clip(-1, 1), RATE)
    read(tmp_path / "a.wav")
    once(caplog, "it is clipped: 8")


@pytest.mark.parametrize("read", READERS)
def test_channels_that_nearly_cancel_are_named(tmp_path, caplog, read):
    left = noise()
    both = np.hstack([left, -left + 0.05 * noise(seed=1)])
    soundfile.write(tmp_path / "a.wav", both, RATE)
    read(tmp_path / "a.wav")
    once(caplog, "its channels nearly cancel each other: their mean has -32 dB")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "aiff", "au"])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_a_whole_recording_gives_no_warning(tmp_path, caplog, read, kind, n_channels):
    path = tmp_path / f"a.{kind}"
    sound = noise(n_channels)
    soundfile.write(path, sound / np.abs(sound).max(), RATE)
    read(path)
    assert not caplog.records


def test_a_file_that_was_written_as_a_stream_has_no_length_to_miss(tmp_path, caplog):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(), RATE)
    content = bytearray(path.read_bytes())
    for place in (4, 40):
        content[place : place + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    load_audio(path, RATE)
    assert not caplog.records
