"""From clips to a table: mixtures -> decision -> explanation -> scores.

The Brain's validation and ``eval_faithfulness.py`` run this same code. A batch costs
one STFT and one classifier pass for the mixtures, shared by all methods, then for
each method one pass of the interpreter and one classifier pass for what it keeps and
removes; every metric reads that one Explanation. The curves at equal size take one
classifier pass more, for the interpretation cut to each size.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from speechbrain.utils.autocast import AMPConfig, TorchAutocast
from torch import Tensor
from tqdm import tqdm

from lmac_td.classifier import Decision, FrozenClassifier
from lmac_td.data.mixing import is_mixed, mixtures_of
from lmac_td.features import Features
from lmac_td.interpreters.base import Explanation, Sources
from lmac_td.metrics import settle_ties
from lmac_td.metrics.columns import AS_AUDIO
from lmac_td.metrics.curves import SIZES, top_bins_at
from lmac_td.metrics.faithfulness import of_class
from lmac_td.metrics.signal import kept_gain


@dataclass(frozen=True)
class Heard:
    """One method's explanation of a batch, and the classifier's answers to it.

    Attributes
    ----------
    wavs : Tensor (B, T), the mixtures
    features : Features of the mixtures
    decision : Decision on the mixtures
    explanation : Explanation
    classifier : FrozenClassifier
    sources : Sources, optional
        What the mixtures are made of, to measure by; None where it is not asked for.
    """

    wavs: Tensor
    features: Features
    decision: Decision
    explanation: Explanation
    classifier: FrozenClassifier
    sources: Sources | None = None

    @cached_property
    def _answers(self):
        # Not before somebody asks: L2I is trained without these two passes.
        return self.classifier.classify(
            self.explanation.heard_in, self.explanation.heard_out
        )

    @property
    def logits_in(self):
        """(B, C), for what is kept."""
        return self._answers[0]

    @property
    def logits_out(self):
        """(B, C), for what is removed."""
        return self._answers[1]


def decide(wavs, spectral_features, classifier):
    """Analyse mixtures and let the frozen classifier decide, without gradients.

    Arguments
    ---------
    wavs : Tensor (B, T)
    spectral_features : SpectralFeatures
    classifier : FrozenClassifier

    Returns
    -------
    Features, Decision
    """
    with torch.no_grad():
        features = spectral_features(wavs)
        return features, classifier(features.log_mel)


def take_apart(target, interference, spectral_features):
    """Analyse what mixtures are made of, without gradients.

    Arguments
    ---------
    target, interference : Tensor (B, T)
        As they stand in the mixtures.
    spectral_features : SpectralFeatures

    Returns
    -------
    Sources
    """
    with torch.no_grad():
        both = spectral_features.stft(torch.cat([target, interference])).abs()
    return Sources(target, interference, *both.chunk(2))


def explain(wavs, features, decision, interpreter, classifier, sources=None):
    """Explain decided mixtures -> Heard.

    Only an interpreter that ``needs_sources``, the oracle, is shown the sources.
    """
    shown = {"sources": sources} if interpreter.needs_sources else {}
    explanation = interpreter(wavs, features, decision, **shown)
    return Heard(wavs, features, decision, explanation, classifier, sources)


def as_audio(heard, spectral_features):
    """The same explanation, but the classifier is given its sounds -> Heard."""
    explanation = heard.explanation
    # What is kept is analysed already: its spectrum is the attribution.
    heard_in = spectral_features.log_mel(explanation.attribution.expm1())
    heard_out = spectral_features(explanation.residual).log_mel
    return replace(
        heard,
        explanation=replace(explanation, heard_in=heard_in, heard_out=heard_out),
    )


def has_stft_mask(heard):
    """Whether the method masks the STFT itself."""
    return heard.explanation.mask.shape == heard.features.magnitude.shape


def on_the_stft(heard):
    """The method's mask on the STFT, (B, frames, bins).

    Its own where it has one; |STFT(i)| / |X|, at most 1, where its mask lives elsewhere
    (in LMAC-TD's latent, on mel bands).
    """
    if has_stft_mask(heard):
        return heard.explanation.mask
    return kept_gain(heard.explanation.attribution.expm1(), heard.features.magnitude)


def at_equal_size(heard, spectral_features, sizes=SIZES):
    """What the decided class is given when explanations are cut to equal sizes.

    An explanation is cut to its top bins: those in which most energy of the
    interpretation lies, |STFT(i)| = gain . |X|, until they hold a share of the
    mixture's energy. These are then kept, or removed, whole. The classifier is given
    the masked spectrogram, for every method. (By the gain alone, quiet bins would come
    first where a mask keeps silence: thousands of them for next to no energy.)

    Arguments
    ---------
    heard : Heard
    spectral_features : SpectralFeatures
    sizes : sequence of float
        Shares of the mixture's energy.

    Returns
    -------
    dict of str to Tensor (B, n_sizes)
        ``p_kept`` and ``p_removed``: probabilities of the decided class.
    """
    magnitude, decided = heard.features.magnitude, heard.decision.predicted
    tops = top_bins_at(heard.explanation.attribution, magnitude, sizes)
    log_mels = [
        spectral_features.log_mel(magnitude * part)
        for top in tops
        for part in (top, ~top)
    ]
    p = [
        of_class(logits.float().softmax(dim=-1), decided)
        for logits in heard.classifier.classify(*log_mels)
    ]
    return {
        "p_kept": torch.stack(p[0::2], dim=1),
        "p_removed": torch.stack(p[1::2], dim=1),
    }


def score(table, condition, method, batch, heard, equal_size=None):
    """Add one method's scores on one batch to the table.

    Arguments
    ---------
    table : FaithfulnessTable
    condition, method : str
        The row.
    batch : PaddedBatch
        With ``id`` and ``class_index``.
    heard : Heard
        With ``sources``, it is scored against them, too.
    equal_size : dict, optional
        Of :func:`at_equal_size`.
    """
    p_x = heard.decision.probabilities
    p_in = settle_ties(p_x, heard.logits_in.float().softmax(dim=-1))
    p_out = heard.logits_out.float().softmax(dim=-1)
    truth = {}
    if heard.sources is not None:
        truth = {
            "magnitude": heard.features.magnitude,
            "target": heard.sources.target,
            "target_mag": heard.sources.target_magnitude,
            "other_mag": heard.sources.interference_magnitude,
        }
    table.add(
        condition=condition,
        method=method,
        clip_ids=list(batch.id),
        labels=torch.as_tensor(batch.class_index),
        decided=heard.decision.predicted,
        p_x=p_x,
        p_in=p_in,
        p_out=p_out,
        wavs=heard.wavs,
        n_samples=getattr(batch, "n_samples", None),
        interpretation=heard.explanation.interpretation,
        residual=heard.explanation.residual,
        attribution=heard.explanation.attribution,
        mask=heard.explanation.mask if has_stft_mask(heard) else None,
        **truth,
        **(equal_size or {}),
    )


def rows_of(interpreters):
    """Names of the rows that :func:`evaluate` adds for interpreters, by name."""
    rows = []
    for method, interpreter in interpreters.items():
        rows.append(method)
        if interpreter.heard != "audio":
            rows.append(method + AS_AUDIO)
    return rows


@torch.no_grad()
def evaluate(
    table,
    condition,
    interpreters,
    loader,
    spectral_features,
    classifier,
    device="cpu",
    on_heard=None,
    progress=True,
    precision="fp32",
):
    """Score several methods on the same mixtures.

    Arguments
    ---------
    table : FaithfulnessTable
        Receives a row a method, and one more, "as audio", for a method that lets the
        classifier hear masked spectrograms.
    condition : str
        Name of the mixtures.
    interpreters : dict of str to Interpreter
        By the name they carry in the table.
    loader : DataLoader
        Of a dataset of :func:`lmac_td.data.datasets.make_dataset`.
    spectral_features : SpectralFeatures
    classifier : FrozenClassifier
    device : str
    on_heard : callable, optional
        Called with (condition, method, batch, heard) after each, to keep samples.
    progress : bool
        Show a progress bar.
    precision : str
        ``fp32``, ``bf16`` or ``fp16``: what the interpreters are computed in. The
        classifier measures in float32 all the same: half precision tells two answers
        apart at two or three digits, and AI asks which of them is the larger.
    """
    autocast = TorchAutocast(
        device_type=torch.device(device).type,
        dtype=AMPConfig.from_name(precision).dtype,
    )
    for batch in tqdm(loader, desc=condition, disable=not progress, dynamic_ncols=True):
        wavs, target, interference, _ = mixtures_of(batch, device)
        features, decision = decide(wavs, spectral_features, classifier)
        sources = take_apart(target, interference, spectral_features)
        # Of a clip alone everything is target: there is nothing to tell it from.
        mixed = is_mixed(batch)
        for method, interpreter in interpreters.items():
            with autocast:
                heard = explain(
                    wavs, features, decision, interpreter, classifier, sources
                )
            if not mixed:
                heard = replace(heard, sources=None)
            equal_size = at_equal_size(heard, spectral_features)
            score(table, condition, method, batch, heard, equal_size)
            if on_heard is not None:
                on_heard(condition, method, batch, heard)
            if interpreter.heard != "audio":
                sounds = as_audio(heard, spectral_features)
                row = method + AS_AUDIO
                score(table, condition, row, batch, sounds, equal_size)
