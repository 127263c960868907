"""The command that explains silero-vad and torchcrepe, and its mixtures."""

import importlib
import importlib.util
import re
from dataclasses import replace

import pytest
import torch

from lmac_td import AudioInterpreter
from lmac_td.audio import load_audio
from lmac_td.errors import SettingError
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.budgeted import BinGains, Budgeted
from lmac_td.metrics import si_sdr_db
from tests.commands import ROOT, refused, run
from tests.networks import noise
from tests.pages import importable
from tests.real_sounds import save_recordings

COMMAND = "recipes/real_networks/explain.py"
FOLDER = ROOT / "recipes" / "real_networks"
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
    return save_recordings(tmp_path, 2)


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


def test_labels_are_notes_in_steps_of_20_cents(recipe):
    crepe = recipe("crepe")
    labels = crepe.crepe_classifier().labels
    assert len(set(labels)) == 360
    middle = labels.index("A4")
    assert crepe.class_of_pitch(440) == middle
    assert labels[middle - 2 : middle + 4] == (
        "A4 -40 cents", "A4 -20 cents", "A4", "A4 +20 cents", "A4 +40 cents",
        "A#4 -40 cents",
    )  # fmt: skip
    for note, hz in {"C4": 261.63, "B3": 246.94, "F#5": 739.99, "C2": 65.41}.items():
        assert crepe.name_of_pitch(hz) == note
        assert labels[crepe.class_of_pitch(hz)] == note


def test_a_misspelt_note_is_refused_with_the_nearest(recipe):
    tracker = AudioInterpreter.from_classifier(FOLDER / "crepe.yaml", device="cpu")
    tracker.check_target("a4 ")  # upper case and blanks do not matter
    with pytest.raises(SettingError, match="a label: A4"):
        tracker.check_target("A44")


def test_the_recipes_explain_as_the_command_of_the_tables_does(recipe):
    command = recipe("explain")
    notes, speech = (
        AudioInterpreter.from_classifier(FOLDER / f"{name}.yaml", device="cpu")
        for name in ("crepe", "silero")
    )
    evidence = BinGains(notes.explainer.features, **command.NOTES_EVIDENCE)
    for name in ("kernels", "gains", "draws", "fields"):
        made = getattr(notes.explainer.interpreter.source, name)
        assert made == getattr(evidence, name)
    for interpreter in (notes, speech):
        stft = interpreter.explainer.features
        assert (stft.n_fft, stft.win_samples, stft.hop_samples) == (1024, 1024, 256)


def test_the_chord_is_the_same_for_everybody(recipe, tmp_path):
    for name in ("a", "b"):
        recipe("sounds").main(["--out", str(tmp_path / name)])
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["chord.wav"]
    files = [(tmp_path / name / "chord.wav").read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]
    chord = load_audio(tmp_path / "a" / "chord.wav", RATE)
    assert len(chord) == 2 * RATE
    assert chord.abs().max() < 1
    spectrum = torch.fft.rfft(chord).abs()
    for hz in recipe("sounds").CHORD:
        assert spectrum[round(2 * hz)] > 20 * spectrum.median()


def test_one_folder_of_recordings_is_not_enough(recordings, tmp_path):
    given = {"speech": recordings["speech"], "out": tmp_path}
    assert "both --speech and --noise" in refused(
        "recipes/real_networks/sounds.py", **given
    )


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
    pairs = recipe("sounds").pairs_of_notes(12)
    assert pairs[10:] == pairs[:2]
    for a, b in pairs:
        assert abs(12 * torch.tensor(a / b).log2().item()) >= 4


def test_the_command_prints_measures_beside_goals(recordings):
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
