"""A training of anybody's network: interrupted anywhere, it gives the same weights."""

import copy
import random
from pathlib import Path

import numpy as np
import pytest
import speechbrain as sb
import torch
from speechbrain.utils.epoch_loop import EpochCounter
from speechbrain.utils.train_logger import FileTrainLogger

from lmac_td.data.epoch_seeds import EpochSeededDataset
from lmac_td.data.loading import loader_settings
from lmac_td.errors import TrainingError
from lmac_td.training.checkpoints import WholeCheckpointer
from lmac_td.training.fitting import fit
from lmac_td.training.resumable import ResumableBrain

N_CLIPS, BATCH, EPOCHS = 10, 2, 3
N_STEPS = N_CLIPS // BATCH


def read(wav):
    """Read a clip as a data set of one's own might: with draws from everywhere."""
    drawn = torch.rand(1).item() + np.random.rand() + random.random()
    return torch.full((3,), wav) + 0.1 * drawn


def clips():
    dataset = EpochSeededDataset({f"clip{i}": {"wav": i / 10} for i in range(N_CLIPS)})
    dataset.add_dynamic_item(read, takes=["wav"], provides=["x"])
    dataset.set_output_keys(["id", "x"])
    return dataset


class Killed(BaseException):
    """As a kill, nothing handles it."""


class OwnBrain(ResumableBrain):
    """Trains a network with dropout, batch normalisation and draws of its own.

    ``stop`` is where it is killed, ``poison`` which steps have a batch that is not
    finite, by epoch and step.
    """

    stop, poison, gradients = None, (), False

    def compute_forward(self, batch, stage):
        x = batch.x.data.to(self.device)
        if stage == sb.Stage.TRAIN:
            x = x + float(np.random.rand()) + random.random()
            if self.gradients:
                return self.modules.model(x)
            if (self.epoch, self.step) in self.poison:
                x = x * float("nan")
        elif self.poison == "validation":
            x = x * float("nan")
        return self.modules.model(x)

    def compute_objectives(self, predictions, batch, stage):
        losses = predictions.square().mean(dim=1)
        if self.gradients and (self.epoch, self.step) in self.poison:
            losses = losses + (losses - losses.detach()).abs().sqrt()  # slope: NaN
        self.state.n_entries += len(losses)
        self.state.add("loss", losses.sum(dtype=torch.float64))
        self.at("validating" if stage == sb.Stage.VALID else "in a step")
        return losses.mean()

    def on_fit_batch_end(self, batch, outputs, loss, should_step):
        self.at("after a step")

    def on_stage_end(self, stage, stage_loss, epoch=None):
        if stage == sb.Stage.TRAIN:
            self.train_stats = self.end_of_training_stage()
            return
        stats = self.state.means()
        self.at("before the log")
        self.hparams.train_logger.log_stats({"epoch": epoch}, self.train_stats, stats)
        self.at("before it is saved")
        self.checkpointer.save_and_keep_only(meta={"epoch": epoch, **stats})
        self.at("after it was saved")

    def at(self, where):
        if self.stop == (where, self.epoch, self.step):
            raise Killed


def train(folder, optimiser=torch.optim.Adam, brain_class=OwnBrain, seed=0, **settings):
    """Train as a process of its own would: nothing of an earlier one is known."""
    for generator in (torch.manual_seed, np.random.seed, random.seed):
        generator(seed)
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5),
        torch.nn.Linear(4, 2),
    )  # fmt: skip
    counter = EpochCounter(limit=EPOCHS)
    run_opts = {"device": "cpu", "noprogressbar": True, **settings.pop("run_opts", {})}
    brain = brain_class(
        modules={"model": model},
        opt_class=lambda parameters: optimiser(parameters, lr=0.01),
        hparams={
            "seed": 7,
            "epoch_counter": counter,
            "train_logger": FileTrainLogger(folder / "train_log.txt", precision=12),
        },
        run_opts=run_opts,
        checkpointer=WholeCheckpointer(
            folder / "save", {"model": model, "counter": counter}
        ),
    )
    for name, value in settings.items():
        setattr(brain, name, value)
    loader = loader_settings(BATCH, num_workers=0)
    hparams = {**vars(brain.hparams), "train_loader": loader, "eval_loader": loader}
    fit(brain, hparams, clips(), clips())
    return brain


def killed(folder, *where, **settings):
    with pytest.raises(Killed):
        train(folder, stop=where, **settings)


def outcome(folder):
    """All that a training leaves: weights, optimiser, generators, and the log."""
    newest = WholeCheckpointer(folder / "save").find_checkpoint().path
    names = ("model", "optimizer", "generators", "counter")
    return [(newest / f"{name}.ckpt").read_bytes() for name in names] + [
        (folder / "train_log.txt").read_text()
    ]


@pytest.fixture
def folders(tmp_path):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    return tmp_path / "whole", tmp_path / "parts"


PLACES = [
    *[("in a step", epoch, step) for epoch, step in ((1, 1), (2, 4))],
    ("after a step", 1, 2),
    ("after a step", 2, 5),
    ("validating", 2, 3),
    ("before the log", 1, 0),
    ("before it is saved", 2, 0),
    ("after it was saved", 3, 0),
]


@pytest.mark.parametrize("steps", [0, 2])
def test_killed_anywhere_it_gives_the_same_weights_and_the_same_log(folders, steps):
    """With and without checkpoints in the middle of an epoch."""
    whole, parts = folders
    settings = {"run_opts": {"ckpt_interval_steps": steps}}
    train(whole, **settings)
    expected = outcome(whole)
    for place in PLACES:
        parts = whole.with_name(" ".join(map(str, place)))
        parts.mkdir()
        killed(parts, *place, **settings)
        train(parts, **settings)
        assert outcome(parts) == expected, place


def test_killed_again_and_again(folders):
    whole, parts = folders
    settings = {"run_opts": {"ckpt_interval_steps": 1}}
    train(whole, **settings)
    for place in sorted(PLACES, key=lambda place: place[1:]):
        try:
            train(parts, stop=place, **settings)
        except Killed:
            continue
    train(parts, **settings)
    assert outcome(parts) == outcome(whole)


def test_gradients_that_are_accumulated_are_not_lost(folders):
    whole, parts = folders
    settings = {
        "run_opts": {"ckpt_interval_steps": 1, "grad_accumulation_factor": 2},
    }
    train(whole, **settings)
    killed(parts, "after a step", 2, 4, **settings)
    train(parts, **settings)
    assert outcome(parts) == outcome(whole)


def test_a_damaged_checkpoint_costs_time_and_nothing_else(folders, capsys, caplog):
    whole, parts = folders
    settings = {"run_opts": {"ckpt_interval_steps": 1}}
    train(whole, **settings)
    killed(parts, "after a step", 2, 4, **settings)
    newest = WholeCheckpointer(parts / "save").find_checkpoint().path
    (newest / "optimizer.ckpt").write_bytes(b"")
    train(parts, **settings)
    assert "optimizer.ckpt has changed" in caplog.text
    assert "Resuming in epoch 2, after step 2 from" in capsys.readouterr().out
    assert outcome(parts) == outcome(whole)


def fused(parameters, lr):
    return torch.optim.Adam(parameters, lr=lr, fused=True)


@pytest.mark.parametrize("optimiser", [fused, torch.optim.SGD])
@pytest.mark.parametrize("gradients", [False, True])
def test_a_batch_that_is_not_finite_changes_nothing(
    folders, optimiser, gradients, caplog, monkeypatch
):
    """Neither weights nor running statistics nor the mean of the log."""
    folder, _ = folders
    compared = []

    def fit_batch(brain, batch):
        before = everything(brain)
        loss = ResumableBrain.fit_batch(brain, batch)
        if (brain.epoch, brain.step) in brain.poison:
            compared.append(everything(brain))
            torch.testing.assert_close(compared[-1], before, atol=0, rtol=0)
        return loss

    monkeypatch.setattr(OwnBrain, "fit_batch", fit_batch)
    poison = [(2, 3), (2, 4), (3, 1)]
    brain = train(folder, optimiser, poison=poison, gradients=gradients)
    assert len(compared) == 3
    what = "gradients" if gradients else "loss"
    named = [line for line in caplog.messages if "is left out" in line]
    assert len(named) == 3
    assert named[0].startswith(f"epoch 2, step 3: the {what} of clip")
    assert named[0].count("clip") == BATCH
    for value in brain.modules.state_dict().values():
        assert value.isfinite().all()
    assert "nan" not in (folder / "train_log.txt").read_text()


def everything(brain):
    """A copy of all that a step changes."""
    parts = brain.modules.state_dict(), brain.optimizer.state_dict()["state"]
    return copy.deepcopy([*parts, *brain.state.copy()])


def test_too_many_in_a_row_end_the_training_and_leave_what_was_saved(folders):
    _, folder = folders
    killed(folder, "after it was saved", 1, 0)
    before = {path: path.read_bytes() for path in (folder / "save").rglob("*.ckpt")}
    poison = [(2, step) for step in range(1, N_STEPS + 1)]
    with pytest.raises(TrainingError, match="epoch 2, step 4: 4 batches in a row"):
        train(folder, poison=poison)
    after = {path: path.read_bytes() for path in (folder / "save").rglob("*.ckpt")}
    assert after == before
    train(folder)  # the data was mended: it goes on
    assert WholeCheckpointer(folder / "save").find_checkpoint().meta["epoch"] == EPOCHS


def test_the_row_goes_on_in_the_next_epoch(folders):
    _, folder = folders
    poison = [(1, 4), (1, 5), (2, 1), (2, 2)]
    with pytest.raises(TrainingError, match="4 batches in a row"):
        train(folder, poison=poison)
    train(folder, poison=[*poison[:3], (2, 3), (2, 4), (2, 5)])


def test_patience_can_be_set(folders):
    _, folder = folders
    with pytest.raises(TrainingError, match="clip"):
        train(folder, poison=[(1, 2)], run_opts={"nonfinite_patience": 0})
    assert not list((folder / "save").iterdir())


def test_an_epoch_without_one_finite_batch(folders):
    _, folder = folders
    poison = [(2, step) for step in range(1, N_STEPS + 1)]
    train(folder, poison=poison, run_opts={"nonfinite_patience": 10})
    lines = Path(folder / "train_log.txt").read_text().splitlines()
    assert [line.split(" - ")[0] for line in lines] == [
        f"epoch: {n}" for n in (1, 2, 3)
    ]


def test_a_negative_limit_of_gradients_is_none(folders):
    whole, parts = folders
    train(whole, torch.optim.SGD, run_opts={"max_grad_norm": 1e9})
    train(parts, torch.optim.SGD, run_opts={"max_grad_norm": -1.0})
    assert outcome(parts) == outcome(whole)


@pytest.mark.parametrize("optimiser", [fused, torch.optim.SGD])
def test_gradients_of_every_group_must_be_finite(folders, optimiser):
    """With remove_vector_weight_decay the matrices are a second group."""
    folder, _ = folders

    class Broken(OwnBrain):
        def compute_objectives(self, predictions, batch, stage):
            loss = super().compute_objectives(predictions, batch, stage)
            if stage == sb.Stage.TRAIN and self.step == 2:
                matrix = self.raw_modules["model"][0].weight
                loss = loss + (matrix - matrix.detach()).abs().sqrt().sum()
            return loss

    options = {"remove_vector_weight_decay": True}
    brain = train(folder, optimiser, Broken, run_opts=options)
    assert len(brain.optimizer.param_groups) == 2
    assert all(p.isfinite().all() for p in brain.modules.parameters())


def test_weights_that_grew_without_bound_are_never_saved(folders):
    _, folder = folders
    killed(folder, "after it was saved", 1, 0)
    before = sorted((folder / "save").iterdir())

    class Growing(torch.optim.Adam):
        """Makes weights infinite, while loss and gradients are finite."""

        def step(self, closure=None):
            super().step(closure)
            self.param_groups[0]["params"][0].data.fill_(torch.inf)

    with pytest.raises(TrainingError):
        train(folder, Growing, run_opts={"ckpt_interval_steps": 1})
    assert sorted((folder / "save").iterdir()) == before
