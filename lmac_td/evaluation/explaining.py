"""Explain a decided batch, and classify what the explanation keeps and removes."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from lmac_td.contracts import ExplainedBatch
from lmac_td.evaluation.batches import DecidedBatch
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.base import Interpreter
from lmac_td.metrics.signal import kept_gain


def explain(
    decided: DecidedBatch, interpreter: Interpreter, call: Callable | None = None
) -> ExplainedBatch:
    """Explain a decided batch; the logits of the explanation are not computed yet.

    Only an interpreter that ``needs_sources``, the oracle, is given the sources.

    Arguments
    ---------
    decided : DecidedBatch
    interpreter : Interpreter
    call : callable, optional
        Is called in its place: a wrapper of it, for a training by several processes.

    Returns
    -------
    ExplainedBatch
    """
    call = call or interpreter
    given = {"sources": decided.sources} if interpreter.needs_sources else {}
    explanation = call(decided.wavs, decided.features, decided.decision, **given)
    return ExplainedBatch(
        decided.wavs,
        decided.features,
        decided.decision,
        explanation,
        sources=decided.sources,
        clip_ids=tuple(decided.clip_ids),
    )


def answer(explained: ExplainedBatch) -> ExplainedBatch:
    """Classify what is kept and what is removed, in one pass.

    Arguments
    ---------
    explained : ExplainedBatch

    Returns
    -------
    ExplainedBatch
        The batch with ``kept_logits`` and ``removed_logits``.
    """
    explanation = explained.explanation
    kept, removed = explained.classifier.classify(
        explanation.kept_input, explanation.removed_input
    )
    return replace(explained, kept_logits=kept, removed_logits=removed)


def with_resynthesised_sound(
    explained: ExplainedBatch, spectral_features: SpectralFeatures
) -> ExplainedBatch:
    """Explain the same, but give the classifier the resynthesised sounds.

    Arguments
    ---------
    explained : ExplainedBatch
    spectral_features : SpectralFeatures

    Returns
    -------
    ExplainedBatch
        The new batch, with the classifier's logits.
    """
    explanation, classifier = explained.explanation, explained.classifier
    residual = explanation.residual
    kept_input = classifier.inputs_of(explanation.interpretation, explanation.magnitude)
    removed_input = classifier.inputs_of(
        residual, spectral_features(residual).magnitude
    )
    return answer(
        replace(
            explained,
            explanation=replace(
                explanation, kept_input=kept_input, removed_input=removed_input
            ),
        )
    )


def stft_mask(explained: ExplainedBatch) -> Tensor:
    """Return the method's mask on the STFT.

    Arguments
    ---------
    explained : ExplainedBatch

    Returns
    -------
    Tensor (B, frames, bins)
        The method's own mask if it masks the STFT. If it masks something else
        (LMAC-TD's latent, mel bands), |STFT(i)| / |X|, at most 1.
    """
    if has_stft_mask(explained):
        return explained.explanation.mask
    return kept_gain(explained.explanation.magnitude, explained.features.magnitude)


def has_stft_mask(explained: ExplainedBatch) -> bool:
    """Return whether the method masks the STFT itself."""
    return explained.explanation.mask.shape == explained.features.magnitude.shape
