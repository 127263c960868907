"""Save explanations: sounds as wav files, the mask as a picture, and a figure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lmac_td.audio import save_audio
from lmac_td.contracts import ExplainedBatch
from lmac_td.features import SpectralFeatures
from lmac_td.metrics.signal import kept_gain
from lmac_td.names import file_name
from lmac_td.report.figures import mask_image, spectrogram_figure
from lmac_td.targets import label_name

if TYPE_CHECKING:
    from lmac_td.evaluation.loop import DecidedBatch

BITS = 24  # bits per sample of a wav file


def save_samples(
    folder: str | Path,
    decided: DecidedBatch,
    explained: ExplainedBatch,
    spectral_features: SpectralFeatures,
    class_names: list[str],
    clip_ids: Collection[str],
    parts: Callable[[ExplainedBatch, int], dict[str, Tensor]] | None = None,
) -> None:
    """Save the sounds and figures of some clips of an explained batch.

    For each entry it writes ``<clip>_input.wav``, ``<clip>_interpretation.wav``,
    ``<clip>_residual.wav`` and ``<clip>.png``, which also shows the probability of the
    explained class. ``<clip>_mask.png`` is the mask of the STFT (or the gain, if the
    method's mask has another shape). If the sources are known, ``<clip>_target.wav`` is
    the true target. For a classifier of tags, the names include the tag:
    ``<clip>_<tag>_input.wav``. The sounds have a common scale, so that input =
    interpretation + residual also holds for the files if the method is complete. They
    have 24 bits per sample: with 16, the rounding of digital silence would change the
    probabilities of classifiers that take the logarithm of a spectrogram.

    Arguments
    ---------
    folder : str or Path
        Created if it is missing.
    decided : DecidedBatch
        See :mod:`lmac_td.evaluation.loop`.
    explained : ExplainedBatch
        With the classifier's logits.
    spectral_features : SpectralFeatures
    class_names : list of str
        The class names of the data set.
    clip_ids : collection of str
        The clips to save, if they are in the batch.
    parts : callable, optional
        Returns further sounds of an entry; see
        :meth:`lmac_td.interpreters.base.Interpreter.parts`. They are saved as
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
        has_tags = classifier.activation == "sigmoid"
        explained_class = classifier.labels[target]
        stem = f"{clip_id}_{file_name(explained_class)}" if has_tags else clip_id
        panels = {}
        for name, wav, magnitude, logit in zip(
            names, sounds.cpu(), magnitudes, logits, strict=True
        ):
            save_audio(folder / f"{stem}_{name}.wav", wav, sample_rate, BITS)
            p = float(classifier.probabilities(logit[row].detach())[target])
            panels[f"{name}, p = {p:.2f}"] = magnitude
        mask_image(folder / f"{stem}_mask.png", _mask(explained, row))
        if explained.sources is not None:
            target_wav = explained.sources.target[row].float().cpu()
            save_audio(folder / f"{stem}_target.wav", target_wav, sample_rate, BITS)
            magnitude = explained.sources.target_magnitude[row].cpu().numpy()
            panels["true target"] = magnitude
        for name, wav in parts(explained, row).items() if parts else ():
            save_audio(folder / f"{stem}_{name}.wav", wav, sample_rate, BITS)
        spectrogram_figure(
            folder / f"{stem}.png",
            panels,
            sample_rate,
            sounds.shape[-1] / sample_rate,
            f"{clip_id}: {label_name(class_names, label)}, "
            f"{_reason(logits[0][row], target)} {explained_class}",
        )


def _mask(explained: ExplainedBatch, row: int) -> np.ndarray:
    """Return the mask of the STFT of an entry, (frames, bins), in [0, 1]."""
    mixture, explanation = explained.features.magnitude, explained.explanation
    if explanation.mask.shape == mixture.shape:
        mask = explanation.mask[row]
    else:
        mask = kept_gain(explanation.magnitude[row], mixture[row])
    return mask.detach().float().clamp(0, 1).cpu().numpy()


def _reason(logits: Tensor, target: int) -> str:
    """Return "decided" for the decided class, "explained:" for any other class."""
    return "decided" if int(logits.argmax()) == target else "explained:"
