"""Evidence: what the decision gains by each bin of the STFT. Nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lmac_td.classifiers.check import dithered, require_finite_with_dither
from lmac_td.contracts import Classifier, Decision, require_gradients
from lmac_td.errors import SettingError
from lmac_td.features import Features, SpectralFeatures
from lmac_td.interpreters.budgeted.scores import Relevance, pair_in_bins
from lmac_td.targets import margin
from lmac_td.validation import require_count, require_number


class BinGains(Relevance):
    """Derivatives of the decision's margin by the gains of the STFT's bins.

    Each bin of the STFT is multiplied by a gain; the phase is kept. The relevance of a
    bin is the mean derivative of the margin by its gain, over several overall gains
    and several draws in which the gains of the bins are jittered::

        r = mean over a, j of  d margin(classifier(istft(X g))) / d g
        g = a (1 + jitter n_j),   n_j standard normal, the same for every clip

    With ``fields``, g is also multiplied by a smooth random field between 0 and 1, one
    per draw, so that parts of the sound are hidden: the rest then shows what it
    contributes alone. This separates harmonics better, and the classifier is surer of
    what is kept; a second classifier gains a little less.

    The mean over gains from near silence to the clip itself is what also holds for
    other classifiers; a single gradient is local. It needs a gradient to the waveform
    and nothing else, so it works with every differentiable classifier.

    Arguments
    ---------
    features : SpectralFeatures
    kernels : sequence of pairs of float
        See :class:`Relevance`.
    gains : sequence of float
        The overall gains a.
    jitter : float
        Standard deviation of the gains of the bins, as a share of a; 0 for none.
    draws : int
        Draws of jittered gains for each overall gain.
    fields : pair of float, optional
        Distances (Hz, ms) of the grid on which the fields are drawn, such as
        (125, 128).
    passes_at_once : int
        How many copies of a batch are classified at once.

    Attributes
    ----------
    n_dithered : int
        How many gradients were computed with dither, see :meth:`relevance`.

    Raises
    ------
    SettingError
        If a setting has another value.
    """

    does = (
        "measures by gradients how much each part of the spectrogram supports the "
        "decision"
    )

    def __init__(
        self,
        features: SpectralFeatures,
        *args: Any,
        gains: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
        jitter: float = 0.5,
        draws: int = 2,
        fields: Sequence[float] | None = None,
        passes_at_once: int = 1,
        **kernels: Any,
    ) -> None:
        super().__init__(features, *args, **kernels)
        if not isinstance(gains, Sequence) or isinstance(gains, str) or not gains:
            raise SettingError(
                f"gains is {gains!r}: give --gains numbers above 0, such as "
                '"[0.5, 1.0]"'
            )
        for gain in gains:
            require_number("gains", gain)
        require_number("jitter", jitter, least=0)
        require_count("draws", draws)
        require_count("passes_at_once", passes_at_once)
        self.features = features
        self.gains = tuple(gains)
        self.jitter = jitter
        self.draws = draws
        self.fields = fields and pair_in_bins("fields", fields, features)
        self.passes_at_once = passes_at_once
        self.n_dithered = 0

    def check(self, classifier: Classifier) -> None:
        """See :meth:`Scores.check`."""
        require_gradients(classifier, "the evidence of bin gains")

    @property
    def n_passes(self) -> int:
        """Number of gradient passes for a clip."""
        return len(self.gains) * self.draws

    def gains_of_bins(self, shape: torch.Size) -> Iterator[Tensor]:
        """Yield the gains g of the bins, (frames, bins), one tensor per pass.

        Arguments
        ---------
        shape : torch.Size
            (frames, bins).
        """
        for draw in range(self.draws):
            generator = torch.Generator().manual_seed(draw)
            factor = 1 + self.jitter * torch.randn(shape, generator=generator)
            if self.fields is not None:
                factor = factor * smooth_field(shape, self.fields, generator)
            for gain in self.gains:
                yield gain * factor

    def relevance(self, wavs: Tensor, features: Features, decision: Decision) -> Tensor:
        """See :meth:`Relevance.relevance`.

        Clips whose derivatives are not finite (digital silence) are computed again
        with dither.

        Raises
        ------
        DataError
            If they are not finite with dither either.
        """
        stft, target, classifier = features.stft, decision.target, decision.classifier
        n_samples = wavs.shape[-1]
        relevance = self.derivatives(stft, n_samples, target, classifier)
        broken = ~relevance.isfinite().all(dim=(1, 2))
        if broken.any():
            with dithered(classifier):
                again = self.derivatives(
                    stft[broken], n_samples, target[broken], classifier
                )
            require_finite_with_dither(again, classifier)
            relevance[broken] = again
            self.n_dithered += int(broken.sum())
        return relevance

    def derivatives(
        self, stft: Tensor, n_samples: int, target: Tensor, classifier: Classifier
    ) -> Tensor:
        """Compute the mean derivative of the margin by the gain of each bin.

        Arguments
        ---------
        stft : Tensor, complex (B, frames, bins)
        n_samples : int
            Number of samples T.
        target : Tensor (B,)
        classifier : Classifier

        Returns
        -------
        Tensor (B, frames, bins)
        """
        total = torch.zeros_like(stft.real)
        all_gains = list(self.gains_of_bins(stft.shape[1:]))
        device = stft.device.type
        for start in range(0, len(all_gains), self.passes_at_once):
            part = torch.stack(all_gains[start : start + self.passes_at_once])
            n = len(part)
            with torch.enable_grad(), torch.autocast(device, enabled=False):
                gains = part.to(stft.device).repeat_interleave(len(stft), dim=0)
                gains.requires_grad_()
                spectra = stft.detach().repeat(n, 1, 1) * gains
                sounds = self.features.istft(spectra, n_samples)
                (logits,) = classifier.classify(classifier.inputs_of(sounds))
                score = margin(logits, target.repeat(n), classifier.activation).sum()
                (gradient,) = torch.autograd.grad(score, gains)
            total += gradient.view(n, *total.shape).sum(dim=0)
        return total / len(all_gains)


def smooth_field(
    shape: torch.Size, grid: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Draw a field in (0, 1): sigmoid(3 z), z interpolated between normal numbers.

    Arguments
    ---------
    shape : torch.Size
        (frames, bins).
    grid : pair of float
        Distance of the numbers in bins and in frames.
    generator : torch.Generator

    Returns
    -------
    Tensor (frames, bins)

    Example
    -------
    >>> field = smooth_field((20, 30), (8, 4), torch.Generator().manual_seed(0))
    >>> field.shape, bool(((field > 0) & (field < 1)).all())
    (torch.Size([20, 30]), True)
    """
    bins, frames = grid
    size = [round(n / step) + 2 for n, step in zip(shape, (frames, bins), strict=True)]
    coarse = torch.randn(1, 1, *size, generator=generator)
    z = torch.nn.functional.interpolate(coarse, size=tuple(shape), mode="bilinear")
    return torch.sigmoid(3 * z[0, 0])
