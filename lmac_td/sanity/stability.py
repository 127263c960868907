"""Explain the same clips with noise below the masking threshold: how far do maps move?

Explanations can change while neither the sound nor the decision does (Ghorbani et al.,
"Interpretation of neural networks is fragile", https://arxiv.org/abs/1710.10547). Here
the change is noise below the masking threshold of the clip. It is random, not chosen
to move a map, so a map may be more fragile than these values say.

A clip counts only if the classifier decides with the noise as it did without.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lmac_td.contracts import Classifier
from lmac_td.evaluation.batches import DecidedBatch, decide
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.base import Interpreter
from lmac_td.random import seeded_generator
from lmac_td.sanity.comparison import MapComparison, decide_batches, with_target
from lmac_td.sanity.inaudible_noise import inaudible_noise

UNCHANGED = "decision unchanged"
SNR = "SNR (dB)"


class Stability(MapComparison):
    """Explains clips as they are, then with inaudible noise.

    Arguments
    ---------
    interpreters : dict of str to Interpreter
    batches : sequence of PaddedBatch
        Batches for :func:`~lmac_td.data.mixing.make_mixtures`; two clips or more.
    features : SpectralFeatures
    classifier : Classifier
    device : str
    seed : int
        Seed of the noise; each clip has its own.

    Attributes
    ----------
    scores : ScoreFrame
        The similarities of ``MEASURES``, ``decision unchanged`` (0 or 1) and ``SNR
        (dB)``, of the clip to the noise, by method and level. The condition of a row is
        its level (see :func:`name_of_level`), ``ANOTHER_CLIP`` or ``RANDOM_MASK``.
    """

    def __init__(
        self,
        interpreters: Mapping[str, Interpreter],
        batches: Sequence,
        features: SpectralFeatures,
        classifier: Classifier,
        device: str = "cpu",
        seed: int = 0,
    ):
        self.features, self.classifier = features, classifier
        super().__init__(
            interpreters, decide_batches(batches, features, classifier, device)
        )
        self.noise = [self._noise(batch, seed) for batch in self.decided]
        nothing = [float("nan")] * len(self.clip_ids)
        self.score_references(features, {UNCHANGED: nothing, SNR: nothing})

    def _noise(self, batch: DecidedBatch, seed: int) -> Tensor:
        rate = self.features.sample_rate
        noise = [
            inaudible_noise(wav, rate, seeded_generator(clip_id, "stability", seed))
            for clip_id, wav in zip(batch.clip_ids, batch.wavs, strict=True)
        ]
        return torch.stack(noise).to(batch.wavs.device)

    def add(self, level_db: float) -> None:
        """Explain the clips with noise, and compare.

        Arguments
        ---------
        level_db : float
            Level of the noise relative to the masking threshold: at 0 dB the noise is
            as loud as it may be, see
            :func:`~lmac_td.sanity.inaudible_noise.inaudible_noise`.
        """
        gain = 10 ** (level_db / 20)
        decided, unchanged, snr_db = [], [], []
        for intact, noise in zip(self.decided, self.noise, strict=True):
            wavs = intact.wavs + gain * noise
            features, decision = decide(wavs, self.features, self.classifier)
            unchanged.append(decision.target == intact.decision.target)
            ratio = intact.wavs.square().sum(1) / (gain * noise).square().sum(1)
            snr_db += (10 * ratio.log10()).tolist()
            noisy = replace(intact, wavs=wavs, features=features)
            decided.append(with_target(noisy, decision, intact))
        counts = torch.cat(unchanged).cpu()
        columns = {UNCHANGED: counts.double().tolist(), SNR: snr_db}
        self.score(name_of_level(level_db), decided, columns, counts)


def name_of_level(level_db: float) -> str:
    """Return the name of a level's rows.

    Example
    -------
    >>> name_of_level(-10.0)
    '-10 dB'
    """
    return f"{level_db:g} dB"
