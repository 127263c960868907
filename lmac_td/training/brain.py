"""InterpreterBrain: trains any interpreter on any objective, on CPU or GPU.

The one Brain subclass. It knows the flow (mixture, decision, explanation, loss) and
SpeechBrain's stages; it knows no method.
"""

import logging
from pathlib import Path

import speechbrain as sb

from lmac_td.data.mixing import mixtures_of
from lmac_td.evaluation.batches import decide_batch, select_targets
from lmac_td.evaluation.explaining import answer, explain
from lmac_td.evaluation.loop import score
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.report.samples import save_samples
from lmac_td.runtime.compilation import compile_networks
from lmac_td.training.checkpoints import resume_message

logger = logging.getLogger(__name__)

# A mask whose mean lies beyond these has collapsed into a copy or into silence.
SATURATED_HIGH = 0.98
SATURATED_LOW = 0.02


def modules_of(hparams, classifier):
    """What an :class:`InterpreterBrain` is given as ``modules``.

    Arguments
    ---------
    hparams : dict
        Of a recipe, with ``features`` and ``interpreter``.
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


class InterpreterBrain(sb.Brain):
    """Train an interpreter of a frozen classifier.

    ``modules``: ``features`` (SpectralFeatures), ``classifier`` (a frozen Classifier)
    and ``interpreter``. ``hparams``: ``objective`` (:mod:`.objectives`),
    ``targets`` (TargetChoice),
    ``lr_annealing``, ``train_logger``, ``interpret_period``, ``output_folder``,
    ``class_names`` and ``sample_ids`` (of the validation clips to save).
    ``checkpointer`` holds the interpreter, the epoch counter and the annealing.
    """

    def compute_forward(self, batch, stage):
        """A batch of N entries (clips, or clips and tags), decided and explained.

        Returns
        -------
        DecidedBatch
        ExplainedBatch
        Tensor (N, T)
            The clean targets.
        """
        mixture = mixtures_of(batch, self.device)
        modules = self.raw_modules
        decided = decide_batch(
            batch, mixture, modules["features"], modules["classifier"], False
        )
        decided, rows = select_targets(decided, self.hparams.targets, at_least_one=True)
        target = mixture.target if rows is None else mixture.target[rows]
        explained = explain(decided, self.modules.interpreter)
        if self.hparams.objective.needs_answers:
            explained = answer(explained)
        return decided, explained, target

    def compute_objectives(self, predictions, batch, stage):
        """Mean loss of the batch; validation fills the table of metrics too."""
        decided, explained, target = predictions
        terms = self.hparams.objective(explained, target)
        n_clips = len(decided)
        self.n_clips += n_clips
        selection = terms.loss if terms.selection is None else terms.selection
        # Tensors until the stage ends: a float would wait for the GPU.
        self.selection += selection.detach().sum().double()
        for name, value in (
            ("loss", terms.loss),
            *terms.parts.items(),
            ("mask_mean", explained.explanation.mask.float()),
        ):
            total = self.sums.get(name, 0.0)
            self.sums[name] = total + value.detach().mean() * n_clips
        if stage != sb.Stage.TRAIN:
            if explained.kept_logits is None:
                explained = answer(explained)
            score(self.table, "validation", "interpreter", decided, explained)
            self.save_samples(decided, explained)
        return terms.loss.mean()

    def save_samples(self, decided, explained):
        """Every interpret period, write some validation clips as sound and figures."""
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

    def on_stage_start(self, stage, epoch=None):
        """Empty the accumulators."""
        self.sums = {}
        self.selection = 0.0
        self.n_clips = 0
        self.table = FaithfulnessTable()
        self.epoch = epoch

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Log; after validation also anneal and checkpoint."""
        # Means over clips, not over batches: the last batch may be smaller.
        stats = {name: float(v) / self.n_clips for name, v in self.sums.items()}
        if stage == sb.Stage.TRAIN:
            # SpeechBrain's mean covers what an interruption cut off, too.
            self.train_stats = {**stats, "loss": float(stage_loss)}
            return
        loss = float(self.selection) / self.n_clips
        stats |= self.table.means("validation", "interpreter")
        old_lr, new_lr = self.hparams.lr_annealing([self.optimizer], epoch, loss)
        sb.nnet.schedulers.update_learning_rate(self.optimizer, new_lr)
        self.hparams.train_logger.log_stats(
            {"epoch": epoch, "lr": old_lr}, self.train_stats, stats
        )
        self.warn_if_saturated(stats["mask_mean"])
        # Plain numbers only: SpeechBrain reads the meta back with a safe loader.
        self.checkpointer.save_and_keep_only(
            meta={"loss": loss, "epoch": epoch}, min_keys=["loss"]
        )

    def warn_if_saturated(self, mask_mean):
        """Say so when the mask has become all ones or all zeros."""
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

    def _compile(self):
        """SpeechBrain's ``--compile``; see :mod:`lmac_td.runtime.compilation`."""
        modules = self.raw_modules
        compile_networks(modules["interpreter"], modules["classifier"], self)

    def on_fit_start(self):
        """Resume from the last checkpoint, and say so."""
        with resume_message(self.checkpointer):
            super().on_fit_start()
