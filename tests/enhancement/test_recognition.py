"""Word errors before and after the enhancement."""

import dataclasses

import pytest
import speechbrain.inference.ASR
import torch

from lmac_td.classifiers import speechbrain_sources
from lmac_td.enhancement.mixtures import draw_mixtures
from lmac_td.enhancement.recognition import (
    Recogniser,
    load_recogniser,
    require_transcripts,
)
from lmac_td.errors import DataError, SettingError

pytest.importorskip("jiwer")


class Listener:
    """In a recogniser's place: what it says depends on the level."""

    def transcribe_batch(self, wavs, lengths):
        assert wavs.shape == (1, 8)
        assert lengths.tolist() == [1.0]
        return ["A CAT SAT" if wavs.max() > 1 else "the cat sat down"], None


def test_errors_are_counted_without_case_and_punctuation():
    found = Recogniser(Listener()).errors(
        "The cat sat.", torch.full((8,), 2.0), torch.ones(8)
    )
    # "a" for "the"; then "down" in addition.
    assert found == {"words": 3, "errors (mixture)": 1, "errors (enhanced)": 1}


def test_silence_is_all_deletions():
    silent = Listener()
    silent.transcribe_batch = lambda wavs, lengths: ([""], None)
    found = Recogniser(silent).errors("one two", torch.zeros(8), torch.zeros(8))
    assert found == {"words": 2, "errors (mixture)": 2, "errors (enhanced)": 2}


def test_a_recogniser_is_loaded_by_its_class(monkeypatch, tmp_path):
    asked = {}

    def from_hparams(source, **others):
        asked.update(others, source=source)
        return Listener()

    monkeypatch.setattr(
        speechbrain.inference.ASR.EncoderASR, "from_hparams", from_hparams
    )
    yaml = tmp_path / "hyperparams.yaml"
    monkeypatch.setattr(speechbrain_sources, "fetch", lambda *_, **__: yaml)
    yaml.write_text("model: !new:torch.nn.Linear [1, 1]")
    recogniser = load_recogniser("someone/asr", "EncoderASR", tmp_path, "cpu")
    assert isinstance(recogniser.network, Listener)
    assert asked["source"] == "someone/asr"
    other = asked["savedir"]
    load_recogniser("someone_else/asr", "EncoderASR", tmp_path, "cpu")
    assert asked["savedir"] != other
    yaml.write_text("model: !apply:os.getcwd")
    with pytest.raises(SettingError, match="trust_remote_code"):
        load_recogniser("someone/asr", "EncoderASR", tmp_path, "cpu")
    load_recogniser("someone/asr", "EncoderASR", tmp_path, "cpu", True)
    assert load_recogniser(None, "EncoderASR", tmp_path, "cpu") is None


def test_a_folder_without_a_recogniser_is_refused(tmp_path):
    with pytest.raises(SettingError, match="asr_source"):
        load_recogniser(str(tmp_path), "EncoderASR", tmp_path / "asr", "cpu")


def test_transcripts_are_needed(noisy_speech):
    mixtures = draw_mixtures(noisy_speech, "test", "in_domain", (0, 0), 2, "a")
    require_transcripts(mixtures, "here")  # the corpus has some
    without = [dataclasses.replace(mixtures[0], transcript=None)]
    with pytest.raises(DataError, match=r"no transcript of SY001.*metadata\.csv"):
        require_transcripts(without, "here")
