"""ResumableBrain: what both trainings share, so that neither is lost.

Each step is seeded, an interrupted epoch goes on where it was saved, and a batch that
is not finite changes nothing.
"""

import logging
import math
from typing import Any

import speechbrain as sb
import torch
from speechbrain.core import INTRA_EPOCH_CKPT_FLAG
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.distributed import is_distributed_initialized
from torch import Tensor

from lmac_td.errors import TrainingError
from lmac_td.training.checkpoints import resume_message
from lmac_td.training.epoch_log import forget_epochs
from lmac_td.training.state import (
    EpochState,
    Generators,
    RunningStatistics,
    seed_draws,
)

# Steps after which several processes ask each other whether it is time to save.
ASKED_EVERY = 50

logger = logging.getLogger(__name__)


class ResumableBrain(sb.Brain):
    """A Brain whose interrupted training gives the same weights, to the bit.

    What a step draws from the generators of torch, numpy and Python depends on the
    seed, the epoch and the step. The states of these generators are in the checkpoints,
    too, and so is what was gathered in an epoch (``self.state``).

    A batch whose loss or gradients are not finite is left out: weights, running
    statistics and means stay as they were, and its clips are named. After
    ``nonfinite_patience`` such batches in a row the next one ends the training.

    Arguments
    ---------
    modules : dict
    opt_class : callable
    hparams : dict
        Needs ``seed``, ``epoch_counter`` and ``train_logger``.
    run_opts : dict or RunOptions
    checkpointer : WholeCheckpointer, optional
        Without one, nothing is saved, and single batches can be trained on.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.state = EpochState()
        self.not_finite_in_a_row = 0
        recoverables = {
            "epoch_state": self.state,
            "generators": Generators(self.device),
        }
        self.statistics = RunningStatistics(self.modules)
        for name, recoverable in recoverables.items() if self.checkpointer else ():
            # Checkpoints of earlier versions have neither.
            self.checkpointer.add_recoverable(name, recoverable, optional_load=True)

    def on_fit_start(self) -> None:
        """Resume from the last whole checkpoint, with a message."""
        super().on_fit_start()
        forget_epochs(self.hparams.train_logger, self.hparams.epoch_counter.current)
        checkpoint = self.checkpointer.loaded
        if checkpoint is not None:
            where = resume_message(checkpoint.meta)
            print(f"Resuming {where} from {checkpoint.path}", flush=True)

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Begin to gather, unless this epoch is resumed in its middle."""
        self.epoch = epoch
        if stage != sb.Stage.TRAIN or self.step == 0:
            self.state.reset()

    def end_of_training_stage(self) -> dict[str, float]:
        """Return the means of the epoch; refuse weights that are not finite."""
        if self.checkpointer is not None:
            self.checkpointer.check_finite()
        means = self.state.means()
        self.state.reset()  # the memory of mixtures would fill the checkpoint
        return means

    def on_fit_batch_start(self, batch: PaddedBatch, should_step: bool) -> None:
        """Seed what a step draws, so that a resumed training draws the same."""
        seed_draws(self.hparams.seed, self.epoch, self.step)

    def fit_batch(self, batch: PaddedBatch) -> Tensor:
        """Train on one batch, as SpeechBrain does, unless it is not finite.

        Whether it is finite is decided on the device, and asked for together with the
        loss after the step: a GPU is waited for once.
        """
        should_step = (self.step % self.grad_accumulation_factor) == 0
        self.on_fit_batch_start(batch, should_step)
        before = self.state.copy()
        self.statistics.keep()
        with self.no_sync(not should_step):
            with self.training_ctx:
                outputs = self.compute_forward(batch, sb.Stage.TRAIN)
                loss = self.compute_objectives(outputs, batch, sb.Stage.TRAIN)
            self.scaler.scale(loss / self.grad_accumulation_factor).backward()
        self.is_finite = torch.isfinite(loss.detach())
        if should_step:
            self.optimizers_step()
        measured = torch.stack([loss.detach(), self.is_finite.to(loss.dtype)]).cpu()
        if measured[1]:
            self.not_finite_in_a_row = 0
        else:
            self.leave_out(batch, float(measured[0]), before)
        self.on_fit_batch_end(batch, outputs, loss, should_step and bool(measured[1]))
        return measured[0]

    def optimizers_step(self) -> None:
        """Clip the gradients and step, but not where the norm is not finite.

        SpeechBrain's own step is taken in fp16, whose scaler leaves out steps by
        itself, and with ``--skip_nonfinite_grads``, which leaves out single gradients.
        """
        if self.scaler.is_enabled() or self.skip_nonfinite_grads:
            super().optimizers_step()
            return
        optimizer = self.optimizer
        norm = torch.nn.utils.clip_grad_norm_(
            optimizer.param_groups[0]["params"], self.max_grad_norm
        )
        self.is_finite = self.is_finite & torch.isfinite(norm)
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            # A fused optimiser reads on the device whether it may step.
            optimizer.found_inf = (~self.is_finite).float()
            optimizer.step()
        elif self.is_finite:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.optimizer_step += 1

    def leave_out(
        self, batch: PaddedBatch, loss: float, before: tuple[dict, int]
    ) -> None:
        """Undo what a batch changed, and name its clips.

        Arguments
        ---------
        batch : PaddedBatch
        loss : float
        before : tuple
            Of ``EpochState.copy`` before the batch.

        Raises
        ------
        TrainingError
            If more than ``nonfinite_patience`` batches in a row were not finite.
        """
        self.state.restore(before)
        self.statistics.restore()
        self.zero_grad(set_to_none=True)
        self.not_finite_in_a_row += 1
        what = "gradients" if math.isfinite(loss) else "loss"
        clips = ", ".join(batch.id)
        where = f"epoch {self.epoch}, step {self.step}"
        if self.not_finite_in_a_row > self.nonfinite_patience:
            raise TrainingError(
                f"{where}: {self.not_finite_in_a_row} batches in a row are not finite "
                f"(the last: the {what} of {clips}): look at these clips, or train "
                "into another --output_folder with a lower --lr; the checkpoints in "
                f"{self.checkpointer.checkpoints_dir} are as they were"
            )
        logger.warning(
            "%s: the %s of %s is not finite; the batch is left out", where, what, clips
        )

    def _should_save_intra_epoch_ckpt(self, *args: Any) -> bool:
        """Save in the middle of an epoch only where no gradients are accumulated."""
        if self.step % self.grad_accumulation_factor != 0:
            return False
        by_time = self.ckpt_interval_minutes > 0 and is_distributed_initialized()
        if by_time and self.step % ASKED_EVERY != 0:  # agreeing takes time
            return False
        return super()._should_save_intra_epoch_ckpt(*args)

    def _save_intra_epoch_ckpt(self) -> None:
        """Save in the middle of an epoch; say in which, and after which step."""
        meta = {INTRA_EPOCH_CKPT_FLAG: True, "epoch": self.epoch, "step": self.step}
        self.checkpointer.save_and_keep_only(
            end_of_epoch=False, meta=meta, verbosity=logging.DEBUG
        )
