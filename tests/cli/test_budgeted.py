"""Training, resuming and scoring the budgeted network by the commands."""

import json

import torch

from lmac_td.interpreters.budgeted import NetworkScores
from lmac_td.training.brain import InterpreterBrain
from tests.commands import EVALUATE, TRAIN, run


def weights(folder):
    """The weights of the last checkpoint."""
    last = sorted(folder.glob("save/CKPT*"))[-1]
    return torch.load(last / "interpreter.ckpt")


def test_a_resumed_training_gives_the_same_weights(with_trained, tmp_path, monkeypatch):
    """Although shares, questions, context and level are drawn."""
    recipe = with_trained("cnn14") / "budgeted.yaml"
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    common = {"repeats": 2, "valid_period": 2, "n_samples": 0, "number_of_epochs": 2}
    run(TRAIN, recipe, output_folder=whole, **common)

    with monkeypatch.context() as patched:
        start = InterpreterBrain.on_stage_start

        def killed(brain, stage, epoch=None):
            if epoch == 2:
                raise KeyboardInterrupt
            start(brain, stage, epoch)

        patched.setattr(InterpreterBrain, "on_stage_start", killed)
        run(TRAIN, recipe, output_folder=parts, check=False, **common)
    resumed = run(TRAIN, recipe, output_folder=parts, **common)

    assert "Resuming after epoch 1" in resumed.stdout
    expected, found = weights(whole), weights(parts)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_repeated_mixture_has_one_gradient_per_epoch(
    with_trained, tmp_path, monkeypatch
):
    recipe = with_trained("cnn14") / "budgeted.yaml"
    common = {"repeats": 3, "n_samples": 0, "number_of_epochs": 2, "valid_period": 2}
    compute, computed = NetworkScores.gradient_maps, []

    def counted(scores, wavs, features, decision):
        computed.append((scores.training, len(wavs)))
        return compute(scores, wavs, features, decision)

    monkeypatch.setattr(NetworkScores, "gradient_maps", counted)
    run(TRAIN, recipe, output_folder=tmp_path / "known", **common)
    n_clips = len(json.loads((tmp_path / "known/manifest/train.json").read_text()))
    assert sum(n for training, n in computed if training) == 2 * n_clips

    monkeypatch.setattr(InterpreterBrain, "with_memory", lambda brain, decided: decided)
    computed.clear()
    run(TRAIN, recipe, output_folder=tmp_path / "computed", **common)
    assert sum(n for training, n in computed if training) == 2 * 3 * n_clips
    found = weights(tmp_path / "known")
    for name, value in weights(tmp_path / "computed").items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)


def test_it_is_scored_beside_controls(with_trained):
    folder = with_trained("cnn14", "budgeted")
    printed = run(EVALUATE, folder / "budgeted.yaml", condition="in_domain").stdout
    table = json.loads(
        (folder / "results/budgeted/evaluation_in_domain/table.json").read_text()
    )
    rows = [row["method"] for row in table["rows"]]
    assert rows[:3] == ["budgeted", "loudness", "random field"]
    assert "keeps 0.5 of the amplitude" in printed
