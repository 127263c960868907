"""Explanations on disk: input, interpretation and residual as wav, and one figure."""

from pathlib import Path

import torch

from lmac_td.audio import save_audio
from lmac_td.report.figures import spectrogram_figure


def save_samples(
    folder, batch, heard, spectral_features, class_names, clip_ids, parts=None
):
    """Save some clips of an explained batch.

    Each gives ``<clip>_input.wav``, ``<clip>_interpretation.wav``,
    ``<clip>_residual.wav`` and ``<clip>.png``, whose panels also tell the probability
    of the decided class. The three sounds keep their common scale, so that
    input = interpretation + residual holds on disk too, where the method is complete.

    Arguments
    ---------
    folder : str or Path
    batch : PaddedBatch
        With ``id`` and ``class_index``.
    heard : Heard
    spectral_features : SpectralFeatures
    class_names : list of str
        Of the data set. Those of a classifier with another number of classes are
        numbered in the figures.
    clip_ids : collection of str
        Those to save; the others of the batch are passed over.
    parts : callable, optional
        See :meth:`lmac_td.interpreters.base.Interpreter.parts`; each part is saved as
        ``<clip>_<name>.wav``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sample_rate = spectral_features.sample_rate
    decided = heard.decision.predicted.tolist()
    n_classes = heard.decision.logits.shape[-1]
    decided_names = class_names
    if n_classes != len(class_names):
        decided_names = [f"class {i}" for i in range(n_classes)]
    clips = zip(batch.id, batch.class_index, decided, strict=True)
    for row, (clip_id, label, choice) in enumerate(clips):
        if clip_id not in clip_ids:
            continue
        names = ("input", "interpretation", "residual")
        explanation = heard.explanation
        wavs = (heard.wavs, explanation.interpretation, explanation.residual)
        sounds = torch.stack([wav[row].detach().float() for wav in wavs])
        magnitudes = spectral_features(sounds).magnitude.cpu().numpy()
        logits = (heard.decision.logits, heard.logits_in, heard.logits_out)
        panels = {}
        for name, wav, magnitude, logit in zip(
            names, sounds.cpu(), magnitudes, logits, strict=True
        ):
            save_audio(folder / f"{clip_id}_{name}.wav", wav, sample_rate)
            confidence = float(logit[row].detach().float().softmax(dim=-1)[choice])
            panels[f"{name}, p = {confidence:.2f}"] = magnitude
        for name, wav in parts(heard, row).items() if parts else ():
            save_audio(folder / f"{clip_id}_{name}.wav", wav, sample_rate)
        spectrogram_figure(
            folder / f"{clip_id}.png",
            panels,
            sample_rate,
            sounds.shape[-1] / sample_rate,
            f"{clip_id}: {class_names[int(label)]}, decided {decided_names[choice]}",
        )
