"""Batches of clips that a classifier decided on, as the evaluation makes them."""

import torch

from lmac_td.evaluation.batches import DecidedBatch, analyse_sources, decide
from lmac_td.evaluation.explaining import answer, explain


def decided_batch(wavs, spectral, classifier, sources=None):
    """Clips named a, b, c, ... of the classes 0, 1, 2, ...

    Arguments
    ---------
    wavs : Tensor (B, T)
    spectral : SpectralFeatures
    classifier : Classifier
    sources : sequence of Tensor (B, T), optional
        The target and the interference.
    """
    features, decision = decide(wavs, spectral, classifier)
    return DecidedBatch(
        [chr(ord("a") + clip) for clip in range(len(wavs))],
        torch.arange(len(wavs)),
        wavs,
        features,
        decision,
        sources and analyse_sources(*sources, spectral),
    )


def explained_batch(interpreter, decided):
    """The explanation of a decided batch, with the classifier's logits for it."""
    return answer(explain(decided, interpreter))
