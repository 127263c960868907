"""Utterances as a data set, and the noises that are mixed with them."""

import json

import numpy as np
import pytest
import scipy.signal
import torch

from lmac_td.audio import save_audio
from lmac_td.data.cache import decode_once
from lmac_td.data.conditions.base import SplitSetup
from lmac_td.data.conditions.effects import Effects
from lmac_td.data.conditions.speech_shaped import (
    SpeechShaped,
    SpeechShapedNoise,
    average_spectrum,
    filter_noise,
)
from lmac_td.data.sources.base import read_source
from lmac_td.data.sources.utterances import Utterances, read_transcripts
from lmac_td.errors import DataError, SettingError

RATE = 16000


def setup(split, tmp_path, manifest=None):
    return SplitSetup(split, RATE, 0.5, tmp_path / "cache", manifest=manifest)


def tone(hz, n=RATE):
    return 0.5 * torch.sin(2 * torch.pi * hz * torch.arange(n) / RATE)


@pytest.fixture
def utterances(tmp_path):
    """Decoded tones of eight frequencies."""
    paths = [
        save_audio(tmp_path / "wavs" / f"{k}.wav", tone(500 * (k + 1)), RATE)
        for k in range(8)
    ]
    return [(str(decode_once(p, RATE, 2.0, tmp_path / "cache")), RATE) for p in paths]


class TestSpeechShaped:
    def test_the_filter_is_the_average_over_all_frames(self, utterances):
        """Another library's STFT, without the frames that pad at the ends."""
        frames = []
        for k in range(6):
            _, _, z = scipy.signal.stft(
                tone(500 * (k + 1)).numpy(),
                window=torch.hamming_window(800).numpy(),
                nperseg=800,
                noverlap=400,
                boundary="zeros",
                padded=False,
            )
            frames.append(abs(z).T)
        frames = np.concatenate(frames)
        found = average_spectrum(utterances[:6], RATE).numpy()
        expected = frames.mean(axis=0) * torch.hamming_window(800).sum().item()
        np.testing.assert_allclose(found, expected, atol=0.02 * expected.max())

    def test_padding_does_not_count(self, utterances):
        """The decoded files have a second of silence at their ends."""
        (wav, n), *_ = utterances
        spectrum = average_spectrum([(wav, n)], RATE)
        assert spectrum.max() > 1.8 * average_spectrum([(wav, 2 * n)], RATE).max()

    def test_noise_has_the_spectrum_of_the_filter(self):
        spectrum = torch.zeros(401)
        spectrum[100] = 1  # 2 kHz
        noise = filter_noise(torch.randn(4 * RATE), spectrum)
        hz, power = scipy.signal.welch(noise.numpy(), RATE, nperseg=800)
        assert abs(hz[power.argmax()] - 2000) <= 20
        assert power[90:111].sum() > 0.99 * power.sum()

    def test_each_draw_has_a_filter_of_its_own(self, utterances):
        noise = SpeechShapedNoise(utterances, RATE, RATE)
        seen = set()
        for seed in range(10):
            drawn = noise.fixed("a", "speech_shaped", seed)
            assert torch.equal(drawn, noise.fixed("a", "speech_shaped", seed))
            hz, power = scipy.signal.welch(drawn.numpy(), RATE, nperseg=1600)
            peaks = {
                int(h) for h in range(500, 4001, 500)
                if power[abs(hz - h) <= 50].max() > 0.05 * power.max()
            }  # fmt: skip
            assert len(peaks) == 6
            seen.add(frozenset(peaks))
        assert len(seen) > 3

    def test_it_takes_the_utterances_of_the_split(self, utterances, tmp_path):
        manifest = tmp_path / "test.json"
        entries = {
            str(k): {"wav": w, "n_samples": n}
            for k, (w, n) in enumerate(utterances[:2])
        }
        manifest.write_text(json.dumps(entries))
        noise = SpeechShaped(0).prepare(setup("test", tmp_path, manifest))
        assert noise.utterances == [tuple(u) for u in utterances[:2]]
        assert noise.fixed("a", "b", 0).shape == (8000,)


class TestEffects:
    def test_splits_share_no_recording(self, corpus, tmp_path):
        effects = Effects(corpus / "ESC-50", 0)
        files = {
            split: effects.prepare(setup(split, tmp_path)).files
            for split in ("train", "valid", "test")
        }
        assert [len(f) for f in files.values()] == [40, 5, 5]
        together = [path for found in files.values() for path in found]
        assert together == sorted((corpus / "ESC-50" / "audio").iterdir())

    def test_any_folder_will_do(self, tmp_path):
        for k in range(10):
            save_audio(tmp_path / "fx" / f"{k}.wav", tone(100), RATE)
        pool = Effects(tmp_path / "fx", 0).prepare(setup("test", tmp_path))
        assert [path.name for path in pool.files] == ["9.wav"]
        assert pool.random().shape == (8000,)
        (tmp_path / "fx" / "0.wav").unlink()
        with pytest.raises(DataError, match="9 recordings, too few"):
            Effects(tmp_path / "fx", 0).prepare(setup("test", tmp_path))

    def test_a_missing_folder_is_named(self, tmp_path):
        with pytest.raises(SettingError, match="effects_folder"):
            Effects(None, 0).prepare(setup("test", tmp_path))
        with pytest.raises(DataError, match="effects_folder"):
            Effects(tmp_path / "none", 0).prepare(setup("test", tmp_path))


class TestUtterances:
    def test_ljspeech_layout(self, corpus):
        clips, names = read_source(Utterances(corpus / "LJSpeech-1.1"))
        assert names == ["speech"]
        assert [clip.fold for clip in clips] == [1, 2, 3, 4, 5] * 2 + [1, 2]
        assert clips[0].details["transcript"] == "synthetic babble without words"

    def test_a_folder_without_transcripts(self, tmp_path):
        (tmp_path / "b.wav").touch()
        (tmp_path / "a.flac").touch()
        clips, _ = read_source(Utterances(tmp_path))
        assert [clip.clip_id for clip in clips] == ["a", "b"]
        assert clips[0].details["transcript"] is None

    def test_normalised_transcripts_come_first(self, tmp_path):
        table = tmp_path / "metadata.csv"
        table.write_text("a|In 1870|In eighteen seventy\nb|Yes|\n\n")
        assert read_transcripts(table) == {"a": "In eighteen seventy", "b": "Yes"}
        table.write_text("a|b\nc\n")
        with pytest.raises(DataError, match="line 2, has no transcript"):
            read_transcripts(table)
