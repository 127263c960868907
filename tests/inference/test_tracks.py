"""Windows of a sound, and one sound of windows."""

import numpy as np
import pytest
import soundfile
import torch

from lmac_td.inference.tracks import CrossFade, Track, save_blocks, windows


def cut(n_samples, length, hop, block):
    wav = np.arange(n_samples, dtype=np.float32)
    blocks = [wav[i : i + block] for i in range(0, n_samples, block)]
    return wav, list(windows(blocks, length, hop))


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
@pytest.mark.parametrize("n_samples", [1, 19, 20, 21, 30, 95, 100, 101])
@pytest.mark.parametrize("hop", [10, 20, 3])
def test_windows_cover_the_sound_and_hold_its_samples(n_samples, hop, block):
    wav, found = cut(n_samples, 20, hop, block)
    covered = np.zeros(n_samples, bool)
    for start, window in found:
        assert len(window) == min(20, n_samples)
        np.testing.assert_array_equal(window, wav[start : start + 20])
        covered[start : start + 20] = True
    assert covered.all()
    starts = [start for start, _ in found]
    assert starts == sorted(set(starts))


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_a_short_rest_follows_the_last_window(block):
    for n_samples, starts in ((22, [0, 20]), (23, [0, 3]), (32, [0, 10, 30])):
        wav = np.arange(n_samples, dtype=np.float32)
        blocks = [wav[i : i + block] for i in range(0, n_samples, block)]
        found = list(windows(blocks, length=20, hop=10, rest=2))
        assert [start for start, _ in found] == starts
        for start, window in found:
            np.testing.assert_array_equal(window, wav[start : start + 20])


@pytest.mark.parametrize("n_samples", [15, 20, 33, 100])
def test_cross_faded_windows_are_the_sound(n_samples):
    wav, found = cut(n_samples, 20, 10, 16)
    track = Track()
    fade = CrossFade(track)
    for start, window in found:
        fade.add(start, window)
    fade.finish()
    torch.testing.assert_close(track.tensor(), torch.from_numpy(wav))
    if len(found) == 1:
        assert torch.equal(track.tensor(), torch.from_numpy(wav))


def test_a_track_is_saved_and_read_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr("lmac_td.inference.tracks.BLOCK", 100)
    track, wav = Track(), torch.linspace(-0.5, 0.5, 350)
    for part in wav.split(60):
        track.append(part)
    path = save_blocks(tmp_path / "new" / "a.wav", track.blocks(), 8000, track.peak)
    found, rate = soundfile.read(path, dtype="float32")
    assert rate == 8000
    torch.testing.assert_close(torch.from_numpy(found), wav, atol=1e-6, rtol=0)
    monkeypatch.setattr("lmac_td.inference.tracks.MOST_IN_MEMORY", 100)
    assert torch.equal(track.tensor(), wav)  # mapped from the disk


def test_a_sound_above_full_scale_is_not_clipped(tmp_path):
    path = save_blocks(tmp_path / "a.wav", [np.float32([0, 1.5])], 8000, peak=1.5)
    assert soundfile.read(path)[0].tolist() == [0, 1.5]
