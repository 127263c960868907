"""Checks that each of two processes runs; ``test_two_processes.py`` starts them.

Each check is called with a folder of its own, which both processes share, and raises an
AssertionError in the process that sees a mistake. What it returns is written down.
"""

import json
import logging
import random
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch

from lmac_td.errors import CheckpointError, SettingError, TrainingError
from lmac_td.experiment.run_options import read_run_options
from lmac_td.runtime.distributed import (
    gather,
    join,
    leave,
    n_processes,
    on_main,
    process_rank,
    wait_for_all,
)
from lmac_td.training.checkpoints import WholeCheckpointer, list_checkpoints
from tests.training import test_resumable
from tests.training.test_resumable import Killed, OwnBrain, everything, train

RANK = 0  # set when the processes have joined
N_CLIPS = 12  # six for each process, so three batches of two
IDS = sorted(f"clip{i}" for i in range(N_CLIPS))


def weights(brain):
    state = brain.raw_modules.state_dict()
    return {name: value.tolist() for name, value in state.items()}


def same(value, what):
    """Compare a value of both processes."""
    first, second = gather(value)
    assert first == second, what
    return value


def main_makes(folder):
    on_main(folder.mkdir)
    return folder


def outcome(folder):
    """All that a training leaves, with the generators of both processes."""
    newest = list_checkpoints(folder / "save")[0].path
    files = {path.name: path.read_bytes() for path in newest.glob("*.ckpt")}
    assert {"generators.ckpt", "generators-process1.ckpt"} <= files.keys()
    assert {"epoch_state.ckpt", "epoch_state-process1.ckpt"} <= files.keys()
    return {**files, "log": (folder / "train_log.txt").read_bytes()}


class Watched(OwnBrain):
    """Writes down the clips, the seeds and the draws of each step."""

    def on_fit_batch_start(self, batch, should_step):
        super().on_fit_batch_start(batch, should_step)
        self.seen = getattr(self, "seen", [])
        drawn = torch.rand(1).item(), np.random.rand(), random.random()
        self.seen.append((self.epoch, self.step, batch.id, drawn))


def check_weights_are_the_same_in_both_processes(folder):
    brain = train(folder)
    same(weights(brain), "weights")
    same(brain.optimizer.state_dict()["state"][0]["exp_avg"].tolist(), "optimiser")
    lines = (folder / "train_log.txt").read_text().splitlines()
    assert len(lines) == 3
    assert not list((folder / "save").glob(".*"))


def check_both_divide_the_clips_and_draw_other_numbers(folder):
    brain = train(folder, brain_class=Watched)
    first, second = gather(brain.seen)
    orders = []
    for epoch in (1, 2, 3):
        here, there = (
            [clip for e, _, ids, _ in seen if e == epoch for clip in ids]
            for seen in (first, second)
        )
        assert sorted(here + there) == IDS
        orders.append(here)
    assert orders[0] != orders[1] != orders[2]
    for (_, _, _, drawn), (_, _, _, other) in zip(first, second, strict=True):
        assert not set(drawn) & set(other)


def check_a_validation_counts_each_clip_once(folder):
    """It equals that of one process for the same weights."""

    class Counting(OwnBrain):
        def compute_objectives(self, predictions, batch, stage):
            if stage.name == "VALID":
                self.of_validation = getattr(self, "of_validation", {})
                ids = self.of_validation.setdefault(self.epoch, [])
                ids.extend(batch.id)
            return super().compute_objectives(predictions, batch, stage)

    # The weights stay those of the start.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_resumable, "read", lambda wav: torch.full((3,), wav))
        brain = train(folder, lambda p, lr: torch.optim.SGD(p, lr=0.0), Counting)
    for epoch in (1, 2, 3):
        here, there = gather(brain.of_validation[epoch])
        assert sorted(here + there) == IDS
    loss = same(list_checkpoints(folder / "save")[0].meta["loss"], "loss")
    model = brain.raw_modules["model"].eval()
    with torch.no_grad():
        clips = torch.tensor([[i / 10] * 3 for i in range(N_CLIPS)])
        expected = model(clips).square().mean().item()
    assert loss == pytest.approx(expected, rel=1e-6)
    return abs(loss / expected - 1)


def check_a_batch_that_is_not_finite_is_left_out_by_both(folder):
    """Only process 1 sees it."""
    messages, compared = [], []

    class Poisoned(OwnBrain):
        def fit_batch(self, batch):
            before = everything(self)
            loss = super().fit_batch(batch)
            if (self.epoch, self.step) in ((2, 1), (2, 2)):
                torch.testing.assert_close(everything(self), before, atol=0, rtol=0)
                compared.append(list(batch.id))
            return loss

    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("lmac_td.training.resumable").addHandler(handler)
    poison = [(2, 1), (2, 2)] if RANK == 1 else []
    brain = train(folder, brain_class=Poisoned, poison=poison)
    logging.getLogger("lmac_td.training.resumable").removeHandler(handler)
    same(weights(brain), "weights")
    assert len(compared) == 2
    of_process_1 = gather(compared)[1]
    if RANK == 0:
        assert messages == [
            f"epoch 2, step {step}: the loss of {', '.join(clips)} (process 1) is not "
            "finite; the batch is left out"
            for step, clips in zip((1, 2), of_process_1, strict=True)
        ], messages
    else:
        assert messages == []
    assert "nan" not in (folder / "train_log.txt").read_text()


def check_gradients_that_are_not_finite_are_left_out_by_both(folder):
    poison = [(2, 2)] if RANK == 1 else []
    for name, optimiser in (("fused", fused), ("plain", torch.optim.SGD)):
        part = main_makes(folder / name)
        brain = train(part, optimiser, poison=poison, gradients=True)
        same(weights(brain), name)
        assert all(v.isfinite().all() for v in brain.modules.state_dict().values())


def fused(parameters, lr):
    return torch.optim.Adam(parameters, lr=lr, fused=True)


def check_patience_ends_both(folder):
    poison = [(2, step) for step in (1, 2, 3)] + [(3, 1)] if RANK == 1 else []
    with pytest.raises(TrainingError, match=r"4 batches in a row.*\(process 1\)"):
        train(folder, poison=poison)


def check_gradients_are_accumulated(folder):
    options = {"grad_accumulation_factor": 2, "ckpt_interval_steps": 1}
    whole, parts = main_makes(folder / "whole"), main_makes(folder / "parts")
    brain = train(whole, run_opts=options)
    same(weights(brain), "weights")
    with pytest.raises(Killed):
        train(parts, stop=("after a step", 2, 3), run_opts=options)
    train(parts, run_opts=options)
    assert outcome(parts) == outcome(whole)


def check_killed_anywhere_it_gives_the_same_weights(folder):
    """With and without checkpoints in the middle of an epoch."""
    for steps in (0, 1):
        options = {"ckpt_interval_steps": steps}
        whole = main_makes(folder / f"whole {steps}")
        train(whole, run_opts=options)
        for place in (
            ("in a step", 1, 1),
            ("after a step", 2, 2),
            ("validating", 2, 1),
            ("before the log", 2, 0),
            ("before it is saved", 2, 0),
            ("after it was saved", 3, 0),
        ):
            parts = main_makes(folder / f"{steps} {' '.join(map(str, place))}")
            with pytest.raises(Killed):
                train(parts, stop=place, run_opts=options)
            wait_for_all()
            train(parts, run_opts=options)
            assert outcome(parts) == outcome(whole), (steps, place)


def check_a_damaged_checkpoint_is_set_aside_once(folder):
    options = {"ckpt_interval_steps": 1}
    whole, parts = main_makes(folder / "whole"), main_makes(folder / "parts")
    train(whole, run_opts=options)
    with pytest.raises(Killed):
        train(parts, stop=("after a step", 2, 3), run_opts=options)
    wait_for_all()
    newest = list_checkpoints(parts / "save")[0].path
    # The state of the other process is verified, too.
    on_main((newest / "generators-process1.ckpt").write_bytes, b"")
    train(parts, run_opts=options)
    assert outcome(parts) == outcome(whole)
    assert [path.name for path in (parts / "save").glob("DAMAGED*")] == [
        f"DAMAGED+{newest.name}"
    ]


def check_all_checkpoints_are_damaged(folder):
    train(folder)
    for checkpoint in list_checkpoints(folder / "save"):
        if RANK == 0:
            (checkpoint.path / "model.ckpt").write_bytes(b"")
    wait_for_all()
    with pytest.raises(CheckpointError, match="all are damaged"):
        train(folder)


def check_another_number_of_processes_is_refused_in_an_epoch(folder):
    options = {"ckpt_interval_steps": 1}
    with pytest.raises(Killed):
        train(folder, stop=("after a step", 2, 3), run_opts=options)
    wait_for_all()
    checkpoint = list_checkpoints(folder / "save")[0]
    assert checkpoint.meta["processes"] == 2
    alone = WholeCheckpointer(folder / "save")
    on_main(expect_refusal, alone, checkpoint)


def expect_refusal(checkpointer, checkpoint):
    with pytest.raises(CheckpointError, match="by 2 processes, not 1"):
        checkpointer.load_checkpoint(checkpoint)


def check_a_parameter_that_a_step_does_not_use(folder):
    class Unused(OwnBrain):
        def __init__(self, *args, modules, **kwargs):
            modules["model"].register_parameter(
                "unused", torch.nn.Parameter(torch.ones(1))
            )
            super().__init__(*args, modules=modules, **kwargs)

    with pytest.raises(SettingError, match="give --find_unused_parameters"):
        train(main_makes(folder / "refused"), brain_class=Unused)
    options = {"find_unused_parameters": True}
    made = main_makes(folder / "made")
    same(weights(train(made, brain_class=Unused, run_opts=options)), "weights")


def check_an_error_of_the_main_process_is_that_of_both(folder):
    with pytest.raises(SettingError, match="told"):
        on_main(fail, SettingError("told"))
    with pytest.raises(OSError, match="full"):
        on_main(fail, OSError(28, "full", str(folder)))
    assert on_main(process_rank) == 0
    assert n_processes() == 2


def fail(error):
    raise error


def main(folder, results):
    """Run all checks, and write down for each what this process saw."""
    global RANK
    options = join(read_run_options("", {"device": "cpu"}))
    assert options.distributed_backend == "gloo"
    RANK = process_rank()
    test_resumable.N_CLIPS = N_CLIPS
    seen = {}
    for name, check in globals().copy().items():
        if name.startswith("check_"):
            place = main_makes(Path(folder) / name)
            try:
                seen[name] = {"returned": check(place)}
            except (Exception, Killed):
                seen[name] = {"error": traceback.format_exc()}
            Path(f"{results}.{RANK}").write_text(json.dumps(seen))
            wait_for_all()
    leave()
