"""InterpreterBrain: trains any interpreter with any objective.

It implements the steps that all methods have in common (mixture, decision, explanation,
loss) and SpeechBrain's stages.
"""

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import speechbrain as sb
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.nnet.schedulers import ReduceLROnPlateau
from torch import Tensor, nn

from lmac_td.contracts import Classifier, ExplainedBatch
from lmac_td.data.mixing import make_mixtures
from lmac_td.evaluation.batches import DecidedBatch, decide_batch, select_targets
from lmac_td.evaluation.explaining import answer, explain
from lmac_td.evaluation.loop import score
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.report.samples import save_samples
from lmac_td.runtime.compilation import compile_networks
from lmac_td.runtime.distributed import gather, n_processes
from lmac_td.training.resumable import ResumableBrain

logger = logging.getLogger(__name__)

# A mask with a mean outside this range is useless: it copies or mutes the input.
SATURATED_HIGH = 0.98
SATURATED_LOW = 0.02

SELECTION = "selection"  # the sum of what the best checkpoint is chosen by


def brain_modules(
    hparams: dict[str, Any], classifier: Classifier
) -> dict[str, nn.Module]:
    """Return the ``modules`` of an :class:`InterpreterBrain`.

    Arguments
    ---------
    hparams : dict
        The loaded recipe, with ``features`` and ``interpreter``.
    classifier : Classifier

    Returns
    -------
    dict of str to torch.nn.Module
    """
    return {
        "features": hparams["features"],
        "classifier": classifier,
        "interpreter": hparams["interpreter"],
    }


class InterpreterBrain(ResumableBrain):
    """Trains an interpreter of a frozen classifier.

    Arguments
    ---------
    modules : dict
        See :func:`brain_modules`.
    hparams : dict
        ``objective`` (:mod:`lmac_td.training.objectives`), ``targets`` (TargetChoice),
        ``lr_annealing``, ``train_logger``, ``interpret_period``, ``valid_period``,
        ``repeats``, ``seed``, ``epoch_counter``, ``output_folder``, ``class_names``
        and ``sample_ids`` (the validation clips to save).
    checkpointer : WholeCheckpointer
        Saves the interpreter, the epoch counter and the annealing.
    **others
        Further arguments of ``speechbrain.Brain``.
    """

    def compute_forward(
        self, batch: PaddedBatch, stage: sb.Stage
    ) -> tuple[DecidedBatch, ExplainedBatch, Tensor]:
        """Classify and explain a batch.

        Returns
        -------
        DecidedBatch
            N entries: one per clip, or one per clip and tag.
        ExplainedBatch
        Tensor (N, T)
            The clean clips, at their level in the mixtures.
        """
        mixed = make_mixtures(batch, self.device)
        modules = self.raw_modules
        decided = decide_batch(
            batch, mixed, modules["features"], modules["classifier"], False
        )
        decided, rows = select_targets(decided, self.hparams.targets, at_least_one=True)
        if stage == sb.Stage.TRAIN and getattr(self.hparams, "repeats", 1) > 1:
            decided = self.with_memory(decided)
        clean = mixed.target if rows is None else mixed.target[rows]
        explained = explain(decided, modules["interpreter"], self.modules.interpreter)
        if self.hparams.objective.needs_answers or stage != sb.Stage.TRAIN:
            explained = answer(explained)
        return decided, explained, clean

    def with_memory(self, decided: DecidedBatch) -> DecidedBatch:
        """Give each entry what was computed for the same mixture in this epoch."""
        targets = decided.decision.target.tolist()
        shape = tuple(decided.wavs.shape[1:])  # a batch may be padded further
        memory = tuple(
            self.state.memory.setdefault((clip_id, target, shape), {})
            for clip_id, target in zip(decided.clip_ids, targets, strict=True)
        )
        return replace(decided, decision=replace(decided.decision, memory=memory))

    def compute_objectives(
        self,
        predictions: tuple[DecidedBatch, ExplainedBatch, Tensor],
        batch: PaddedBatch,
        stage: sb.Stage,
    ) -> Tensor:
        """Return the mean loss of a batch; in validation, also compute its metrics."""
        decided, explained, clean = predictions
        terms = self.hparams.objective(explained, clean)
        n_entries = len(decided)
        self.state.n_entries += n_entries
        selection = terms.loss if terms.selection is None else terms.selection
        self.state.add(SELECTION, selection.sum().double())
        for name, value in (
            ("loss", terms.loss),
            *terms.parts.items(),
            ("mask_mean", explained.explanation.mask.float()),
        ):
            self.state.add(name, value.mean() * n_entries)
        if stage != sb.Stage.TRAIN:
            if terms.loss.isfinite().all():
                score(self.table, "validation", "interpreter", decided, explained)
                self.save_samples(decided, explained)
            else:
                logger.warning(
                    "epoch %d: the validation loss of %s is not finite",
                    self.epoch,
                    ", ".join(decided.clip_ids),
                )
        return terms.loss.mean()

    def save_samples(self, decided: DecidedBatch, explained: ExplainedBatch) -> None:
        """Save sounds and figures of some validation clips, every interpret period."""
        period = self.hparams.interpret_period
        if period > 0 and self.epoch % period == 0:
            save_samples(
                Path(self.hparams.output_folder)
                / "samples"
                / f"epoch_{self.epoch:03d}",
                decided,
                explained,
                self.raw_modules["features"],
                self.hparams.class_names,
                self.hparams.sample_ids,
            )

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Reset the sums, the memory (each epoch has its own mixtures), the table."""
        super().on_stage_start(stage, epoch)
        self.table = FaithfulnessTable()

    def on_stage_end(
        self, stage: sb.Stage, stage_loss: float, epoch: int | None = None
    ) -> None:
        """After validation: anneal the learning rate, log, and save a checkpoint."""
        # Means over entries, not over batches: the last batch may be smaller.
        if stage == sb.Stage.TRAIN:
            stats = self.end_of_training_stage()
            stats.pop(SELECTION, None)
            self.train_stats = {**stats, "loss": float(stage_loss)}
            return
        stats = self.state.means()
        meta = {"loss": stats.pop(SELECTION), "epoch": epoch}
        self.gather_scores()
        if self.table.rows:
            stats |= self.table.means("validation", "interpreter")
        self.log_and_save(epoch, stats, meta)
        self.warn_if_saturated(stats["mask_mean"])

    def gather_scores(self) -> None:
        """Give every process the scores of all clips, in the same order."""
        if n_processes() == 1:
            return
        rows = {row: scores.to_dict("list") for row, scores in self.table.rows.items()}
        self.table = FaithfulnessTable()
        for of_process in gather(rows):
            for row, columns in of_process.items():
                self.table.append(*row, columns)

    def log_and_save(self, epoch: int, stats: dict, meta: dict) -> None:
        """Anneal the learning rate, log the epoch and save a checkpoint.

        Arguments
        ---------
        epoch : int
        stats : dict
            Of the validation; empty if the epoch had none.
        meta : dict
            ``epoch`` and, after a validation, ``loss``: plain numbers, since
            SpeechBrain reads them with a safe yaml loader.
        """
        if not math.isfinite(meta.get("loss", 0.0)):
            meta = {"epoch": epoch}  # never the best checkpoint
        loss = meta.get("loss")
        old_lr = new_lr = self.optimizer.param_groups[0]["lr"]
        annealing = self.hparams.lr_annealing
        if loss is not None or not isinstance(annealing, ReduceLROnPlateau):
            old_lr, new_lr = annealing([self.optimizer], epoch, loss)
        sb.nnet.schedulers.update_learning_rate(self.optimizer, new_lr)
        self.hparams.train_logger.log_stats(
            {"epoch": epoch, "lr": old_lr}, self.train_stats, stats
        )
        self.checkpointer.save_and_keep_only(meta=meta)

    def validates(self, epoch: int) -> bool:
        """Return whether an epoch ends with a validation; the last one always does."""
        last = self.hparams.epoch_counter.limit
        if self.debug:
            last = min(last, self.debug_epochs)
        is_last = epoch == last or self._optimizer_step_limit_exceeded
        return epoch % self.hparams.valid_period == 0 or is_last

    def _fit_valid(self, valid_set, epoch, enable) -> None:
        if self.validates(epoch):
            super()._fit_valid(valid_set, epoch, enable)
        else:
            self.log_and_save(epoch, {}, {"epoch": epoch})

    def warn_if_saturated(self, mask_mean: float) -> None:
        """Warn if the mask has become all ones or all zeros."""
        if mask_mean > SATURATED_HIGH:
            logger.warning(
                "the mask keeps everything (its mean is %.3f): change the weights of "
                "the objective",
                mask_mean,
            )
        elif mask_mean < SATURATED_LOW:
            logger.warning(
                "the mask keeps nothing (its mean is %.3f): change the weights of "
                "the objective",
                mask_mean,
            )

    def _compile(self) -> None:
        """Compile the networks; see :mod:`lmac_td.runtime.compilation`."""
        modules = self.raw_modules
        compile_networks(modules["interpreter"], modules["classifier"], self)
