"""Decided batches: mixtures, their spectra, and what the classifier decided on them."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lmac_td.contracts import Classifier, Decision, Sources
from lmac_td.data.mixing import MixedBatch
from lmac_td.features import Features, SpectralFeatures
from lmac_td.targets import TargetChoice


@dataclass(frozen=True)
class DecidedBatch:
    """N entries to be explained: clips, or clips and tags.

    Attributes
    ----------
    clip_ids : list of str
    labels : Tensor (N,), int64
        The data set's classes. No score uses them.
    wavs : Tensor (N, T)
        The mixtures.
    features : Features
    decision : Decision
    sources : Sources or None
        The target and the interference of the mixtures.
    n_samples : Tensor (N,), int64, or None
        Samples of each clip before padding. Padding does not count in scores.
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

    def select(self, rows: Tensor, decision: Decision | None = None) -> "DecidedBatch":
        """Return some entries, in the given order; rows (N,) may repeat.

        Arguments
        ---------
        rows : Tensor (N,), int64
        decision : Decision, optional
            The decision on the selected entries, if it is known already.

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

    def split(self, size: int) -> list["DecidedBatch"]:
        """Return batches of at most ``size`` entries."""
        if len(self) <= size:
            return [self]
        rows = torch.arange(len(self), device=self.wavs.device)
        return [self.select(part) for part in rows.split(size)]


def decide_batch(
    batch,
    mixture: MixedBatch,
    spectral_features: SpectralFeatures,
    classifier: Classifier,
    with_sources: bool = True,
) -> DecidedBatch:
    """Analyse a loader's batch and let the classifier decide -> DecidedBatch.

    Arguments
    ---------
    batch : PaddedBatch
        With ``id`` and ``class_index``.
    mixture : MixedBatch
        The batch's mixtures, see :func:`lmac_td.data.mixing.make_mixtures`.
    spectral_features : SpectralFeatures
    classifier : Classifier
    with_sources : bool
        Whether the target and the interference are analysed, too.
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


def decide(
    wavs: Tensor, spectral_features: SpectralFeatures, classifier: Classifier
) -> tuple[Features, Decision]:
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


def analyse_sources(
    target: Tensor, interference: Tensor, spectral_features: SpectralFeatures
) -> Sources:
    """Analyse the target and the interference of mixtures, without gradients.

    Arguments
    ---------
    target, interference : Tensor (B, T)
        The two signals whose sum is the mixture.
    spectral_features : SpectralFeatures

    Returns
    -------
    Sources
    """
    with torch.no_grad():
        both = spectral_features.stft(torch.cat([target, interference])).abs()
    return Sources(target, interference, *both.chunk(2))


def choose_targets(
    decided: DecidedBatch, targets: TargetChoice, at_least_one: bool = False
) -> tuple[DecidedBatch, list[str]]:
    """Select what is explained: each clip once, or once for each of its tags.

    Arguments
    ---------
    decided : DecidedBatch
        One entry per clip.
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


def select_targets(
    decided: DecidedBatch, targets: TargetChoice, at_least_one: bool = False
) -> tuple[DecidedBatch, Tensor | None]:
    """Select as :func:`choose_targets` does, and return each entry's clip.

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
