"""Train and test the classifier that is explained later."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import speechbrain as sb
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataloader import make_dataloader
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lmac_td.data.mixing import make_mixtures
from lmac_td.data.prepare import PreparedData
from lmac_td.files import write_atomically
from lmac_td.reading import read_json
from lmac_td.report.figures import confusion_figure
from lmac_td.training.resumable import ResumableBrain


class ClassifierBrain(ResumableBrain):
    """Cross-entropy training of a classifier on noisy clips.

    A classifier with a softmax learns the first label of each clip, one with sigmoids
    learns all labels, by binary cross-entropy.

    Validation and test use the moving average of the weights.

    Arguments
    ---------
    modules : dict
        ``features``, ``classifier`` and ``averaged``, an
        :class:`~lmac_td.training.averaging.AveragedClassifier` of it.
    hparams : dict
        ``augmentation``, ``label_smoothing``, ``lr_annealing`` (called with the
        optimiser and the epoch), ``train_logger`` and ``seed``.
    checkpointer : WholeCheckpointer
        Saves the classifier, its average and the epoch counter.
    **others
        Further arguments of ``speechbrain.Brain``.
    """

    def on_fit_batch_end(
        self, batch: PaddedBatch, outputs: Any, loss: Tensor, should_step: bool
    ) -> None:
        """Update the average."""
        if should_step:
            modules = self.raw_modules
            modules["averaged"].update_parameters(modules["classifier"])

    def compute_forward(
        self, batch: PaddedBatch, stage: sb.Stage
    ) -> tuple[Tensor, Tensor]:
        """Classify the mixtures of a batch.

        Returns
        -------
        Tensor (B, C)
            Logits.
        Tensor (B, C)
            The probabilities that they should give.
        """
        wavs, *_ = make_mixtures(batch, self.device)
        classifier = self.raw_modules["classifier"]
        targets = self.targets(batch)
        if stage == sb.Stage.TRAIN:
            wavs, targets = self.hparams.augmentation.mixtures(wavs, targets)
            inputs = classifier.inputs_of(wavs)
            inputs = self.hparams.augmentation.spectrograms(inputs)
            logits = self.modules.classifier(inputs).logits
        else:
            classifier = self.raw_modules["averaged"].module
            # SpeechBrain sets the precision of the validation, but not of the test.
            tests = stage == sb.Stage.TEST
            with self.evaluation_ctx if tests else contextlib.nullcontext():
                (logits,) = classifier.classify(classifier.inputs_of(wavs))
        return logits.float(), targets

    def targets(self, batch: PaddedBatch) -> Tensor:
        """Return the probabilities (B, C) that the classifier should give."""
        classifier = self.raw_modules["classifier"]
        if classifier.activation == "sigmoid" and hasattr(batch, "tags"):
            return batch.tags.data.to(self.device, non_blocking=True)
        labels = batch.class_index.to(self.device, non_blocking=True)
        return F.one_hot(labels, classifier.n_classes).float()

    def compute_objectives(
        self, predictions: tuple[Tensor, Tensor], batch: PaddedBatch, stage: sb.Stage
    ) -> Tensor:
        """Return the mean cross-entropy; labels are smoothed in training only.

        ``accuracy`` in the log is the share of clips that are classified correctly, or
        of tags that are decided correctly.
        """
        logits, targets = predictions
        smoothing = self.hparams.label_smoothing if stage == sb.Stage.TRAIN else 0.0
        classifier = self.raw_modules["classifier"]
        if classifier.activation == "sigmoid":
            losses = tag_losses(logits, targets, smoothing)
            tags = classifier.probabilities(logits.detach())
            hits = ((tags >= classifier.threshold) == (targets >= 0.5)).float().mean(1)
            confidences = torch.maximum(tags, 1 - tags).mean(dim=1)
        else:
            losses = F.cross_entropy(
                logits, targets, reduction="none", label_smoothing=smoothing
            )
            hits = logits.argmax(dim=-1) == targets.argmax(dim=-1)
            confidences = logits.detach().softmax(dim=-1).amax(dim=-1)
        self.state.n_entries += len(losses)
        for name, values in (
            ("loss", losses),
            ("accuracy", hits),
            ("confidence", confidences),
        ):
            self.state.add(name, values.sum(dtype=torch.float64))
        return losses.mean()

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Empty the sums; before training also set the learning rate."""
        super().on_stage_start(stage, epoch)
        if stage == sb.Stage.TRAIN:
            self.hparams.lr_annealing(self.optimizer, epoch)

    def on_stage_end(
        self, stage: sb.Stage, stage_loss: float, epoch: int | None = None
    ) -> None:
        """Log; after validation also save a checkpoint."""
        if stage == sb.Stage.TRAIN:
            self.train_stats = self.end_of_training_stage()
            self.train_stats.pop("confidence", None)
            return
        stats = self.state.means()
        lr = self.optimizer.param_groups[0]["lr"]
        self.hparams.train_logger.log_stats(
            {"epoch": epoch, "lr": lr}, self.train_stats, stats
        )
        meta = {"epoch": epoch}
        if math.isfinite(stats["loss"]):  # else it is never the best checkpoint
            meta["loss"] = stats["loss"]
        self.checkpointer.save_and_keep_only(meta=meta)

    def on_fit_start(self) -> None:
        """Lay out the weights for fast convolutions, and resume."""
        for name in ("classifier", "averaged"):
            self.raw_modules[name].to(memory_format=torch.channels_last)
        super().on_fit_start()

    @torch.no_grad()
    def decide(self, loader: DataLoader) -> tuple[Tensor, Tensor, Tensor, list[str]]:
        """Classify all clips of a loader.

        Returns
        -------
        labels, decisions : Tensor (N,)
        confidences : Tensor (N,)
            The probability of each decision.
        clip_ids : list of str
        """
        self.modules.eval()
        labels, answers, clip_ids = [], [], []
        for batch in loader:
            logits, _ = self.compute_forward(batch, sb.Stage.TEST)
            labels.append(torch.as_tensor(batch.class_index))
            answers.append(logits.softmax(dim=-1).max(dim=-1))
            clip_ids += batch.id
        confidences, decisions = (
            torch.cat(part).cpu() for part in zip(*answers, strict=True)
        )
        return torch.cat(labels), decisions.cpu(), confidences.cpu(), clip_ids


def tag_losses(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the binary cross-entropy (B,) of tags, the mean over tags.

    Arguments
    ---------
    logits, targets : Tensor (B, C)
        Targets are probabilities.
    smoothing : float
        Targets are moved towards 0.5 by this share.

    Example
    -------
    >>> tag_losses(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    tensor([0.6931])
    """
    targets = (1 - smoothing) * targets + smoothing / 2
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)


def tested_conditions(conditions: dict, training_condition: str) -> list[str]:
    """Return the conditions of the test: that of training, and those without noise."""
    return sorted(
        name
        for name, condition in conditions.items()
        if name == training_condition or condition.snr_db is None
    )


def test(
    brain: ClassifierBrain,
    data: PreparedData,
    split: str,
    condition: str,
    eval_loader: dict[str, Any],
) -> dict[str, Any]:
    """Classify the clips of a split under one condition.

    Arguments
    ---------
    brain : ClassifierBrain
        With the checkpoint to be tested.
    data : PreparedData
    split : str
        ``valid`` or ``test``.
    condition : str
    eval_loader : dict
        Arguments of SpeechBrain's ``make_dataloader``.

    Returns
    -------
    dict
        By fold: ``accuracy``, ``confidence`` (the mean probability of the decided
        class) and ``clips`` (their number); and ``confusion`` (C lists of C counts, by
        label and decision).
    """
    manifest = read_json(data.manifests[split])
    loader = make_dataloader(data.dataset(split, condition), **eval_loader)
    labels, decisions, confidences, clip_ids = brain.decide(loader)
    labels, decisions = labels.numpy(), decisions.numpy()
    folds = np.array([manifest[clip_id]["fold"] for clip_id in clip_ids])
    hits = labels == decisions
    by_fold = {int(fold): folds == fold for fold in np.unique(folds)}
    n_classes = len(data.class_names)
    confusion = np.zeros((n_classes, n_classes), dtype=int)
    np.add.at(confusion, (labels, decisions), 1)
    return {
        "accuracy": {fold: float(hits[of].mean()) for fold, of in by_fold.items()},
        "confidence": {
            fold: float(confidences.numpy()[of].mean()) for fold, of in by_fold.items()
        },
        "clips": {fold: int(of.sum()) for fold, of in by_fold.items()},
        "confusion": confusion.tolist(),
    }


def save_test(results: dict, class_names: list[str], folder: Path, title: str) -> None:
    """Write ``accuracy.json``, and a figure of each condition's confusions.

    Arguments
    ---------
    results : dict of str to dict
        The result of :func:`test`, by condition.
    class_names : list of str
    folder : Path
    title : str
        Title of the figures.
    """
    content = {
        name: {key: result[key] for key in ("accuracy", "confidence", "confusion")}
        for name, result in results.items()
    }
    with write_atomically(folder / "accuracy.json", "w", encoding="utf-8") as file:
        json.dump(content | {"class_names": class_names}, file, indent=1)
    for name, result in results.items():
        confusion_figure(
            folder / f"confusion_{name}.png",
            np.array(result["confusion"]),
            class_names,
            f"{title}, {name}",
        )
