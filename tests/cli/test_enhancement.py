"""Train mask estimators, explain them, and refuse what cannot work."""

import functools
import re

import numpy as np
import pandas as pd
import pytest
import torch

from lmac_td.audio import load_audio
from lmac_td.enhancement import recognition
from lmac_td.experiment.recipe import compose
from lmac_td.training.checkpoints import list_checkpoints
from tests.commands import ROOT, refused, run, run_as_a_user

FOLDER = "recipes/SpeechEnhancement"
TRAIN = f"{FOLDER}/train_enhancement.py"
EXPLAIN = f"{FOLDER}/explain_enhancement.py"
RECIPE = ROOT / FOLDER / "hparams" / "enhancement.yaml"


@pytest.fixture
def recipe(enhancement_recipe):
    return enhancement_recipe


@pytest.mark.parametrize("size", ["paper", "small", "demo"])
def test_the_recipe_composes(size):
    tree = compose(RECIPE, {"size": size})
    assert (tree["n_fft"], tree["win_length"], tree["hop_length"]) == (800, 50, 25)
    assert list(tree["compared"]) == ["in_domain", "speech_shaped", "effects"]
    if size == "paper":
        assert (tree["n_background"], tree["n_explained"]) == (40, 300)
        assert list(tree["percentiles"]) == [99.9, 99, 98]


@pytest.mark.slow
def test_train_and_explain(recipe, tmp_path):
    for noise in ("in_domain", "speech_shaped", "effects"):
        done = run(TRAIN, recipe, training_condition=noise)
        error = re.search(r"on the test split: (\S+)", done.stdout)[1]
        assert 0 < float(error) < 0.3
        assert (tmp_path / f"results/enhancement_{noise}/settings.json").is_file()
    done = run(EXPLAIN, recipe)
    folder = tmp_path / "explained"
    scores = pd.read_csv(folder / "scores.csv")
    pairs = list(scores.groupby(["model", "noise"], sort=False).size().items())
    assert pairs == [
        (("in_domain", "in_domain"), 3),
        (("speech_shaped", "in_domain"), 3),
        (("effects", "in_domain"), 3),
        (("speech_shaped", "speech_shaped"), 3),
        (("effects", "effects"), 3),
    ]
    for name in ("eta (99.9)", "eta (99)", "eta (98)"):
        assert scores[name].between(0, 100).all()
    tables = (folder / "tables.md").read_text(encoding="utf-8").strip()
    assert tables in done.stdout
    mean = scores[scores.model == "in_domain"]["eta (98)"].mean()
    assert f"{mean:.1f}" in tables
    page = (folder / "index.html").read_text(encoding="utf-8")
    linked = re.findall(r'src="([^"]+)"', page)
    assert len(linked) == 5 * 5 + 3 * 2
    assert all((folder / name).is_file() for name in linked)
    noisy, relevant, other = (
        load_audio(folder / f"sounds/effects_in_in_domain_0_{part}.wav", 16000)
        for part in ("noisy", "relevant", "other")
    )
    np.testing.assert_allclose(relevant + other, noisy, atol=1e-4)
    # A second time gives the same numbers, and replaces the folder.
    again = run(EXPLAIN, recipe, compared="[in_domain]", granularity="utterance")
    assert "table 3" not in again.stdout
    same = pd.read_csv(folder / "scores.csv")
    pd.testing.assert_series_equal(
        same["SI-SDRi (dB)"], scores["SI-SDRi (dB)"][:3], rtol=1e-6
    )
    assert not (same["eta (98)"] == scores["eta (98)"][:3]).all()


@pytest.mark.slow
def test_word_errors_stand_beside_the_score(recipe, tmp_path, monkeypatch):
    pytest.importorskip("jiwer")

    class Listener:
        def transcribe_batch(self, wavs, lengths):
            return ["synthetic babble"], None

    def load(source, kind, folder, device, trust_remote_code):
        assert (source, kind) == ("someone/asr", "EncoderASR")
        assert not trust_remote_code
        return recognition.Recogniser(Listener())

    monkeypatch.setattr("lmac_td.cli.explain_enhancement.load_recogniser", load)
    run(TRAIN, recipe)
    done = run(
        EXPLAIN,
        recipe,
        compared="[in_domain]",
        asr_source="someone/asr",
        asr_class="EncoderASR",
    )
    # Two of the four words of every transcript are missing.
    assert "WER (%) (mixture) | WER (%) (enhanced) |" in done.stdout
    assert "| 50.0 | 50.0 |" in done.stdout


@pytest.mark.slow
def test_a_resumed_training_gives_the_same_weights(recipe, tmp_path):
    def weights(folder):
        newest, *_ = list_checkpoints(tmp_path / folder / "save")
        return torch.load(newest.paramfiles["mask_estimator"])

    run(TRAIN, recipe, number_of_epochs=1, output_folder=tmp_path / "a")
    assert "Resuming after epoch 1" in (
        run(TRAIN, recipe, output_folder=tmp_path / "a").stdout
    )
    run(TRAIN, recipe, output_folder=tmp_path / "b")
    one, other = weights("a"), weights("b")
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_the_command_runs_in_its_own_folder():
    here = functools.partial(run_as_a_user, cwd=ROOT / FOLDER)
    said = refused(
        TRAIN, "hparams/enhancement.yaml", run=here, ljspeech_folder="nowhere"
    )
    assert "nowhere" in said


class TestRefusals:
    def test_nothing_was_trained(self, recipe, tmp_path):
        assert "train_enhancement.py --training_condition in_domain" in refused(
            EXPLAIN, recipe
        )
        assert not (tmp_path / "explained").exists()

    def test_a_training_condition_is_not_explained(self, recipe):
        assert "--compared" in refused(EXPLAIN, recipe, training_condition="effects")

    def test_other_files_are_kept(self, recipe, tmp_path):
        (tmp_path / "explained").mkdir()
        (tmp_path / "explained" / "mine.txt").touch()
        assert "holds other files" in refused(EXPLAIN, recipe)

    def test_a_recipe_of_another_command(self):
        assert "recipe for another command" in refused(TRAIN, "hparams/lmac.yaml")

    def test_an_unknown_noise(self, recipe):
        assert "training_condition" in refused(
            TRAIN, recipe, training_condition="white_noise"
        )
