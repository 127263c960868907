"""ResumableBrain: what all trainings share, so that none is lost.

Each step is seeded, an interrupted epoch goes on where it was saved, and a batch that
is not finite changes nothing. Several processes train together by SpeechBrain's DDP.
"""

import logging
import math
from typing import Any

import speechbrain as sb
import torch
from speechbrain.core import INTRA_EPOCH_CKPT_FLAG
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.distributed import if_main_process, is_distributed_initialized
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lmac_td.errors import TrainingError
from lmac_td.runtime.distributed import (
    copy_from_main,
    gather,
    mean_over_processes,
    n_processes,
    on_main,
    process_rank,
)
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

    Each of several processes trains on a batch of its own, and gradients are averaged.
    If one of these batches is not finite, all are left out. A subclass calls what it
    trains by ``modules``; attributes and other methods are those of ``raw_modules``.

    With ``optimizer_step_limit``, a training that has made so many steps makes no more.

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
        if self.max_grad_norm < 0:  # SpeechBrain would turn the gradients around
            self.max_grad_norm = math.inf
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
        counter = self.hparams.epoch_counter
        on_main(forget_epochs, self.hparams.train_logger, counter.current)
        checkpoint = self.checkpointer.loaded
        if checkpoint is None:
            return
        if self._optimizer_step_limit_exceeded and checkpoint.meta["end-of-epoch"]:
            counter.current = counter.limit  # no epoch is left
        if not if_main_process():
            return
        where = resume_message(checkpoint.meta)
        print(f"Resuming {where} from {checkpoint.path}", flush=True)
        before = checkpoint.meta.get("processes", 1)
        if before != n_processes():
            logger.warning(
                "the number of processes was %d and is %d now: a step takes the clips "
                "of as many batches",
                before,
                n_processes(),
            )

    def _wrap_distributed(self) -> None:
        """Wrap what is trained, as SpeechBrain does, for several processes.

        SpeechBrain's own method synchronises BatchNorm on every device, but PyTorch
        cannot on a CPU: there each process has the statistics of its own batches, and
        all take those of the main process after an epoch. They are not exchanged
        before each step, since processes would wait for each other in a validation.
        """
        if not is_distributed_initialized():
            return
        raw = dict(self.modules.items())
        for name, module in raw.items():
            if not any(p.requires_grad for p in module.parameters()):
                continue
            if self.device_type == "cuda":
                raw[name] = module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
            self.modules[name] = DistributedDataParallel(
                module,
                device_ids=[self.device] if self.device_type == "cuda" else None,
                find_unused_parameters=self.find_unused_parameters,
                broadcast_buffers=False,
            )
        self.raw_modules = nn.ModuleDict(raw)

    def _train_loader_specifics(self, dataset: Any, loader_kwargs: dict) -> dict:
        """Leave the sampler as it is: it gives each process its share of the clips."""
        return loader_kwargs

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Begin to gather, unless this epoch is resumed in its middle."""
        self.epoch = epoch
        if stage != sb.Stage.TRAIN or self.step == 0:
            self.state.reset()

    def end_of_training_stage(self) -> dict[str, float]:
        """Return the means of the epoch; refuse weights that are not finite."""
        if self.checkpointer is not None:
            self.checkpointer.check_finite()
        copy_from_main(self.modules.buffers())  # such as running statistics
        means = self.state.means()
        self.state.reset()  # the memory of mixtures would fill the checkpoint
        return means

    def on_fit_batch_start(self, batch: PaddedBatch, should_step: bool) -> None:
        """Seed what a step draws, so that a resumed training draws the same."""
        seed_draws(self.hparams.seed, self.epoch, self.step, process_rank())

    def fit_batch(self, batch: PaddedBatch) -> Tensor:
        """Train on one batch, as SpeechBrain does, unless it is not finite.

        Whether it is finite is decided on the device, and asked for together with the
        loss after the step: a GPU is waited for once.

        Returns
        -------
        Tensor
            The mean loss, over processes, too.
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
        own_loss = loss.detach()
        own_loss = own_loss.to(torch.promote_types(own_loss.dtype, torch.float32))
        own = torch.stack([own_loss, torch.isfinite(own_loss).to(own_loss.dtype)])
        mean_loss, share = mean_over_processes(own)
        self.is_finite = share > 1 - 0.5 / n_processes()
        if should_step:
            self.optimizers_step()
        measured = torch.stack([mean_loss, self.is_finite.to(mean_loss.dtype)]).cpu()
        if measured[1]:
            self.not_finite_in_a_row = 0
        else:
            self.leave_out(batch, float(own_loss), before)
        self.on_fit_batch_end(batch, outputs, loss, should_step and bool(measured[1]))
        return measured[0]

    def optimizers_step(self) -> None:
        """Clip the gradients and step, but not where the norm is not finite.

        In fp16 the scaler leaves out steps by itself. With ``--skip_nonfinite_grads``
        gradients are left out. Processes have the same gradients here.
        """
        optimizer = self.optimizer
        # Not only the first group, as SpeechBrain: see remove_vector_weight_decay.
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.scaler.unscale_(optimizer)
        by_itself = self.scaler.is_enabled()
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        if self.skip_nonfinite_grads and not by_itself:
            self.check_gradients()
        if by_itself or self.skip_nonfinite_grads:
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            self.is_finite = self.is_finite & torch.isfinite(norm)
            if getattr(optimizer, "_step_supports_amp_scaling", False):
                # A fused optimiser reads on the device whether it may step.
                optimizer.found_inf = (~self.is_finite).float()
                optimizer.step()
            elif self.is_finite:
                optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.optimizer_step += 1

    def check_gradients(self) -> None:
        """Leave out gradients that are not finite, with a warning that names them."""
        names = []
        for name, parameter in self.modules.named_parameters():
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                parameter.grad = None
                names.append(name)
        if names and if_main_process():
            logger.warning(
                "epoch %d, step %d: the gradients of %d parameters are not finite and "
                "are left out; the first is that of %s",
                self.epoch,
                self.step,
                len(names),
                names[0],
            )

    def leave_out(
        self, batch: PaddedBatch, loss: float, before: tuple[dict, int]
    ) -> None:
        """Undo what a batch changed, and name its clips.

        Arguments
        ---------
        batch : PaddedBatch
        loss : float
            Of this process.
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
        what, clips = self._not_finite(batch, math.isfinite(loss))
        where = f"epoch {self.epoch}, step {self.step}"
        if self.not_finite_in_a_row > self.nonfinite_patience:
            raise TrainingError(
                f"{where}: {self.not_finite_in_a_row} batches in a row are not finite "
                f"(the last: the {what} of {clips}): look at these clips, or train "
                "into another --output_folder with a lower --lr; the checkpoints in "
                f"{self.checkpointer.checkpoints_dir} are as they were"
            )
        if if_main_process():
            logger.warning(
                "%s: the %s of %s is not finite; the batch is left out",
                where,
                what,
                clips,
            )

    def _not_finite(self, batch: PaddedBatch, loss_is_finite: bool) -> tuple[str, str]:
        """Say what is not finite, and name the clips of the processes that saw it.

        Gradients are averaged before they are looked at, so those of all processes
        count if the losses are finite.
        """
        seen = gather((loss_is_finite, list(batch.id)))
        gradients = all(is_finite for is_finite, _ in seen)
        clips = [
            ", ".join(names) + (f" (process {process})" if len(seen) > 1 else "")
            for process, (is_finite, names) in enumerate(seen)
            if gradients or not is_finite
        ]
        return "gradients" if gradients else "loss", ", ".join(clips)

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
