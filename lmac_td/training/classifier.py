"""Train, test and export the classifier that is explained later."""

import json
from pathlib import Path

import numpy as np
import speechbrain as sb
import torch
from speechbrain.dataio.dataloader import make_dataloader
from torch.nn import functional as F

from lmac_td.classifiers.cnn14 import LABELS
from lmac_td.data.mixing import make_mixtures
from lmac_td.files import write_atomically
from lmac_td.report.figures import confusion_figure
from lmac_td.training.checkpoints import resume_message


class ClassifierBrain(sb.Brain):
    """Cross-entropy training of a classifier on noisy clips."""

    def compute_forward(self, batch, stage):
        """Classify the mixtures of a batch -> logits (B, C)."""
        wavs, *_ = make_mixtures(batch, self.device)
        if stage == sb.Stage.TRAIN and self.hparams.time_shift:
            shift = int(torch.randint(wavs.shape[-1], (1,)))
            wavs = wavs.roll(shift, dims=-1)
        classifier = self.raw_modules["classifier"]
        (logits,) = classifier.classify(classifier.inputs_of(wavs))
        return logits

    def compute_objectives(self, logits, batch, stage):
        """Return the mean cross-entropy against the labels."""
        labels = batch.class_index.to(self.device, non_blocking=True)
        losses = F.cross_entropy(logits.float(), labels, reduction="none")
        self.losses.append(losses.detach())
        self.hits.append((logits.argmax(dim=-1) == labels).float())
        return losses.mean()

    def on_stage_start(self, stage, epoch=None):
        """Empty the accumulators."""
        self.losses, self.hits = [], []

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Log; after validation also anneal and checkpoint."""
        stats = {}
        if self.losses:  # none where training resumes at the end of an epoch
            stats["loss"] = float(torch.cat(self.losses).mean())
            stats["accuracy"] = float(torch.cat(self.hits).mean())
        if stage == sb.Stage.TRAIN:
            self.train_stats = stats
            return
        old_lr, new_lr = self.hparams.lr_annealing(epoch)
        sb.nnet.schedulers.update_learning_rate(self.optimizer, new_lr)
        self.hparams.train_logger.log_stats(
            {"epoch": epoch, "lr": old_lr}, self.train_stats, stats
        )
        self.checkpointer.save_and_keep_only(
            meta={"loss": stats["loss"], "epoch": epoch}, min_keys=["loss"]
        )

    def on_fit_start(self):
        """Resume from the last checkpoint and report it."""
        with resume_message(self.checkpointer):
            super().on_fit_start()

    @torch.no_grad()
    def decide(self, loader):
        """Return labels (N,), decisions (N,) and ids of all clips of a loader."""
        self.modules.eval()
        labels, decisions, clip_ids = [], [], []
        for batch in loader:
            logits = self.compute_forward(batch, sb.Stage.TEST)
            labels.append(torch.as_tensor(batch.class_index))
            decisions.append(logits.argmax(dim=-1))
            clip_ids += batch.id
        return torch.cat(labels).numpy(), torch.cat(decisions).cpu().numpy(), clip_ids


def tested_conditions(conditions: dict, training_condition: str) -> list[str]:
    """Return the conditions of the test: that of training, and those without noise."""
    return sorted(
        name
        for name, condition in conditions.items()
        if name == training_condition or condition.snr_db is None
    )


def test(brain: ClassifierBrain, data, condition: str, eval_loader: dict) -> dict:
    """Classify the test clips under one condition.

    Arguments
    ---------
    brain : ClassifierBrain
        With the checkpoint to be tested.
    data : PreparedData
    condition : str
    eval_loader : dict
        Arguments of SpeechBrain's ``make_dataloader``.

    Returns
    -------
    dict
        ``accuracy`` (by test fold), ``clips`` (their number, by test fold) and
        ``confusion`` (C lists of C counts, by label and decision).
    """
    manifest = json.loads(data.manifests["test"].read_text(encoding="utf-8"))
    loader = make_dataloader(data.dataset("test", condition), **eval_loader)
    labels, decisions, clip_ids = brain.decide(loader)
    folds = np.array([manifest[clip_id]["fold"] for clip_id in clip_ids])
    hits = labels == decisions
    by_fold = {int(fold): hits[folds == fold] for fold in np.unique(folds)}
    n_classes = len(data.class_names)
    confusion = np.zeros((n_classes, n_classes), dtype=int)
    np.add.at(confusion, (labels, decisions), 1)
    return {
        "accuracy": {fold: float(hits.mean()) for fold, hits in by_fold.items()},
        "clips": {fold: len(hits) for fold, hits in by_fold.items()},
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
        name: {key: result[key] for key in ("accuracy", "confusion")}
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


def export(classifier, folder: Path) -> None:
    """Write weights and labels into a folder, for ``pretrained_classifier``."""
    for name in ("embedding_model", "classifier"):
        with write_atomically(folder / f"{name}.ckpt") as file:
            torch.save(classifier.get_submodule(name).state_dict(), file)
    with write_atomically(folder / LABELS, "w", encoding="utf-8") as file:
        json.dump(classifier.labels, file, indent=1)
