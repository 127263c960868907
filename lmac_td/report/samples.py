"""Explanations on disk: input, interpretation and residual as wav, and one figure."""

import re
from pathlib import Path

import torch

from lmac_td.audio import save_audio
from lmac_td.report.figures import spectrogram_figure

BITS = 24  # of the samples of a sound


def save_samples(
    folder, decided, explained, spectral_features, class_names, clip_ids, parts=None
):
    """Save some clips of an explained batch.

    An entry gives ``<clip>_input.wav``, ``<clip>_interpretation.wav``,
    ``<clip>_residual.wav`` and ``<clip>.png``, whose panels also tell the probability
    of the class that is explained. Of a classifier of tags, the tag stands in the
    names, too: ``<clip>_<tag>_input.wav``. The three sounds keep their common scale, so
    that input = interpretation + residual holds on disk, too, where the method is
    complete. They have 24 bits: after the rounding to 16, classifiers that take the
    logarithm of a spectrogram give digital silence other probabilities.

    Arguments
    ---------
    folder : str or Path
    decided : DecidedBatch
    explained : ExplainedBatch
        With the classifier's logits.
    spectral_features : SpectralFeatures
    class_names : list of str
        Of the data set.
    clip_ids : collection of str
        Those to save; the others of the batch are passed over.
    parts : callable, optional
        See :meth:`lmac_td.interpreters.base.Interpreter.parts`; each part is saved as
        ``<clip>_<name>.wav``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sample_rate = spectral_features.sample_rate
    explanation, classifier = explained.explanation, explained.classifier
    wavs = (explained.wavs, explanation.interpretation, explanation.residual)
    logits = (
        explained.decision.logits, explained.kept_logits, explained.removed_logits
    )  # fmt: skip
    entries = zip(
        decided.clip_ids,
        decided.labels.tolist(),
        explained.decision.target.tolist(),
        strict=True,
    )
    for row, (clip_id, label, target) in enumerate(entries):
        if clip_id not in clip_ids:
            continue
        names = ("input", "interpretation", "residual")
        sounds = torch.stack([wav[row].detach().float() for wav in wavs])
        magnitudes = spectral_features(sounds).magnitude.cpu().numpy()
        tagged = classifier.activation == "sigmoid"
        tag = classifier.labels[target]
        stem = f"{clip_id}_{_for_a_file(tag)}" if tagged else clip_id
        panels = {}
        for name, wav, magnitude, logit in zip(
            names, sounds.cpu(), magnitudes, logits, strict=True
        ):
            save_audio(folder / f"{stem}_{name}.wav", wav, sample_rate, BITS)
            p = float(classifier.probabilities(logit[row].detach())[target])
            panels[f"{name}, p = {p:.2f}"] = magnitude
        for name, wav in parts(explained, row).items() if parts else ():
            save_audio(folder / f"{stem}_{name}.wav", wav, sample_rate, BITS)
        spectrogram_figure(
            folder / f"{stem}.png",
            panels,
            sample_rate,
            sounds.shape[-1] / sample_rate,
            f"{clip_id}: {class_names[label]}, {_why(logits[0][row], target)} {tag}",
        )


def _why(logits, target):
    """Why a class is explained: it was decided, or asked for (or one of the tags)."""
    return "decided" if int(logits.argmax()) == target else "explained:"


def _for_a_file(label):
    """A label without characters that a file name cannot have."""
    return re.sub(r"[^\w-]+", "_", label).strip("_")
