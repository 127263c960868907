"""Train CNN14 on an ESC-50-like data set with WHAM!-like noise, to be explained later.

    python recipes/ESC50/train_classifier.py hparams/cnn14.yaml [--setting value ...]

Ends with the accuracy on each test fold, clean and noisy, a confusion matrix, and
``<output_folder>/classifier``, the folder to give as ``pretrained_classifier``.
"""

import json
import shlex
import sys

import numpy as np
import speechbrain as sb
import torch
from speechbrain.dataio.dataloader import make_dataloader
from torch.nn import functional as F

from lmac_td.classifiers.cnn14 import LABELS
from lmac_td.data.epoch_seeds import use_epoch_seeded_sampler
from lmac_td.data.mixing import make_mixtures
from lmac_td.errors import exit_on_user_error
from lmac_td.experiment.open import open_experiment
from lmac_td.files import write_atomically
from lmac_td.report.figures import confusion_figure
from lmac_td.training.checkpoints import load_best, resume_message


class ClassifierBrain(sb.Brain):
    """Cross-entropy training of a classifier on noisy clips."""

    def compute_forward(self, batch, stage):
        """Mixtures -> logits (B, C)."""
        wavs, *_ = make_mixtures(batch, self.device)
        if stage == sb.Stage.TRAIN and self.hparams.time_shift:
            shift = int(torch.randint(wavs.shape[-1], (1,)))
            wavs = wavs.roll(shift, dims=-1)
        classifier = self.raw_modules["classifier"]
        (logits,) = classifier.classify(classifier.inputs_of(wavs))
        return logits

    def compute_objectives(self, logits, batch, stage):
        """Mean cross-entropy against the labels."""
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
        """Resume from the last checkpoint, and say so."""
        with resume_message(self.checkpointer):
            super().on_fit_start()

    @torch.no_grad()
    def decide(self, loader):
        """Labels, decisions and clip ids of all clips of a loader."""
        self.modules.eval()
        labels, decisions, clip_ids = [], [], []
        for batch in loader:
            logits = self.compute_forward(batch, sb.Stage.TEST)
            labels.append(torch.as_tensor(batch.class_index))
            decisions.append(logits.argmax(dim=-1))
            clip_ids += batch.id
        return torch.cat(labels).numpy(), torch.cat(decisions).cpu().numpy(), clip_ids


def export(classifier, folder):
    """Write weights and labels into a folder, for ``pretrained_classifier``."""
    for name in ("embedding_model", "classifier"):
        with write_atomically(folder / f"{name}.ckpt") as file:
            torch.save(classifier.get_submodule(name).state_dict(), file)
    with write_atomically(folder / LABELS, "w", encoding="utf-8") as file:
        json.dump(classifier.labels, file, indent=1)


def tested_conditions(hparams):
    """Names of the conditions that it is tested in: that of training, and none."""
    return sorted(
        name
        for name, condition in hparams["conditions"].items()
        if name == hparams["training_condition"] or condition.snr_db is None
    )


def test(brain, data, conditions, hparams, folder):
    """Accuracy on each test fold in some conditions, printed and saved."""
    manifest = json.loads(data.manifests["test"].read_text(encoding="utf-8"))
    n_classes = len(data.class_names)
    rows, results = [], {}
    for condition in conditions:
        loader = make_dataloader(
            data.dataset("test", condition), **hparams["eval_loader"]
        )
        labels, decisions, clip_ids = brain.decide(loader)
        folds = np.array([manifest[clip_id]["fold"] for clip_id in clip_ids])
        hits = labels == decisions
        by_fold = {int(fold): hits[folds == fold] for fold in np.unique(folds)}
        for fold, fold_hits in by_fold.items():
            chose = " (chose the checkpoint)" if fold in data.folds["valid"] else ""
            rows.append(
                f"| {condition} | {fold}{chose} | {len(fold_hits)} "
                f"| {fold_hits.mean():.3f} |"
            )
        confusion = np.zeros((n_classes, n_classes), dtype=int)
        np.add.at(confusion, (labels, decisions), 1)
        results[condition] = {
            "accuracy": {fold: float(h.mean()) for fold, h in by_fold.items()},
            "confusion": confusion.tolist(),
        }
        confusion_figure(
            folder / f"confusion_{condition}.png",
            confusion,
            data.class_names,
            f"{hparams['experiment_name']}, {condition}",
        )
    results["class_names"] = data.class_names
    with write_atomically(folder / "accuracy.json", "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
    head = "| condition | test fold | clips | accuracy |\n| --- | --- | --- | --- |"
    print("\n".join([head, *rows]))


def main(argv=None):
    """Train, test and export what the recipe describes."""
    argv = sys.argv[1:] if argv is None else argv
    experiment = open_experiment(argv, __doc__, needs="clean_probability")
    hparams = experiment.hparams
    experiment.check_resumable()
    conditions = tested_conditions(hparams)
    data = experiment.prepare(
        "train",
        "valid",
        "test",
        conditions=conditions,
        n_classes=hparams["out_n_neurons"],
    )
    experiment.create_output_folder()
    experiment.add_tensorboard()

    brain = ClassifierBrain(
        modules={"features": hparams["features"], "classifier": hparams["classifier"]},
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=experiment.run_opts,
        checkpointer=hparams["checkpointer"](),
    )
    train = data.dataset("train", clean_probability=hparams["clean_probability"])
    brain.fit(
        hparams["epoch_counter"],
        train,
        data.dataset("valid"),
        train_loader_kwargs=use_epoch_seeded_sampler(
            brain, train, hparams["train_loader"], hparams["seed"]
        ),
        valid_loader_kwargs=hparams["eval_loader"],
    )
    epoch = load_best(
        hparams["checkpointer"],
        hparams["save_folder"],
        f"train it with `python {shlex.join(sys.argv)}`",
    )
    test(brain, data, conditions, hparams, experiment.output_folder)
    hparams["classifier"].labels = tuple(data.class_names)
    export(hparams["classifier"], experiment.output_folder / "classifier")
    experiment.save_settings(experiment.output_folder / "classifier")
    print(
        f"Best epoch: {epoch}, chosen on fold {data.folds['valid']}\n"
        f"pretrained_classifier: {experiment.output_folder / 'classifier'}"
    )


command = exit_on_user_error(
    "Interrupted: the same command goes on from the last epoch."
)(main)
