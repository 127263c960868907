"""Checkpoints are complete or absent; a damaged one is set aside, never used."""

import os
import random
import shutil

import pytest
import torch

from lmac_td.errors import CheckpointError, TrainingError
from lmac_td.runtime.loading import weights_only
from lmac_td.training.checkpoints import (
    DAMAGED,
    WholeCheckpointer,
    find_best,
    load_best,
    load_weights,
)
from lmac_td.training.checksums import SUMS, write_checksums


@pytest.fixture
def model():
    return torch.nn.Linear(2, 2)


@pytest.fixture
def checkpointer(tmp_path, model):
    recoverables = {"first": torch.nn.Linear(1, 1), "model": model}
    return WholeCheckpointer(tmp_path / "save", recoverables)


def save(checkpointer, epoch, loss=None, step=None):
    meta = {"epoch": epoch}
    meta |= {} if loss is None else {"loss": loss}
    meta |= {} if step is None else {"step": step}
    torch.nn.init.constant_(checkpointer.recoverables["model"].weight, epoch)
    checkpointer.save_and_keep_only(meta=meta, end_of_epoch=step is None)


def kept(checkpointer):
    """The epochs of the checkpoints, newest first."""
    return [found.meta["epoch"] for found in checkpointer.list_checkpoints()]


def test_an_interrupted_save_leaves_the_last_checkpoint_in_place(
    checkpointer, tmp_path, monkeypatch
):
    save(checkpointer, 1, 2.0)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save(checkpointer, 2, 1.0)
    assert checkpointer.find_checkpoint().meta["epoch"] == 1
    save(checkpointer, 2, 1.0)
    assert checkpointer.find_checkpoint().meta["epoch"] == 2
    names = [path.name for path in (tmp_path / "save").iterdir()]
    assert all(name.startswith("CKPT+") for name in names)  # no half one is left
    checkpointer.recover_if_possible()


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_an_interrupted_deletion_leaves_no_half_checkpoint(
    checkpointer, tmp_path, monkeypatch
):
    for epoch in (1, 2):
        save(checkpointer, epoch, 1 / epoch)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save(checkpointer, 3, 0.1)
    assert kept(checkpointer) == [3, 2]
    save(checkpointer, 4, 0.0)
    assert len(list((tmp_path / "save").iterdir())) == 2


def test_loads_the_best_not_the_last(checkpointer, model, tmp_path):
    for epoch, loss in ((1, 2.0), (2, 1.0), (3, 3.0)):
        save(checkpointer, epoch, loss)
    assert load_best(lambda: checkpointer, tmp_path / "save", "train") == 2
    assert (model.weight == 2).all()


def test_the_two_newest_and_the_best_are_kept(checkpointer):
    for epoch, loss in ((1, 2.0), (2, 1.0), (3, 3.0), (4, 4.0), (5, 5.0)):
        save(checkpointer, epoch, loss)
    assert kept(checkpointer) == [5, 4, 2]
    save(checkpointer, 6, step=10)
    save(checkpointer, 6, step=20)
    steps = [c.meta.get("step") for c in checkpointer.list_checkpoints()]
    assert steps == [20, 10, None]  # the best is the last
    assert kept(checkpointer)[-1] == 2
    save(checkpointer, 6, 6.0)
    assert kept(checkpointer) == [6, 6, 2]


def test_progress_decides_which_is_newest_not_the_clock(checkpointer, monkeypatch):
    for epoch, now in ((1, 3e9), (2, 2e9), (3, 1e9)):  # a clock that is set back
        monkeypatch.setattr("time.time", lambda now=now: now)
        save(checkpointer, epoch, 1.0)
    assert kept(checkpointer) == [3, 2]
    assert checkpointer.find_checkpoint().meta["epoch"] == 3


def test_a_loss_that_is_not_finite_is_never_the_best(checkpointer, tmp_path):
    save(checkpointer, 1, 5.0)
    for epoch, loss in ((2, float("nan")), (3, float("-inf"))):
        save(checkpointer, epoch, loss)
    assert load_best(lambda: checkpointer, tmp_path / "save", "train") == 1


def test_weights_that_are_not_finite_are_not_saved(checkpointer, model, tmp_path):
    save(checkpointer, 1, 1.0)
    model.bias.data[0] = float("nan")
    before = sorted((tmp_path / "save").rglob("*"))
    with pytest.raises(TrainingError, match="weights of model are not finite"):
        save(checkpointer, 2, 0.5)
    assert sorted((tmp_path / "save").rglob("*")) == before


def test_weights_that_are_not_finite_are_not_loaded(checkpointer, model, tmp_path):
    save(checkpointer, 1, 1.0)
    (path,) = (tmp_path / "save").glob("CKPT*")
    broken = torch.nn.Linear(2, 2)
    broken.bias.data[0] = float("inf")
    torch.save(broken.state_dict(), path / "model.ckpt")
    (path / SUMS).unlink()
    write_checksums(path)
    with pytest.raises(CheckpointError, match="weights of model that are not finite"):
        load_best(lambda: checkpointer, tmp_path / "save", "train")


def test_a_missing_checkpoint_is_an_error_without_a_new_folder(checkpointer, tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path / "save"):
        with pytest.raises(CheckpointError, match="trained: python train"):
            load_best(lambda: checkpointer, folder, "python train")
    assert not (tmp_path / "nowhere").exists()


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace_by_a_folder(path):
    path.unlink()
    path.mkdir()


class Bomb:
    """Creates a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


# What can happen to any file of a checkpoint.
DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "a flipped byte": flip_a_byte,
    "garbage": lambda path: path.write_bytes(b"\xff\x00garbage"),
    "a folder": replace_by_a_folder,
    "a bomb": lambda path: torch.save(Bomb(), path),
    "a number": lambda path: torch.save(3, path),
    "NaN": lambda path: torch.save({"weight": torch.tensor(torch.nan)}, path),
    "a word": lambda path: path.write_text("many"),
    "a python tag": lambda path: path.write_text("!!python/object:os.system {}"),
    "nested": lambda path: path.write_text("[" * 5000),
}


@pytest.mark.parametrize("name", ["model.ckpt", "first.ckpt", "CKPT.yaml", SUMS])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_set_aside_and_the_one_before_used(
    checkpointer, model, tmp_path, monkeypatch, caplog, name, damage
):
    monkeypatch.chdir(tmp_path)
    save(checkpointer, 1, 2.0)
    save(checkpointer, 2, 1.0)
    newest = checkpointer.find_checkpoint().path
    DAMAGES[damage](newest / name)
    if (damage, name) == ("missing", SUMS):  # as an earlier version wrote it
        assert checkpointer.recover_if_possible().meta["epoch"] == 2
        return
    assert checkpointer.recover_if_possible().meta["epoch"] == 1
    assert (model.weight == 1).all()
    assert (newest.with_name(DAMAGED + newest.name)).is_dir()  # nothing is lost
    assert f"{newest} is damaged" in caplog.text
    assert not (tmp_path / "exploded").exists()
    save(checkpointer, 2, 1.0)  # the training goes on
    assert kept(checkpointer) == [2, 1]


@pytest.mark.parametrize("name", ["model.ckpt", "CKPT.yaml"])
def test_a_damaged_best_checkpoint_is_set_aside_in_an_evaluation(
    checkpointer, tmp_path, caplog, name
):
    for epoch, loss in ((1, 1.0), (2, 3.0), (3, 2.0)):
        save(checkpointer, epoch, loss)
    flip_a_byte(find_best(tmp_path / "save").path / name)
    assert load_best(lambda: checkpointer, tmp_path / "save", "train") == 3
    assert "is damaged" in caplog.text


@pytest.mark.parametrize("name", ["model.ckpt", "CKPT.yaml"])
@pytest.mark.parametrize("damage", ["empty", "cut", "garbage"])
def test_damage_is_found_without_checksums_too(checkpointer, tmp_path, name, damage):
    """In checkpoints of earlier versions: torch's files hold CRCs."""
    save(checkpointer, 1, 2.0)
    save(checkpointer, 2, 1.0)
    newest = checkpointer.find_checkpoint().path
    (newest / SUMS).unlink()
    DAMAGES[damage](newest / name)
    assert checkpointer.recover_if_possible().meta["epoch"] == 1


@pytest.mark.parametrize("n_bytes", range(1, 20))
def test_a_description_that_is_cut_anywhere_is_found_without_checksums_too(
    checkpointer, n_bytes
):
    save(checkpointer, 1, 2.0)
    save(checkpointer, 2, 1.0)
    description = checkpointer.find_checkpoint().path / "CKPT.yaml"
    (description.parent / SUMS).unlink()
    description.write_bytes(description.read_bytes()[:-n_bytes])
    assert kept(checkpointer) == [1]


def test_a_clock_that_was_set_back_changes_nothing(checkpointer, model, monkeypatch):
    """Of two checkpoints, training goes on from the later epoch."""
    for epoch, seconds in ((1, 2e9), (2, 1e9)):
        monkeypatch.setattr("time.time", lambda seconds=seconds: seconds)
        save(checkpointer, epoch, 1.0)
    assert kept(checkpointer) == [2, 1]
    assert checkpointer.find_checkpoint().meta["epoch"] == 2
    assert checkpointer.recover_if_possible().meta["epoch"] == 2
    assert (model.weight == 2).all()


def test_a_changed_weight_is_found_without_checksums_too(checkpointer):
    save(checkpointer, 1, 2.0)
    save(checkpointer, 2, 1.0)
    newest = checkpointer.find_checkpoint().path
    (newest / SUMS).unlink()
    content = bytearray((newest / "model.ckpt").read_bytes())
    content[content.find(torch.full((4,), 2.0).numpy().tobytes())] ^= 1
    (newest / "model.ckpt").write_bytes(content)
    assert checkpointer.recover_if_possible().meta["epoch"] == 1


def test_if_all_are_damaged_the_training_starts_anew_when_asked_again(
    checkpointer, tmp_path
):
    save(checkpointer, 1, 1.0)
    path = checkpointer.find_checkpoint().paramfiles["model"]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="all are damaged"):
        checkpointer.recover_if_possible()
    assert checkpointer.recover_if_possible() is None
    with pytest.raises(CheckpointError, match="nothing was trained"):
        load_best(lambda: checkpointer, tmp_path / "save", "train")


def test_all_damaged_in_an_evaluation(checkpointer, tmp_path):
    save(checkpointer, 1, 1.0)
    path = checkpointer.find_checkpoint().paramfiles["model"]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="all are damaged"):
        load_best(lambda: checkpointer, tmp_path / "save", "train")


def test_what_may_not_be_read_is_not_called_damaged(checkpointer, monkeypatch):
    save(checkpointer, 1, 1.0)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lmac_td.training.checksums.sha256_of", refuse)
    with pytest.raises(PermissionError):
        checkpointer.recover_if_possible()
    monkeypatch.undo()
    assert checkpointer.recover_if_possible().meta["epoch"] == 1


def test_random_damage_is_always_found(checkpointer, model, tmp_path):
    """Wherever a byte changes, the checkpoint before is used."""
    draws = random.Random(0)
    for _ in range(40):
        shutil.rmtree(tmp_path / "save")
        (tmp_path / "save").mkdir()
        save(checkpointer, 1, 2.0)
        save(checkpointer, 2, 1.0)
        newest = checkpointer.find_checkpoint().path
        path = draws.choice(sorted(newest.iterdir()))
        content = bytearray(path.read_bytes())
        content[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
        path.write_bytes(content)
        assert checkpointer.recover_if_possible().meta["epoch"] == 1, path


def test_a_checkpoint_of_other_settings_is_not_called_damaged(checkpointer, tmp_path):
    save(checkpointer, 1, 1.0)
    other = WholeCheckpointer(tmp_path / "save", {"model": torch.nn.Linear(3, 2)})
    with pytest.raises(CheckpointError, match="other settings"):
        other.recover_if_possible()
    assert kept(checkpointer) == [1]  # not renamed


@pytest.mark.parametrize("allowed", ["0", "1"])
def test_nothing_is_executed_whatever_the_environment_says(
    tmp_path, monkeypatch, allowed
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", allowed)
    before = dict(os.environ)
    torch.save(Bomb(), "bomb.ckpt")
    with pytest.raises(Exception, match="eights"), weights_only():
        torch.load("bomb.ckpt")
    assert not (tmp_path / "exploded").exists()
    assert dict(os.environ) == before


def test_sha256sum_can_verify_a_checkpoint(checkpointer):
    save(checkpointer, 1, 1.0)
    folder = checkpointer.find_checkpoint().path
    named = {line.split()[1] for line in (folder / SUMS).read_text().splitlines()}
    assert named == {path.name for path in folder.iterdir()} - {SUMS}


def test_one_module_starts_from_another_training(checkpointer, model, tmp_path):
    for epoch, loss in ((1, 1.0), (2, 3.0)):
        save(checkpointer, epoch, loss)
    fresh = torch.nn.Linear(2, 2)
    assert load_weights(fresh, "model", tmp_path / "save") == 1
    assert (fresh.weight == 1).all()
    with pytest.raises(CheckpointError, match="other settings"):
        load_weights(torch.nn.Linear(3, 2), "model", tmp_path / "save")
    with pytest.raises(CheckpointError, match="another pretrained_model"):
        load_weights(fresh, "model", tmp_path / "nowhere")
