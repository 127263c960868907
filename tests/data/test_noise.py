"""Interference: random in training, otherwise a pure function of clip and seed."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from lmac_td.data.conditions.in_domain import wham_split_folder
from lmac_td.data.conditions.speech import speech_folder
from lmac_td.data.noise import NoisePool
from lmac_td.errors import DataError, LoadAudioError

RATE = 1000
N = 500  # half a second


def write(folder, name, samples, rate=RATE):
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, samples, rate, subtype="PCM_16")


def ramp(n, start=0):
    """Write files whose samples equal their position."""
    return (np.arange(start, start + n) + 1) / 2**15


def pool_of(folder, **kwargs):
    return NoisePool(folder, RATE, N / RATE, **kwargs)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "noise"
    rng = np.random.default_rng(0)
    for i in range(4):
        write(folder, f"{i}.wav", rng.uniform(-0.5, 0.5, 3 * N))
    return folder


def test_excerpts_of_long_files_start_anywhere(tmp_path):
    write(tmp_path / "noise", "a.wav", ramp(4 * N))
    pool = pool_of(tmp_path / "noise")
    starts = []
    for _ in range(60):
        crop = pool.random() * 2**15
        starts.append(round(crop[0].item()) - 1)
        np.testing.assert_allclose(crop, starts[-1] + 1 + np.arange(N), atol=1e-3)
    assert min(starts) < N
    assert max(starts) > 2 * N
    assert max(starts) <= 3 * N


def test_exact_length_and_stereo(tmp_path):
    write(tmp_path / "noise", "a.wav", np.stack([ramp(N), 3 * ramp(N)], axis=1))
    crop = pool_of(tmp_path / "noise").random()
    np.testing.assert_allclose(crop, 2 * ramp(N), atol=1e-6)


def test_short_files_are_looped(tmp_path):
    write(tmp_path / "noise", "a.wav", ramp(200))
    crop = pool_of(tmp_path / "noise").random()
    np.testing.assert_allclose(crop, np.tile(ramp(200), 3)[:N], atol=1e-6)


@pytest.mark.parametrize("cached", [False, True])
def test_other_rates(tmp_path, cached):
    time = np.arange(4 * 2 * N) / (2 * RATE)
    write(tmp_path / "noise", "a.wav", 0.5 * np.sin(2 * np.pi * 50 * time), 2 * RATE)
    cache_folder = tmp_path / "cache" if cached else None
    crop = pool_of(tmp_path / "noise", cache_folder=cache_folder).random()
    assert crop.shape == (N,)
    spectrum = np.fft.rfft(crop.numpy() * np.hanning(N))
    assert np.abs(spectrum).argmax() * RATE / N == 50
    assert (tmp_path / "cache").exists() == cached


def test_pool_is_flat_and_takes_wav_and_flac(folder):
    soundfile.write(folder / "5.FLAC", ramp(N), RATE, format="FLAC")
    (folder / "notes.txt").write_text("no sound")
    write(folder / "below", "6.wav", ramp(N))
    names = [path.name for path in pool_of(folder).files]
    assert names == ["0.wav", "1.wav", "2.wav", "3.wav", "5.FLAC"]


def test_random_varies_and_follows_its_generator(folder):
    pool = pool_of(folder)
    assert not torch.equal(pool.random(), pool.random())
    seeded = [pool.random(torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*seeded)
    drawn = []
    for _ in range(2):
        torch.manual_seed(7)
        drawn.append(pool.random())
    assert torch.equal(*drawn)


def test_fixed_is_a_pure_function(folder):
    pool = pool_of(folder)
    reference = pool.fixed("clip", "in_domain", 0)
    torch.manual_seed(99)
    pool.random()
    state = torch.get_rng_state()
    assert torch.equal(reference, pool.fixed("clip", "in_domain", 0))
    assert torch.equal(state, torch.get_rng_state()), "the global generator was used"
    assert torch.equal(reference, pool_of(folder).fixed("clip", "in_domain", 0))
    for other in (
        pool.fixed("clip2", "in_domain", 0),
        pool.fixed("clip", "other", 0),
        pool.fixed("clip", "in_domain", 1),
    ):
        assert not torch.equal(reference, other)


@pytest.mark.slow
def test_fixed_is_the_same_in_another_process(folder):
    code = (
        "import sys; from lmac_td.data.noise import NoisePool;"
        f"pool = NoisePool(sys.argv[1], {RATE}, {N / RATE});"
        "print(pool.fixed('clip', 'in_domain', 0).sum().item())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code, folder],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={"PYTHONHASHSEED": "5", "OMP_NUM_THREADS": "1"},
    ).stdout
    assert float(printed) == pool_of(folder).fixed("clip", "in_domain", 0).sum().item()


def test_silent_excerpts_are_drawn_again(tmp_path):
    samples = np.zeros(20 * N)
    samples[7 * N : 7 * N + 100] = 0.5
    write(tmp_path / "noise", "a.wav", samples)
    pool = pool_of(tmp_path / "noise")
    for seed in range(20):
        crop = pool.fixed("clip", "in_domain", seed)
        assert crop.any()
        assert crop.shape == (N,)
        assert torch.equal(crop, pool.fixed("clip", "in_domain", seed))


@pytest.mark.parametrize("where", [0, -1])
def test_one_click_in_silence_is_found(tmp_path, where):
    samples = np.zeros(100 * N)
    samples[where] = 0.5
    write(tmp_path / "noise", "a.wav", samples)
    crop = pool_of(tmp_path / "noise").random()
    assert crop.shape == (N,)
    assert crop.any()


@pytest.mark.parametrize("rate", [RATE, 2 * RATE])
@pytest.mark.parametrize("what", ["silent", "empty", "corrupt"])
def test_bad_files_are_named(tmp_path, what, rate):
    write(tmp_path, "bad.wav", np.zeros(0 if what == "empty" else 2000), rate)
    if what == "corrupt":
        (tmp_path / "bad.wav").write_bytes(b"no sound")
    with pytest.raises(LoadAudioError, match=r"bad\.wav.*remove it from wham_folder"):
        pool_of(tmp_path).random()


def test_folders(tmp_path):
    with pytest.raises(DataError, match="wham_folder"):
        pool_of(tmp_path / "missing")
    with pytest.raises(DataError, match="no wav or flac"):
        pool_of(tmp_path)
    (tmp_path / "tr").mkdir()
    assert wham_split_folder(tmp_path, "train") == tmp_path / "tr"
    with pytest.raises(DataError, match=r"cv.*--wham_folder"):
        wham_split_folder(tmp_path, "valid")


def test_speech_may_have_the_layout_of_ljspeech_or_none(tmp_path):
    with pytest.raises(DataError, match=r"missing.*--ljspeech_folder.*--condition"):
        speech_folder(tmp_path / "missing")
    write(tmp_path, "a.wav", ramp(N))
    assert speech_folder(str(tmp_path)) == tmp_path
    write(tmp_path / "wavs", "b.wav", ramp(N))
    assert speech_folder(tmp_path) == tmp_path / "wavs"


def test_errors_name_the_setting_of_the_folder(tmp_path):
    for spoil, words in (
        (lambda: None, "does not exist: correct ljspeech_folder"),
        (lambda: (tmp_path / "wavs").mkdir(), "no wav or flac.*correct ljspeech_fol"),
        (
            lambda: (tmp_path / "wavs" / "bad.wav").write_bytes(b"no sound"),
            r"bad\.wav.*remove it from ljspeech_folder",
        ),
    ):
        spoil()
        with pytest.raises(DataError, match=words):
            pool_of(tmp_path / "wavs", setting="ljspeech_folder").random()


def test_bad_recordings_are_skipped_only_on_request(folder, caplog):
    for bad in ("0.wav", "1.wav", "2.wav"):
        (folder / bad).write_bytes(b"no sound")
    (folder / "._3.wav").write_bytes(b"what another system leaves beside a file")
    clips = [str(clip) for clip in range(20)]
    with pytest.raises(LoadAudioError, match="skip_bad_files"):
        _ = [pool_of(folder).fixed(clip, "in_domain", 0) for clip in clips]
    pool = pool_of(folder, skip_bad_files=True)
    draws = [pool.fixed(clip, "in_domain", 0) for clip in clips]
    assert all(draw.any() for draw in draws)
    assert "0.wav" in caplog.text
    again = [pool.fixed(clip, "in_domain", 0) for clip in clips]
    assert all(torch.equal(a, b) for a, b in zip(draws, again, strict=True))


def test_a_folder_of_bad_recordings_is_refused(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(DataError, match="no usable recording"):
        pool_of(tmp_path, skip_bad_files=True).random()
