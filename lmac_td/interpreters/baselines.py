"""Explanations that explain nothing: the rows that every table must be read against.

Keeping everything has Fid-In 1, AD 0 and about the highest FF; keeping nothing and
keeping at random show where the other end is; half the gain shows what level alone
does to a classifier that depends on level. The oracle, which is given the sources of
the mixture, is the mark that a perfect separator would reach.
"""

import torch

from lmac_td.contracts import Explanation
from lmac_td.interpreters.base import Interpreter


class Identity(Interpreter):
    """Keep everything; the classifier is given its very own input again."""

    def forward(self, wavs, features, decision):
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

    def forward(self, wavs, features, decision):
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

    def forward(self, wavs, features, decision):
        """See :class:`Interpreter`; ``mask`` is 0.5 everywhere, (B, frames, bins)."""
        half = torch.full_like(features.magnitude, 0.5)
        return self.explain_audio(0.5 * wavs, 0.5 * wavs, half, decision)


class RandomMask(Interpreter):
    """Mask the STFT by uniform noise, the same noise for every clip.

    One draw for all clips, so that a clip's explanation depends neither on its batch
    nor on the order of the clips.

    Arguments
    ---------
    features : SpectralFeatures
    seed : int
        Of the draw.
    """

    def __init__(self, features, seed=0):
        super().__init__(features)
        self.seed = seed

    def forward(self, wavs, features, decision):
        """See :class:`Interpreter`; ``mask`` is uniform noise, (B, frames, bins)."""
        generator = torch.Generator().manual_seed(self.seed)
        mask = torch.rand(features.magnitude.shape[1:], generator=generator)
        mask = mask.to(wavs.device).expand_as(features.magnitude)
        return self.explain_mask(mask, wavs, features, decision)


class Oracle(Interpreter):
    """Keep the target: the ideal ratio mask of the true sources.

    M = (S^2 / (S^2 + N^2))^beta with beta = 1/2 (Wang, Narayanan, Wang, *On Training
    Targets for Supervised Speech Separation*, 2014, eq. 2), of the magnitudes S of
    the target and N of the interference. Nothing is removed where N = 0, so of a
    clean clip, M is 1 everywhere.
    """

    needs_sources = True

    def forward(self, wavs, features, decision, sources):
        """See :class:`Interpreter`; ``mask`` is the ratio mask, (B, frames, bins).

        Arguments
        ---------
        wavs : Tensor (B, T)
        features : Features
        decision : Decision
        sources : Sources
            Of ``wavs``.
        """
        target, interference = sources.target_magnitude, sources.interference_magnitude
        mask = target / torch.hypot(target, interference)
        mask = mask.where(interference > 0, 1.0)
        return self.explain_mask(mask, wavs, features, decision)


def reference_interpreters(features):
    """The rows that stand beside every method, by the name they carry in the table."""
    return {
        "identity": Identity(features),
        "zeros": Zeros(features),
        "random mask": RandomMask(features),
        "half gain": HalfGain(features),
        "oracle": Oracle(features),
    }
