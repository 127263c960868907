"""Checkpoints are complete or absent; a missing or damaged one is a clear error."""

import pytest
import torch

from lmac_td.errors import CheckpointError
from lmac_td.training.checkpoints import (
    WholeCheckpointer,
    load_best,
    load_weights,
    resume_message,
)


class Interrupting(torch.nn.Linear):
    """Is interrupted while it is saved, if the test requests it."""

    interrupt = False

    def state_dict(self, *args, **kwargs):
        if self.interrupt:
            raise KeyboardInterrupt
        return super().state_dict(*args, **kwargs)


@pytest.fixture
def model():
    return Interrupting(2, 2)


@pytest.fixture
def checkpointer(tmp_path, model):
    recoverables = {"first": torch.nn.Linear(1, 1), "model": model}
    return WholeCheckpointer(tmp_path / "save", recoverables)


def save(checkpointer, epoch, loss):
    checkpointer.save_and_keep_only(
        meta={"epoch": epoch, "loss": loss}, min_keys=["loss"]
    )


def test_an_interrupted_save_leaves_the_last_checkpoint_in_place(
    checkpointer, model, tmp_path
):
    save(checkpointer, 1, 2.0)
    model.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        save(checkpointer, 2, 1.0)
    assert checkpointer.find_checkpoint().meta["epoch"] == 1
    model.interrupt = False
    save(checkpointer, 2, 1.0)
    assert checkpointer.find_checkpoint().meta["epoch"] == 2
    names = [path.name for path in (tmp_path / "save").iterdir()]
    assert all(name.startswith("CKPT+") for name in names)  # no half one is left
    checkpointer.recover_if_possible()


def test_loads_the_best_not_the_last(checkpointer, model, tmp_path):
    for epoch, loss in ((1, 2.0), (2, 1.0), (3, 3.0)):
        torch.nn.init.constant_(model.weight, epoch)
        save(checkpointer, epoch, loss)
    assert load_best(lambda: checkpointer, tmp_path / "save", "train") == 2
    assert (model.weight == 2).all()


def test_a_missing_checkpoint_is_an_error_without_a_new_folder(checkpointer, tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path / "save"):
        with pytest.raises(CheckpointError, match="trained: python train"):
            load_best(lambda: checkpointer, folder, "python train")
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_checkpoint_is_named(checkpointer, tmp_path):
    save(checkpointer, 1, 1.0)
    path = checkpointer.find_checkpoint().paramfiles["model"]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="damaged"):
        load_best(lambda: checkpointer, tmp_path / "save", "train")
    with (
        pytest.raises(CheckpointError, match="damaged"),
        resume_message(checkpointer),
    ):
        checkpointer.recover_if_possible()


def test_one_module_starts_from_another_training(checkpointer, model, tmp_path):
    for epoch, loss in ((1, 1.0), (2, 3.0)):
        torch.nn.init.constant_(model.weight, epoch)
        save(checkpointer, epoch, loss)
    fresh = torch.nn.Linear(2, 2)
    assert load_weights(fresh, "model", tmp_path / "save") == 1
    assert (fresh.weight == 1).all()
    with pytest.raises(CheckpointError, match="other settings"):
        load_weights(torch.nn.Linear(3, 2), "model", tmp_path / "save")
    with pytest.raises(CheckpointError, match="another pretrained_model"):
        load_weights(fresh, "model", tmp_path / "nowhere")
