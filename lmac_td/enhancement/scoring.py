"""Explain and score one mask estimator in one noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from lmac_td.enhancement.deepshap import MaskShap, repeat_to
from lmac_td.enhancement.estimator import MaskEstimator
from lmac_td.enhancement.masks import ideal_binary_mask
from lmac_td.enhancement.mixtures import NoisySpeech
from lmac_td.enhancement.recognition import Recogniser
from lmac_td.enhancement.relevance import (
    most_relevant,
    speech_frames,
    speech_relevance,
)
from lmac_td.features import Features
from lmac_td.metrics.signal import si_sdr_db

GRANULARITIES = ("time", "utterance")


@dataclass(frozen=True)
class ExplainedMixture:
    """A mixture, what a mask estimator makes of it, and why.

    Attributes
    ----------
    noisy : NoisySpeech
    features : Features
        Of the mixture; (1, frames, bins).
    speech, noise : Tensor (frames, bins)
        Magnitudes of the sources.
    inputs : Tensor (frames, bins)
        Of the estimator: the normalised magnitude.
    enhanced : Tensor (T,)
    frames : list of int
        The frames that contain speech.
    maps : Tensor (explained frames, frames, bins)
        Φ^T(n) of these frames; or Φ^U, (1, frames, bins).
    """

    noisy: NoisySpeech
    features: Features
    speech: Tensor
    noise: Tensor
    inputs: Tensor
    enhanced: Tensor
    frames: list[int]
    maps: Tensor


def explain_mixture(
    shap: MaskShap, noisy: NoisySpeech, granularity: str = "time"
) -> ExplainedMixture:
    """Enhance a mixture and explain the mask.

    Arguments
    ---------
    shap : MaskShap
    noisy : NoisySpeech
    granularity : str
        ``time`` or ``utterance``.

    Returns
    -------
    ExplainedMixture
    """
    estimator = shap.estimator
    with torch.no_grad():
        features, speech, noise = (
            estimator.features(wav[None])
            for wav in (noisy.mixture, noisy.speech, noisy.noise)
        )
        inputs = estimator.inputs_of(features.magnitude)[0]
    frames = speech_frames(speech.magnitude[0])
    if granularity == "time":
        maps = shap.time(inputs, frames)
    else:
        maps = shap.utterance(inputs)[None]
    return ExplainedMixture(
        noisy,
        features,
        speech.magnitude[0],
        noise.magnitude[0],
        inputs,
        estimator.enhance(noisy.mixture[None])[0],
        frames,
        maps,
    )


def background_of(estimator: MaskEstimator, mixtures: Sequence[NoisySpeech]) -> Tensor:
    """Compute the inputs of background mixtures, at the length of the longest.

    Shorter ones are repeated.

    Returns
    -------
    Tensor (K, frames, bins)
    """
    with torch.no_grad():
        inputs = [
            estimator.inputs_of(estimator.features(noisy.mixture[None]).magnitude)
            for noisy in mixtures
        ]
    longest = max(part.shape[1] for part in inputs)
    return torch.cat([repeat_to(part, longest) for part in inputs])


def relevant_part(
    explained: ExplainedMixture, estimator: MaskEstimator, percentile: float
) -> tuple[Tensor, Tensor]:
    """Return the sound of the bins that mattered, and the sound of all others.

    Arguments
    ---------
    explained : ExplainedMixture
    estimator : MaskEstimator
    percentile : float
        A bin mattered if it is above this percentile of at least one map.

    Returns
    -------
    relevant, other : Tensor (T,)
        Their sum is the mixture.
    """
    stft, n_samples = explained.features.stft, len(explained.noisy.mixture)
    mattered = most_relevant(explained.maps, percentile) > 0
    return tuple(
        estimator.features.istft(stft * part, n_samples)[0]
        for part in (mattered, ~mattered)
    )


def score_mixtures(
    shap: MaskShap,
    mixtures: Iterable[NoisySpeech],
    percentiles: Sequence[float],
    granularity: str = "time",
    recogniser: Recogniser | None = None,
    on_explained: Callable[[int, ExplainedMixture], None] | None = None,
) -> Iterator[dict]:
    """Explain mixtures one by one and score them.

    Arguments
    ---------
    shap : MaskShap
    mixtures : iterable of NoisySpeech
    percentiles : sequence of float
        T of the speech relevance score.
    granularity : str
        ``time`` or ``utterance``.
    recogniser : Recogniser, optional
        Counts word errors before and after the enhancement.
    on_explained : callable, optional
        Called with the number of the mixture and its explanation.

    Yields
    ------
    dict
        ``mixture``, ``utterance``, ``snr_db``, ``eta (T)`` for each T, in percent,
        ``IBM (%)``, the share of bins in which the speech is louder, which is the score
        of a random map, ``SI-SDR (dB)`` of the mixture and ``SI-SDRi (dB)``; with a
        recogniser ``words``, ``errors (mixture)`` and ``errors (enhanced)``.
    """
    mixtures = list(mixtures)
    bar = tqdm(mixtures, desc="explaining", unit="mixture", dynamic_ncols=True)
    for number, noisy in enumerate(bar):
        explained = explain_mixture(shap, noisy, granularity)
        etas = speech_relevance(
            explained.maps, explained.speech, explained.noise, percentiles
        )
        is_speech = ideal_binary_mask(explained.speech, explained.noise)
        before, after = (
            float(si_sdr_db(wav[None], noisy.speech[None]))
            for wav in (noisy.mixture, explained.enhanced)
        )
        row = {
            "mixture": noisy.name,
            "utterance": noisy.utterance,
            "snr_db": noisy.snr_db,
            **{
                eta_column(t): 100 * eta
                for t, eta in zip(percentiles, etas, strict=True)
            },
            "IBM (%)": 100 * float(is_speech.float().mean()),
            "SI-SDR (dB)": before,
            "SI-SDRi (dB)": after - before,
        }
        if recogniser is not None:
            row |= recogniser.errors(
                noisy.transcript, noisy.mixture, explained.enhanced
            )
        if on_explained is not None:
            on_explained(number, explained)
        yield row


def eta_column(percentile: float) -> str:
    """Return the name of a column of the speech relevance score.

    Example
    -------
    >>> eta_column(99.0)
    'eta (99)'
    """
    return f"eta ({percentile:g})"
