"""Reference rows of every table: identity, zeros, half gain, random mask and oracle.

They do not explain anything; they show how the metrics behave. Keeping everything has
Fid-In 1, AD 0 and about the highest FF. Keeping nothing, or a random mask, gives the
opposite. Half the gain shows the effect of level alone on a classifier that depends on
level. The oracle uses the sources of the mixture and shows what a perfect separator
reaches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmac_td.contracts import Decision, Explanation, Sources
from lmac_td.features import Features, SpectralFeatures
from lmac_td.interpreters.base import Interpreter


class Identity(Interpreter):
    """Keep everything; the classifier takes exactly its own inputs again."""

    does = "keeps everything, for comparison"

    def forward(
        self, wavs: Tensor, features: Features, decision: Decision
    ) -> Explanation:
        """See :class:`Interpreter`; ``mask`` is all ones, (B, frames, bins)."""
        silence = torch.zeros_like(wavs)
        return Explanation(
            interpretation=wavs,
            residual=silence,
            kept_input=decision.inputs,
            removed_input=decision.classifier.inputs_of(
                silence, magnitude=torch.zeros_like(features.magnitude)
            ),
            magnitude=features.magnitude,
            mask=torch.ones_like(features.magnitude),
        )


class Zeros(Interpreter):
    """Keep nothing."""

    does = "keeps nothing, for comparison"

    def forward(
        self, wavs: Tensor, features: Features, decision: Decision
    ) -> Explanation:
        """See :class:`Interpreter`; ``mask`` is all zeros, (B, frames, bins)."""
        silence = torch.zeros_like(wavs)
        return Explanation(
            interpretation=silence,
            residual=wavs,
            kept_input=decision.classifier.inputs_of(
                silence, magnitude=torch.zeros_like(features.magnitude)
            ),
            removed_input=decision.inputs,
            magnitude=torch.zeros_like(features.magnitude),
            mask=torch.zeros_like(features.magnitude),
        )


class HalfGain(Interpreter):
    """Keep everything at half the amplitude (-6.02 dB)."""

    does = "keeps everything at half the amplitude, for comparison"

    def forward(
        self, wavs: Tensor, features: Features, decision: Decision
    ) -> Explanation:
        """See :class:`Interpreter`; ``mask`` is 0.5 everywhere, (B, frames, bins)."""
        half = torch.full_like(features.magnitude, 0.5)
        return self.explain_audio(0.5 * wavs, 0.5 * wavs, half, decision)


class RandomMask(Interpreter):
    """Mask the STFT by uniform noise.

    The noise is the same for every clip, so an explanation depends neither on its batch
    nor on the order of the clips.

    Arguments
    ---------
    features : SpectralFeatures
    seed : int
        Seed of the noise.
    """

    does = "keeps parts at random, for comparison"

    def __init__(self, features: SpectralFeatures, seed: int = 0) -> None:
        super().__init__(features)
        self.seed = seed

    def forward(
        self, wavs: Tensor, features: Features, decision: Decision
    ) -> Explanation:
        """See :class:`Interpreter`; ``mask`` is uniform noise, (B, frames, bins)."""
        generator = torch.Generator().manual_seed(self.seed)
        mask = torch.rand(features.magnitude.shape[1:], generator=generator)
        mask = mask.to(wavs.device).expand_as(features.magnitude)
        return self.explain_mask(mask, wavs, features, decision)


class Oracle(Interpreter):
    """Keep the target by the ideal ratio mask of the true sources.

    M = (S^2 / (S^2 + N^2))^beta with beta = 1/2 (Wang, Narayanan, Wang, *On Training
    Targets for Supervised Speech Separation*, 2014, eq. 2), where S and N are the
    magnitudes of target and interference. M is 1 where N = 0, so nothing is removed
    from a clean clip.
    """

    does = "knows the true sources and keeps the target, for comparison"
    needs_sources = True

    def forward(
        self, wavs: Tensor, features: Features, decision: Decision, sources: Sources
    ) -> Explanation:
        """See :class:`Interpreter`; ``mask`` is the ratio mask, (B, frames, bins).

        Arguments
        ---------
        wavs : Tensor (B, T)
        features : Features
        decision : Decision
        sources : Sources
            The sources of ``wavs``.
        """
        target, interference = sources.target_magnitude, sources.interference_magnitude
        mask = target / torch.hypot(target, interference)
        mask = mask.where(interference > 0, 1.0)
        return self.explain_mask(mask, wavs, features, decision)


# By the names of their rows.
REFERENCES = {
    "identity": Identity,
    "zeros": Zeros,
    "random mask": RandomMask,
    "half gain": HalfGain,
    "oracle": Oracle,
}


def reference_interpreters(features: SpectralFeatures) -> dict[str, Interpreter]:
    """Build the reference rows of every table, by the names of the rows."""
    return {name: kind(features) for name, kind in REFERENCES.items()}
