"""Train a mask estimator on the ideal ratio mask."""

from __future__ import annotations

import math

import speechbrain as sb
import torch
from speechbrain.dataio.batch import PaddedBatch
from torch import Tensor

from lmac_td.data.mixing import make_mixtures
from lmac_td.enhancement.masks import ideal_ratio_mask
from lmac_td.training.resumable import ResumableBrain


class EnhancementBrain(ResumableBrain):
    """Minimises the mean squared error of the mask against the ideal one (eq. 3).

    The paper does not name its loss.

    Arguments
    ---------
    modules : dict
        ``mask_estimator``, a :class:`~lmac_td.enhancement.estimator.MaskEstimator`.
    hparams : dict
        ``lr_annealing``, ``train_logger``, ``epoch_counter`` and ``seed``.
    checkpointer : WholeCheckpointer
        Saves the estimator, the epoch counter and the annealing.
    **others
        Further arguments of ``speechbrain.Brain``.
    """

    def compute_forward(
        self, batch: PaddedBatch, stage: sb.Stage
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Estimate the masks of the mixtures of a batch.

        Returns
        -------
        mask, ideal : Tensor (B, frames, bins)
        n_frames : Tensor (B,)
            Frames of each utterance before padding.
        """
        mixed = make_mixtures(batch, self.device)
        estimator = self.raw_modules["mask_estimator"]
        features = estimator.features
        magnitude, speech, noise = (
            features(wavs).magnitude
            for wavs in (mixed.mixture, mixed.target, mixed.interference)
        )
        n_frames = mixed.n_samples // features.hop_samples + 1
        inputs = estimator.inputs_of(magnitude, n_frames)
        mask = self.modules.mask_estimator(inputs, n_frames)
        return mask, ideal_ratio_mask(speech, noise), n_frames

    def compute_objectives(
        self,
        predictions: tuple[Tensor, Tensor, Tensor],
        batch: PaddedBatch,
        stage: sb.Stage,
    ) -> Tensor:
        """Return the mean squared error over all bins of the utterances."""
        mask, ideal, n_frames = predictions
        frames = torch.arange(mask.shape[1], device=mask.device)
        inside = frames < n_frames.unsqueeze(1)  # (B, frames)
        error = (mask - ideal).square().mean(dim=2).masked_select(inside)
        self.state.add("error", error.sum(dtype=torch.float64))
        self.state.add("frames", inside.sum())
        return error.mean()

    @property
    def error(self) -> float:
        """The mean error of the stage so far; NaN before its first batch."""
        sums, _ = self.state.totals()
        return float(sums["error"] / sums["frames"]) if sums else math.nan

    def on_stage_end(
        self, stage: sb.Stage, stage_loss: float, epoch: int | None = None
    ) -> None:
        """After validation: anneal the learning rate, log, and save a checkpoint."""
        stats = {"loss": self.error}
        if stage == sb.Stage.TRAIN:
            self.end_of_training_stage()
            self.train_stats = stats
            return
        old_lr, new_lr = self.hparams.lr_annealing(
            [self.optimizer], epoch, stats["loss"]
        )
        sb.nnet.schedulers.update_learning_rate(self.optimizer, new_lr)
        self.hparams.train_logger.log_stats(
            {"epoch": epoch, "lr": old_lr}, self.train_stats, stats
        )
        self.checkpointer.save_and_keep_only(meta={**stats, "epoch": epoch})
