"""From clips to a table: mixtures -> decision -> explanation -> scores.

The Brain's validation and ``eval_faithfulness.py`` run this same code. A batch costs
one STFT and one classifier pass for the mixtures, shared by all methods, then for
each method one pass of the interpreter and one classifier pass for what it keeps and
removes; every metric reads that one Explanation. The curves at equal size take one
classifier pass more, for the interpretation cut to each size.
"""

from dataclasses import dataclass, replace

import torch
from speechbrain.utils.autocast import AMPConfig, TorchAutocast
from torch import Tensor
from tqdm import tqdm

from lmac_td.contracts import Decision, ExplainedBatch, Sources
from lmac_td.data.mixing import has_interference, make_mixtures
from lmac_td.evaluation.columns import AS_AUDIO
from lmac_td.features import Features
from lmac_td.metrics import settle_ties
from lmac_td.metrics.confidence import of_class
from lmac_td.metrics.curves import SIZES, top_bins_at
from lmac_td.metrics.signal import kept_gain
from lmac_td.targets import TargetChoice


@dataclass(frozen=True)
class DecidedBatch:
    """N entries to be explained: clips, or clips and tags.

    Attributes
    ----------
    clip_ids : list of str
    labels : Tensor (N,), int64
        The data set's classes; nothing is measured by them.
    wavs : Tensor (N, T)
        The mixtures.
    features : Features
    decision : Decision
    sources : Sources or None
        What the mixtures are made of.
    n_samples : Tensor (N,), int64, or None
        Samples of each clip before padding, which does not count in its scores.
    """

    clip_ids: list
    labels: Tensor
    wavs: Tensor
    features: Features
    decision: Decision
    sources: Sources | None = None
    n_samples: Tensor | None = None

    def __len__(self):
        return len(self.clip_ids)

    def select(self, rows, decision=None):
        """Some entries, in their order; rows (N,) may repeat.

        Arguments
        ---------
        rows : Tensor (N,), int64
        decision : Decision, optional
            Of the entries that are selected, if it is known already.

        Returns
        -------
        DecidedBatch
        """
        sources = self.sources
        return DecidedBatch(
            [self.clip_ids[row] for row in rows.tolist()],
            self.labels[rows.to(self.labels.device)],
            self.wavs[rows],
            self.features.select(rows),
            self.decision.select(rows) if decision is None else decision,
            sources and Sources(*(part[rows] for part in vars(sources).values())),
            self.n_samples[rows.to(self.n_samples.device)]
            if self.n_samples is not None
            else None,
        )

    def split(self, size):
        """Batches of at most ``size`` entries."""
        if len(self) <= size:
            return [self]
        rows = torch.arange(len(self), device=self.wavs.device)
        return [self.select(part) for part in rows.split(size)]


def decide(wavs, spectral_features, classifier):
    """Analyse mixtures and let the frozen classifier decide, without gradients.

    Arguments
    ---------
    wavs : Tensor (B, T)
    spectral_features : SpectralFeatures
    classifier : Classifier

    Returns
    -------
    Features, Decision
    """
    with torch.no_grad():
        features = spectral_features(wavs)
        inputs = classifier.inputs_of(wavs, features.magnitude)
        return features, classifier(inputs)


def decide_batch(batch, mixture, spectral_features, classifier, with_sources=True):
    """Analyse a loader's batch and let the classifier decide -> DecidedBatch.

    Arguments
    ---------
    batch : PaddedBatch
        With ``id`` and ``class_index``.
    mixture : MixedBatch
        Of the batch, see :func:`lmac_td.data.mixing.make_mixtures`.
    spectral_features : SpectralFeatures
    classifier : Classifier
    with_sources : bool
        Whether what the mixtures are made of is analysed, too.
    """
    features, decision = decide(mixture.mixture, spectral_features, classifier)
    sources = None
    if with_sources:
        sources = analyse_sources(
            mixture.target, mixture.interference, spectral_features
        )
    labels = torch.as_tensor(batch.class_index)
    return DecidedBatch(
        list(batch.id),
        labels,
        mixture.mixture,
        features,
        decision,
        sources,
        mixture.n_samples,
    )


def choose_targets(decided, targets, at_least_one=False):
    """One entry a clip, or one a clip and tag.

    Arguments
    ---------
    decided : DecidedBatch
        One entry a clip.
    targets : TargetChoice
    at_least_one : bool
        See :meth:`TargetChoice.choose`.

    Returns
    -------
    DecidedBatch
    without_target : list of str
        Ids of the clips that have no entry: none of their tags reaches its threshold.
    """
    entries, rows = select_targets(decided, targets, at_least_one)
    if rows is None:
        return entries, []
    with_target = set(rows.tolist())
    without = [c for i, c in enumerate(decided.clip_ids) if i not in with_target]
    return entries, without


def select_targets(decided, targets, at_least_one=False):
    """As :func:`choose_targets`, but says which clip each entry is of.

    Returns
    -------
    DecidedBatch
    rows : Tensor (N,), int64, or None
        See :meth:`TargetChoice.choose`.
    """
    rows, decision = targets.choose(decided.decision, at_least_one)
    if rows is None:
        return replace(decided, decision=decision), None
    return decided.select(rows, decision), rows


def analyse_sources(target, interference, spectral_features):
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


def explain(decided, interpreter):
    """Explain a decided batch; the logits of the explanation are not computed yet.

    Only an interpreter that ``needs_sources``, the oracle, is given the sources.

    Arguments
    ---------
    decided : DecidedBatch
    interpreter : Interpreter

    Returns
    -------
    ExplainedBatch
    """
    given = {"sources": decided.sources} if interpreter.needs_sources else {}
    explanation = interpreter(decided.wavs, decided.features, decided.decision, **given)
    return ExplainedBatch(
        decided.wavs,
        decided.features,
        decided.decision,
        explanation,
        sources=decided.sources,
    )


def answer(explained):
    """Classify what is kept and what is removed, in one pass.

    Arguments
    ---------
    explained : ExplainedBatch

    Returns
    -------
    ExplainedBatch
        With ``kept_logits`` and ``removed_logits``.
    """
    explanation = explained.explanation
    kept, removed = explained.classifier.classify(
        explanation.kept_input, explanation.removed_input
    )
    return replace(explained, kept_logits=kept, removed_logits=removed)


def as_audio(explained, spectral_features):
    """The same explanation, but the classifier is given its sounds.

    Arguments
    ---------
    explained : ExplainedBatch
    spectral_features : SpectralFeatures

    Returns
    -------
    ExplainedBatch
        With the classifier's answers.
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


def has_stft_mask(explained):
    """Whether the method masks the STFT itself."""
    return explained.explanation.mask.shape == explained.features.magnitude.shape


def stft_mask(explained):
    """The method's mask on the STFT.

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


def masked_inputs(explained, masks, spectral_features):
    """What the classifier is given when the mixture's STFT is masked.

    Arguments
    ---------
    explained : ExplainedBatch
    masks : sequence of Tensor (B, frames, bins)
    spectral_features : SpectralFeatures

    Returns
    -------
    list of Tensor (B, ...)
        Of the masked magnitude where the classifier takes spectrograms, else of the
        sound of the masked STFT.
    """
    features, classifier = explained.features, explained.classifier
    if classifier.takes_spectrograms:
        return [classifier.inputs_of(magnitude=features.magnitude * m) for m in masks]
    n_samples = explained.wavs.shape[-1]
    return [
        classifier.inputs_of(spectral_features.istft(features.stft * m, n_samples))
        for m in masks
    ]


def at_equal_size(explained, spectral_features, sizes=SIZES):
    """What the target's probability is when explanations are cut to equal sizes.

    An explanation is cut to its top bins: those in which most energy of the
    interpretation lies, |STFT(i)| = gain . |X|, until they hold a share of the
    mixture's energy. These are then kept, or removed, whole. The classifier is given
    the masked spectrogram, or its sound, for every method. (By the gain alone,
    quiet bins would come first where a mask keeps silence: thousands of them for next
    to no energy.)

    Arguments
    ---------
    explained : ExplainedBatch
    spectral_features : SpectralFeatures
    sizes : sequence of float
        Shares of the mixture's energy.

    Returns
    -------
    dict of str to Tensor (B, n_sizes)
        ``p_kept`` and ``p_removed``: probabilities of the target.
    """
    magnitude, target = explained.features.magnitude, explained.decision.target
    tops = top_bins_at(explained.explanation.attribution, magnitude, sizes)
    masks = [part for top in tops for part in (top, ~top)]
    inputs = masked_inputs(explained, masks, spectral_features)
    p = [
        of_class(explained.classifier.probabilities(logits), target)
        for logits in explained.classifier.classify(*inputs)
    ]
    return {
        "p_kept": torch.stack(p[0::2], dim=1),
        "p_removed": torch.stack(p[1::2], dim=1),
    }


def score(table, condition, method, decided, explained, equal_size=None):
    """Add one method's scores on one batch to the table.

    Arguments
    ---------
    table : FaithfulnessTable
    condition, method : str
        The row.
    decided : DecidedBatch
    explained : ExplainedBatch
        With the classifier's answers; with ``sources``, it is scored against them, too.
    equal_size : dict, optional
        Of :func:`at_equal_size`.
    """
    classifier = explained.classifier
    p_x = explained.decision.probabilities
    p_in = settle_ties(p_x, classifier.probabilities(explained.kept_logits))
    p_out = classifier.probabilities(explained.removed_logits)
    truth = {}
    if explained.sources is not None:
        truth = {
            "magnitude": explained.features.magnitude,
            "target": explained.sources.target,
            "target_mag": explained.sources.target_magnitude,
            "other_mag": explained.sources.interference_magnitude,
        }
    explanation = explained.explanation
    table.add(
        condition=condition,
        method=method,
        clip_ids=decided.clip_ids,
        labels=decided.labels,
        explained=explained.decision.target,
        threshold=None if classifier.activation == "softmax" else classifier.threshold,
        p_x=p_x,
        p_in=p_in,
        p_out=p_out,
        wavs=explained.wavs,
        n_samples=decided.n_samples,
        interpretation=explanation.interpretation,
        residual=explanation.residual,
        attribution=explanation.attribution,
        mask=explanation.mask if has_stft_mask(explained) else None,
        **truth,
        **(equal_size or {}),
    )


def rows_of(interpreters):
    """Names of the rows that :func:`evaluate` adds for interpreters, by name."""
    rows = []
    for method, interpreter in interpreters.items():
        rows.append(method)
        if interpreter.classifier_input != "audio":
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
    on_batch=None,
    progress=True,
    precision="fp32",
    targets=None,
):
    """Score several methods on the same mixtures.

    Arguments
    ---------
    table : FaithfulnessTable
        Receives a row a method, and one more, "as audio", for a method that gives the
        classifier masked spectrograms.
    condition : str
        Name of the mixtures.
    interpreters : dict of str to Interpreter
        By the name they carry in the table.
    loader : DataLoader
        Of a dataset of :func:`lmac_td.data.datasets.make_dataset`.
    spectral_features : SpectralFeatures
    classifier : Classifier
    device : str
    on_batch : callable, optional
        Called with (condition, method, decided, explained) after each, to keep samples.
    progress : bool
        Show a progress bar.
    precision : str
        ``fp32``, ``bf16`` or ``fp16``: what the interpreters are computed in. The
        classifier measures in float32 all the same: half precision tells two answers
        apart at two or three digits, and AI asks which of them is the larger.
    targets : TargetChoice, optional
        What is explained of each clip; ``auto`` by default.
    """
    targets = targets or TargetChoice()
    autocast = TorchAutocast(
        device_type=torch.device(device).type,
        dtype=AMPConfig.from_name(precision).dtype,
    )
    for batch in tqdm(loader, desc=condition, disable=not progress, dynamic_ncols=True):
        mixture = make_mixtures(batch, device)
        decided = decide_batch(batch, mixture, spectral_features, classifier)
        decided, without_target = choose_targets(decided, targets)
        table.add_without_target(condition, without_target)
        # Of a clip alone everything is target: there is nothing to tell it from.
        mixed = has_interference(batch)
        for part in decided.split(len(batch.id)) if len(decided) else ():
            for method, interpreter in interpreters.items():
                with autocast:
                    explained = explain(part, interpreter)
                explained = answer(explained)
                if not mixed:
                    explained = replace(explained, sources=None)
                equal_size = at_equal_size(explained, spectral_features)
                score(table, condition, method, part, explained, equal_size)
                if on_batch is not None:
                    on_batch(condition, method, part, explained)
                if interpreter.classifier_input != "audio":
                    sounds = as_audio(explained, spectral_features)
                    row = method + AS_AUDIO
                    score(table, condition, row, part, sounds, equal_size)
