"""The embedded corpus: its layout, reproducibility, variety and command."""

import csv
import hashlib
import json

import numpy as np
import pytest
import soundfile

from lmac_td.data.demo import corpus
from lmac_td.data.demo.clips import SOUNDS, make_clip
from lmac_td.data.demo.corpus import MARKER, N_FOLDS, generate_corpus
from lmac_td.data.demo.noise import NOISES, make_noise
from lmac_td.data.demo.signals import harmonics
from lmac_td.data.demo.speech import make_speech
from lmac_td.data.sources.base import read_source
from lmac_td.data.sources.esc50 import ESC50
from lmac_td.errors import DataError, SettingError

SMALL = {"clips_per_class_and_fold": 1, "duration_s": 1.0}


@pytest.fixture(autouse=True, scope="module")
def _few_noise_files():
    """Make fewer files, which is faster."""
    patch = pytest.MonkeyPatch()
    patch.setattr(corpus, "FILES_PER_NOISE_KIND", {"train": 2, "valid": 1, "test": 1})
    patch.setattr(corpus, "N_UTTERANCES", 4)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return generate_corpus(tmp_path_factory.mktemp("corpus"), **SMALL)


def events_of(folder):
    with open(folder / "ESC-50" / "meta" / "events.csv", newline="") as file:
        return list(csv.DictReader(file))


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_layout_is_that_of_esc50(folder):
    clips, class_names = read_source(ESC50(folder / "ESC-50"))
    assert len(clips) == N_FOLDS * len(SOUNDS) == 50
    assert {clip.fold for clip in clips} == {1, 2, 3, 4, 5}
    assert class_names[:2] == ["dog", "rain"]
    for clip in clips:
        assert clip.path.name.startswith(f"{clip.fold}-")
        assert clip.path.name.endswith(f"-A-{clip.details['esc50_target']}.wav")
    header = (folder / "ESC-50" / "meta" / "esc50.csv").read_text().splitlines()[0]
    assert header == "filename,fold,target,category,esc10,src_file,take"


def test_clips_have_the_right_length_and_level(folder):
    for clip in ESC50(folder / "ESC-50").clips():
        samples, rate = soundfile.read(clip.path)
        assert (samples.shape, rate) == ((16000,), 16000)
        assert 0.05 < np.abs(samples).max() < 0.99


def test_noise_has_the_layout_of_wham(folder):
    channels = set()
    for split in ("tr", "cv", "tt"):
        files = sorted((folder / "wham_noise" / split).iterdir())
        assert {file.name.rsplit("_", 1)[0] for file in files} == set(NOISES)
        for file in files:
            info = soundfile.info(file)
            channels.add(info.channels)
            assert info.duration > 1.0
            assert np.abs(soundfile.read(file)[0]).max() > 0.05
    assert channels == {1, 2}


def test_speech_has_the_layout_of_ljspeech(folder):
    speech = folder / "LJSpeech-1.1"
    table = (speech / "metadata.csv").read_text().splitlines()
    names = [line.split("|")[0] for line in table]
    assert names == sorted(path.stem for path in (speech / "wavs").iterdir())
    for line in table:
        _, transcript, normalised = line.split("|")
        # The transcript says that the speech has no words.
        assert "synthetic" in transcript
        assert transcript == normalised
    for path in (speech / "wavs").iterdir():
        info = soundfile.info(path)
        assert (info.samplerate, info.channels) == (22050, 1)
        assert 2 <= info.duration <= 6


@pytest.mark.parametrize(("n", "rate"), [(80000, 16000), (110250, 22050), (3000, 8000)])
def test_speech_has_voice_and_pauses(n, rate):
    for seed in range(3):
        wave = make_speech(np.random.default_rng(seed), n, rate)
        assert wave.shape == (n,)
        assert np.isfinite(wave).all()
        assert 0.05 < np.abs(wave).max() < 1
        if n / rate < 1:
            continue
        frames = wave[: n // 400 * 400].reshape(-1, 400)
        level_db = 10 * np.log10(np.mean(frames**2, axis=1) / np.mean(frames**2))
        assert 0.1 < np.mean(level_db < -25) < 0.7  # pauses, with a room in them
        power = np.abs(np.fft.rfft(wave)) ** 2
        hz = np.fft.rfftfreq(n, 1 / rate)
        assert power[(hz > 80) & (hz < 4000)].sum() > 0.7 * power.sum()


def test_no_two_files_are_the_same(folder):
    sounds = [value for name, value in digests(folder).items() if name.endswith(".wav")]
    assert len(set(sounds)) == len(sounds)


def test_same_seed_same_bytes(folder, tmp_path):
    assert digests(generate_corpus(tmp_path / "again", **SMALL)) == digests(folder)


def test_another_seed_gives_other_sounds(folder, tmp_path):
    other = digests(generate_corpus(tmp_path / "other", seed=1, **SMALL))
    same = {name for name, value in digests(folder).items() if other[name] == value}
    assert same == {"ESC-50/meta/esc50.csv", "LJSpeech-1.1/metadata.csv"}


def test_a_larger_corpus_has_the_same_first_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "NOISES", {})
    few, more = (
        generate_corpus(
            tmp_path / str(n), clips_per_class_and_fold=n, duration_s=0.5
        ).glob("ESC-50/audio/*")
        for n in (1, 2)
    )
    sounds_of_few, sounds_of_more = (
        {path.read_bytes() for path in paths} for paths in (few, more)
    )
    assert len(sounds_of_few) == 50
    assert sounds_of_few < sounds_of_more


def test_events_are_where_the_energy_is(folder):
    """Inside an event there is much more energy than outside, in nearly every clip."""
    louder = []
    for clip in ESC50(folder / "ESC-50").clips():
        samples, rate = soundfile.read(clip.path)
        inside = np.zeros(len(samples), bool)
        events = [e for e in events_of(folder) if e["filename"] == clip.path.name]
        assert events
        end = 0.0
        for event in events:
            onset, offset = float(event["onset_s"]), float(event["offset_s"])
            assert end <= onset < offset <= 1.0
            inside[round(onset * rate) : round(offset * rate)] = True
            end = offset
        if not inside.all():
            power = [np.mean(samples[part] ** 2) for part in (inside, ~inside)]
            louder.append(power[0] > 10 * power[1])
    assert np.mean(louder) > 0.95


@pytest.mark.parametrize("target", SOUNDS)
def test_every_class_at_any_rate_and_length(target):
    for n, rate in ((4000, 8000), (44100, 44100)):
        rng = np.random.default_rng(target)
        samples, events = make_clip(SOUNDS[target], rng, n, rate)
        assert samples.shape == (n,)
        assert np.isfinite(samples).all()
        assert all(0 <= start < stop <= n for start, stop in events)


@pytest.mark.parametrize("kind", NOISES)
def test_noise_overlaps_the_classes(kind):
    """Every kind has sound below and above 1 kHz, so it overlaps every class."""
    wave = make_noise(kind, np.random.default_rng(0), 32000, 16000)
    power = np.abs(np.fft.rfft(wave)) ** 2
    hz = np.fft.rfftfreq(32000, 1 / 16000)
    share = power[hz > 1000].sum() / power.sum()
    assert 1e-4 < share < 0.9999


def test_harmonics_equal_sines():
    pitch = np.linspace(300, 500, 2000)
    phase, twin = 0.0, []
    for hz in pitch:
        phase += 2 * np.pi * hz / 8000
        twin.append(sum(a * np.sin(k * phase) for k, a in ((1, 0.5), (2, 0.2), (3, 1))))
    np.testing.assert_allclose(harmonics(pitch, [0.5, 0.2, 1], 8000), twin, atol=1e-9)
    # 500 Hz x 8 lies above 0.45 x 8000 Hz.
    np.testing.assert_array_equal(
        harmonics(pitch, np.ones(50), 8000), harmonics(pitch, np.ones(7), 8000)
    )


# ------------------------------------------------------------------ the folder


def test_a_complete_corpus_is_kept(folder, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    monkeypatch.setattr(corpus, "make_clip", None)  # calling it would fail
    assert generate_corpus(folder, **SMALL) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_another_corpus_or_folder_is_not_overwritten(folder, tmp_path):
    with pytest.raises(DataError, match="other parameters"):
        generate_corpus(folder, seed=5, **SMALL)
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    marker = json.loads((folder / MARKER).read_text()) | {"version": 1}
    (earlier / MARKER).write_text(json.dumps(marker))
    with pytest.raises(DataError, match=r"'version': 1.*remove this one"):
        generate_corpus(earlier, **SMALL)
    (earlier / MARKER).unlink()
    earlier.rmdir()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DataError, match="no embedded corpus"):
        generate_corpus(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus, "make_noise", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate_corpus(tmp_path / "deep" / "corpus", **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [{"clips_per_class_and_fold": 0}, {"duration_s": 0.1}, {"sample_rate": 1}]
)
def test_wrong_parameters(tmp_path, wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        generate_corpus(tmp_path / "corpus", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_command(tmp_path, capsys):
    command = [str(tmp_path / "c"), "--clips_per_class_and_fold", "1"]
    corpus.main([*command, "--duration_s", "0.5"])
    printed = capsys.readouterr().out
    assert f"data_folder: {tmp_path / 'c' / 'ESC-50'}" in printed
    assert f"ljspeech_folder: {tmp_path / 'c' / 'LJSpeech-1.1'}" in printed
    assert json.loads((tmp_path / "c" / MARKER).read_text())["duration_s"] == 0.5
    with pytest.raises(SystemExit, match="2"):
        corpus.main([*command, "--seed", "3"])
    assert "error: " in capsys.readouterr().err
