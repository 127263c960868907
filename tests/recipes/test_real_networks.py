"""The command that explains silero-vad and torchcrepe, and its mixtures."""

import importlib
import importlib.util
import re
from dataclasses import replace

import pytest
import torch

from lmac_td.audio import save_audio
from lmac_td.data.demo.speech import make_speech
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.budgeted import BinGains, Budgeted
from lmac_td.metrics import si_sdr_db
from tests.commands import ROOT, refused, run
from tests.networks import noise
from tests.pages import importable

COMMAND = "recipes/real_networks/explain.py"
RATE = 16000

for package in ("silero_vad", "torchcrepe", "librosa", "resampy"):
    if importlib.util.find_spec(package) is None:
        reason = f"{package} is not installed: pip install 'lmac-td[real]'"
        pytest.skip(reason, allow_module_level=True)


@pytest.fixture
def recipe():
    """Import a module of the recipe by its name."""
    with importable(ROOT / "recipes" / "real_networks"):
        yield importlib.import_module


@pytest.fixture
def recordings(tmp_path, recipe):
    """Folders with two recordings of speech and two of noise."""
    import numpy as np

    for k in range(2):
        speech = make_speech(np.random.default_rng(k), 3 * RATE, RATE)
        speech = torch.tensor(speech / np.abs(speech).max(), dtype=torch.float32)
        save_audio(tmp_path / "speech" / f"{k}.wav", 0.5 * speech, RATE)
        save_audio(tmp_path / "noise" / f"{k}.wav", 0.02 * noise(1, RATE)[0], RATE)
    return {"speech": tmp_path / "speech", "noise": tmp_path / "noise"}


def evidence(classifier, wavs, target):
    stft = SpectralFeatures(RATE, 1024, 64, 16)
    source = BinGains(stft, gains=(1.0,), draws=1)
    with torch.no_grad():
        decision = replace(classifier.decide(wavs), target=target)
    return source, source.relevance(wavs, stft(wavs), decision)


def test_evidence_is_finite_in_digital_silence(recipe):
    wavs = 0.1 * noise(1, RATE)
    wavs[:, : RATE // 2] = 0
    for name in ("crepe", "silero"):
        classifier = getattr(recipe(name), f"{name}_classifier")()
        source, found = evidence(classifier, wavs, torch.tensor([0]))
        assert found.isfinite().all()
        assert found.any()
        assert source.n_dithered == 0  # the adapter knows


def test_evidence_of_a_clip_does_not_depend_on_its_batch(recipe):
    wavs = 0.1 * noise(2, RATE)
    for name in ("crepe", "silero"):
        classifier = getattr(recipe(name), f"{name}_classifier")()
        target = torch.zeros(2, dtype=torch.int64)
        _, both = evidence(classifier, wavs, target)
        for k in range(2):
            _, alone = evidence(classifier, wavs[k : k + 1], target[:1])
            scale = alone.abs().max().item()
            torch.testing.assert_close(
                both[k : k + 1], alone, rtol=0, atol=1e-3 * scale
            )


def test_one_dimension_gives_the_same_convolution(recipe):
    convolution = torch.nn.Conv2d(2, 3, (8, 1), stride=(4, 1))
    x = torch.randn(5, 2, 64, 1)
    torch.testing.assert_close(
        recipe("crepe").InOneDimension(convolution)(x), convolution(x)
    )


def test_pitches_are_the_nearest_classes(recipe):
    crepe = recipe("crepe")
    for k in (0, 7, 200, 359):
        for cents in (-9, 0, 9):
            assert crepe.class_of_pitch(crepe.PITCHES_HZ[k] * 2 ** (cents / 1200)) == k
    assert crepe.class_of_pitch(1.0) == 0
    assert crepe.class_of_pitch(9000.0) == 359


def test_the_note_that_is_asked_for_is_separated(recipe):
    crepe, sounds = recipe("crepe"), recipe("sounds")
    generator = torch.Generator().manual_seed(0)
    hz = (220.0, 311.0)
    mixture, notes = sounds.mix_notes(hz, 1, generator)
    wavs, stft = mixture.expand(2, -1), SpectralFeatures(RATE, 1024, 64, 16)
    classifier = crepe.crepe_classifier()
    with torch.no_grad():
        target = torch.tensor([crepe.class_of_pitch(f) for f in hz])
        decision = replace(classifier.decide(wavs), target=target)
    source = BinGains(stft, gains=(1.0,), draws=1)
    kept = Budgeted(stft, source)(wavs, stft(wavs), decision).interpretation
    assert (si_sdr_db(kept, notes) - si_sdr_db(wavs, notes) >= 8).all()


def test_mixtures_follow_their_seed(recipe, recordings):
    sounds = recipe("sounds")
    first = sounds.mix_speech(**folders(recordings), n=2, seed=3)
    again = sounds.mix_speech(**folders(recordings), n=2, seed=3)
    other = sounds.mix_speech(**folders(recordings), n=2, seed=4)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    torch.testing.assert_close(first[0], first[1] + first[2])
    assert not first[1][:, :RATE].any()


def folders(recordings):
    return {f"{name}_folder": folder for name, folder in recordings.items()}


def test_pairs_of_notes_share_no_fundamental(recipe):
    pairs = recipe("sounds").pairs_of_notes(50, torch.Generator().manual_seed(0))
    for a, b in pairs:
        semitones = abs(12 * torch.tensor(a / b).log2().item())
        assert 4 <= round(semitones, 3) <= 18
        assert abs(semitones - 12) >= 0.999


def test_the_command_prints_measures_beside_targets(recordings):
    printed = run(COMMAND, **recordings, clips=2, pairs=1).stdout
    for name, target in (
        ("SI-SDRi of the asked note, dB", "at least 12"),
        ("quarter: AUC \\(time\\)", "at least 0.84"),
    ):
        assert re.search(rf"\| {name} \|( -?[\d.]+ \|){{3}} {target} \|", printed)
    assert "nan" not in printed


def test_missing_folders_are_named(recordings, tmp_path):
    given = recordings | {"speech": tmp_path / "nowhere"}
    assert "--speech" in refused(COMMAND, **given)
    assert "has 2 recordings" in refused(COMMAND, **recordings, clips=3)
    assert "pairs" in refused(COMMAND, **recordings, pairs=0)


def test_a_missing_package_is_named(recordings, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == "silero_vad" else find(name, *a),
    )
    said = refused(COMMAND, **recordings)
    assert "silero_vad is not installed" in said
    assert "pip install" in said
