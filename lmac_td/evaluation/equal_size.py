"""Cut explanations to equal sizes, so that keeping more gives no advantage."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lmac_td.contracts import ExplainedBatch
from lmac_td.features import SpectralFeatures
from lmac_td.metrics.confidence import of_class
from lmac_td.metrics.curves import SIZES, top_bins_at


def at_equal_size(
    explained: ExplainedBatch,
    spectral_features: SpectralFeatures,
    by: Sequence[str] = ("energy",),
    sizes: Sequence[float] = SIZES,
) -> dict[str, Tensor]:
    """Return the target's probability for explanations cut to equal sizes.

    An explanation is cut to its top bins: those in which most energy of the
    interpretation lies, |STFT(i)| = gain . |X|, until they hold a share of the
    mixture's energy, or of its amplitude. These are then kept, or removed, whole. The
    classifier is given the masked spectrogram, or its sound, for every method. (Ordered
    by the gain alone, thousands of quiet bins would come first where a mask keeps
    silence.)

    Arguments
    ---------
    explained : ExplainedBatch
    spectral_features : SpectralFeatures
    by : sequence of str
        ``energy``, ``amplitude`` or both: what the sizes are shares of. By energy,
        quiet bins cost nothing. Each takes a pass of the classifier.
    sizes : sequence of float
        Shares of the mixture's energy or amplitude.

    Returns
    -------
    dict of str to Tensor (B, n_sizes)
        Probabilities of the target: ``p_kept`` and ``p_removed`` by energy,
        ``p_kept_amplitude`` and ``p_removed_amplitude`` by amplitude.
    """
    found = {}
    for share in by:
        kept, removed = _at_shares_of(share, explained, spectral_features, sizes)
        suffix = "" if share == "energy" else f"_{share}"
        found |= {f"p_kept{suffix}": kept, f"p_removed{suffix}": removed}
    return found


def _at_shares_of(share, explained, spectral_features, sizes):
    """Return the probabilities (B, n_sizes) of what is kept, and of what is removed."""
    magnitude, target = explained.features.magnitude, explained.decision.target
    ranking = explained.explanation.attribution
    tops = top_bins_at(ranking, magnitude, sizes, by=share)
    masks = [part for top in tops for part in (top, ~top)]
    inputs = masked_inputs(explained, masks, spectral_features)
    p = [
        of_class(explained.classifier.probabilities(logits), target)
        for logits in explained.classifier.classify(*inputs)
    ]
    return torch.stack(p[0::2], dim=1), torch.stack(p[1::2], dim=1)


def masked_inputs(
    explained: ExplainedBatch,
    masks: Sequence[Tensor],
    spectral_features: SpectralFeatures,
) -> list[Tensor]:
    """Return what the classifier is given when the mixture's STFT is masked.

    Arguments
    ---------
    explained : ExplainedBatch
    masks : sequence of Tensor (B, frames, bins)
    spectral_features : SpectralFeatures

    Returns
    -------
    list of Tensor (B, ...)
        Computed from the masked magnitude if the classifier takes spectrograms, else
        from the sound of the masked STFT.
    """
    features, n_samples = explained.features, explained.wavs.shape[-1]

    def inputs(mask):
        return explained.classifier.inputs_of_spectrum(
            features.magnitude * mask,
            lambda: spectral_features.istft(features.stft * mask, n_samples),
        )

    return [inputs(mask) for mask in masks]
