"""Occlusion: the loss of probability when a part of the clip is silenced."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lmac_td.features import LogMel, bands_of_bins, mel_filters
from lmac_td.interpreters.attribution.base import Attribution
from lmac_td.interpreters.attribution.clip_logits import ClipLogits
from lmac_td.interpreters.attribution.registry import register
from lmac_td.validation import require_count

# Mel bands that divide the frequency axis if the classifier has no mel bands.
N_MELS = 80


@register("occlusion")
class Occlusion(Attribution):
    """The decrease of p_c when one segment of time and frequency is silenced.

    The segments are those of SLIME (Mishra, Sturm, Dixon, *Local Interpretable
    Model-agnostic Explanations for Music Content Analysis*, 2017, section 3): equal
    spans of time times equal spans of the mel scale. Unlike SLIME, which fits a linear
    model to random sets of segments, this method silences them one by one.

    Arguments
    ---------
    time_segments : int
        Segments of the clip along time.
    frequency_segments : int
        Segments along frequency.
    batch_size : int
        Segments whose copies of the clip are classified at once.

    The other arguments are those of :class:`Attribution`.
    """

    does = "silences one part of the input after another"
    needs_gradients = False

    def __init__(
        self,
        *args: Any,
        time_segments: int = 10,
        frequency_segments: int = 4,
        batch_size: int = 8,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        require_count("time_segments", time_segments)
        require_count("frequency_segments", frequency_segments)
        self.time_segments = time_segments
        self.frequency_segments = frequency_segments
        self.batch_size = batch_size

    def attribute(self, x: Tensor, target: int, logits: ClipLogits) -> Tensor:
        """See :meth:`Attribution.attribute`."""
        import captum.attr

        def probability(x: Tensor) -> Tensor:
            return logits.classifier.probabilities(logits(x))

        segments = self.segments(x.shape[1], logits.classifier.mel).to(x.device)
        with torch.no_grad():
            return captum.attr.FeatureAblation(probability).attribute(
                x.detach(),
                target=target,
                feature_mask=segments,
                perturbations_per_eval=self.batch_size,
            )

    def segments(self, n_frames: int, mel: LogMel | None) -> Tensor:
        """Number the segment of each entry: (1, frames, bins) or (1, frames, n_mels).

        Arguments
        ---------
        n_frames : int
        mel : LogMel or None
            The mel bands of the classifier.
        """
        if mel is not None:
            bands = mel.bands_of_bins.cpu()
        else:
            stft = self.features
            bands = bands_of_bins(mel_filters(stft.sample_rate, stft.n_fft, N_MELS))
        rows = torch.arange(n_frames) * self.time_segments // n_frames
        columns = torch.arange(len(bands)) * self.frequency_segments // len(bands)
        if self.domain == "stft":
            # A bin has the segment of the mel band that covers it best.
            columns = columns[bands.argmax(dim=0)]
        segments = rows.unsqueeze(1) * self.frequency_segments + columns
        return segments.unsqueeze(0)
