"""From clips to a table: mixtures -> decision -> explanation -> scores.

The Brain's validation and ``eval_faithfulness.py`` run this same code. A batch costs
one STFT and one classifier pass for the mixtures, shared by all methods, then for
each method one pass of the interpreter and one classifier pass for what it keeps and
removes; every metric reads that one Explanation.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from tqdm import tqdm

from lmac_td.classifier import Decision, FrozenClassifier
from lmac_td.features import Features
from lmac_td.interpreters.base import Explanation
from lmac_td.metrics import settle_ties


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
    """

    wavs: Tensor
    features: Features
    decision: Decision
    explanation: Explanation
    classifier: FrozenClassifier

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


def explain(wavs, features, decision, interpreter, classifier):
    """Explain decided mixtures -> Heard."""
    explanation = interpreter(wavs, features, decision)
    return Heard(wavs, features, decision, explanation, classifier)


def as_audio(heard, spectral_features):
    """The same explanation, but the classifier is given its sounds -> Heard."""
    explanation = heard.explanation
    sounds = torch.cat([explanation.interpretation, explanation.residual])
    heard_in, heard_out = spectral_features(sounds).log_mel.chunk(2)
    return replace(
        heard,
        explanation=replace(explanation, heard_in=heard_in, heard_out=heard_out),
    )


def score(table, condition, method, batch, heard):
    """Add one method's scores on one batch to the table.

    Arguments
    ---------
    table : FaithfulnessTable
    condition, method : str
        The row.
    batch : PaddedBatch
        With ``id`` and ``class_index``.
    heard : Heard
    """
    p_x = heard.decision.probabilities
    p_in = settle_ties(p_x, heard.logits_in.float().softmax(dim=-1))
    p_out = heard.logits_out.float().softmax(dim=-1)
    mask = heard.explanation.mask
    on_stft = mask.shape == heard.features.magnitude.shape
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
        interpretation=heard.explanation.interpretation,
        residual=heard.explanation.residual,
        attribution=heard.explanation.attribution,
        mask=mask if on_stft else None,
    )


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
        Batches with ``id``, ``mixture`` and ``class_index``.
    spectral_features : SpectralFeatures
    classifier : FrozenClassifier
    device : str
    on_heard : callable, optional
        Called with (condition, method, batch, heard) after each, to keep samples.
    progress : bool
        Show a progress bar.
    """
    for batch in tqdm(loader, desc=condition, disable=not progress, dynamic_ncols=True):
        wavs = batch.mixture.data.to(device)
        features, decision = decide(wavs, spectral_features, classifier)
        for method, interpreter in interpreters.items():
            heard = explain(wavs, features, decision, interpreter, classifier)
            score(table, condition, method, batch, heard)
            if on_heard is not None:
                on_heard(condition, method, batch, heard)
            if interpreter.heard != "audio":
                sounds = as_audio(heard, spectral_features)
                score(table, condition, f"{method}, as audio", batch, sounds)
