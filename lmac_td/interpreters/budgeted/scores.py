"""Sources of scores, and how relevance becomes scores: smoothing and scaling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmac_td.contracts import Classifier, Decision
from lmac_td.errors import SettingError
from lmac_td.features import Features, SpectralFeatures

# Kernels of smoothing: Hz x ms, from fine to coarse.
KERNELS = (
    (15, 144),
    (80, 80),
    (265, 270),
    (515, 270),
    (1015, 270),
    (2015, 530),
)


class Scores(nn.Module):
    """Base of every source of scores.

    A subclass implements :meth:`candidates`.

    Attributes
    ----------
    n_candidates : int
        The number K of candidates that :meth:`candidates` returns for each clip. With
        more than one, the classifier chooses among them.
    trained : bool
        Whether it has parameters that training changes.
    is_control : bool
        Whether it explains nothing, and stands in a table for comparison.
    searches : bool
        Whether the scores were searched for by what the classifier answers to masks.
        Searching alone raises AI.
    remark : str
        What a reader of the table must know; empty if there is nothing.
    does : str
        See :class:`~lmac_td.interpreters.base.Interpreter`.
    """

    n_candidates: int = 1
    trained: bool = False
    is_control: bool = False
    searches: bool = False
    remark: str = ""
    does: str = ""

    def candidates(self, wavs: Tensor, features: Features, decision: Decision):
        """Score the bins of the STFT.

        Arguments
        ---------
        wavs : Tensor (B, T)
        features : Features
            The spectra of ``wavs``.
        decision : Decision

        Returns
        -------
        Tensor (B, K, frames, bins)
            Finite numbers; higher scores are kept first. A difference of 4 is the way
            from a mask of 0.12 to one of 0.88.
        """
        raise NotImplementedError

    def check(self, classifier: Classifier) -> None:
        """Refuse a classifier that this source cannot use.

        Raises
        ------
        SettingError
        """

    def forward(self, wavs: Tensor, features: Features, decision: Decision) -> Tensor:
        """Return :meth:`candidates`.

        Rows of a table that share a source, such as several sizes, explain the same
        decision one after the other. The last result is kept for them.
        """
        if self.training and self.trained:
            return self.candidates(wavs, features, decision)
        last, candidates = getattr(self, "_last", (None, None))
        if last is not decision:
            candidates = self.candidates(wavs, features, decision)
            object.__setattr__(self, "_last", (decision, candidates))
        return candidates


class Relevance(Scores):
    """Base of the sources that smooth a relevance map by one or several kernels.

    A subclass implements :meth:`relevance`. The scores of a kernel are
    4 asinh(2 r / rms(r)), where r is the relevance averaged over the kernel. They grow
    linearly near 0 and logarithmically beyond, so that one loud event does not hide
    the others.

    Arguments
    ---------
    features : SpectralFeatures
        The STFT, which converts kernels to bins and frames.
    kernels : sequence of pairs of float
        Sizes of averaging kernels (Hz, ms), one candidate each. A kernel covers the
        odd number of bins or frames that is nearest.

    Raises
    ------
    SettingError
        If a kernel is not a pair of numbers above 0.
    """

    def __init__(
        self, features: SpectralFeatures, kernels: Sequence[Sequence[float]] = KERNELS
    ) -> None:
        super().__init__()
        if not isinstance(kernels, Sequence) or not kernels:
            raise SettingError(
                f"kernels is {kernels!r}: give --kernels pairs of Hz and ms, such as "
                '"[[515, 270]]"'
            )
        self.kernels = [kernel_in_bins(kernel, features) for kernel in kernels]
        self.n_candidates = len(self.kernels)

    def relevance(self, wavs: Tensor, features: Features, decision: Decision) -> Tensor:
        """Return the relevance of each bin, (B, frames, bins) or (B, K, frames, bins).

        Arguments
        ---------
        wavs : Tensor (B, T)
        features : Features
        decision : Decision
        """
        raise NotImplementedError

    def candidates(self, wavs: Tensor, features: Features, decision: Decision):
        """See :meth:`Scores.candidates`; one candidate per kernel."""
        relevance = self.relevance(wavs, features, decision)
        if relevance.dim() == 3:
            relevance = relevance.unsqueeze(1).expand(-1, self.n_candidates, -1, -1)
        smoothed = (
            box_mean(relevance[:, k], frames, bins)
            for k, (bins, frames) in enumerate(self.kernels)
        )
        return torch.stack([scaled(r) for r in smoothed], dim=1)


def kernel_in_bins(
    kernel: Sequence[float], features: SpectralFeatures
) -> tuple[int, int]:
    """Convert a kernel (Hz, ms) to odd numbers of bins and frames.

    Raises
    ------
    SettingError
        If it is not a pair of numbers above 0.

    Example
    -------
    >>> stft = SpectralFeatures(16000, 1024, 64, 16)
    >>> kernel_in_bins((15, 144), stft), kernel_in_bins((515, 270), stft)
    ((1, 9), (33, 17))
    """
    bins, frames = pair_in_bins("kernels", kernel, features)
    return nearest_odd(bins), nearest_odd(frames)


def pair_in_bins(
    setting: str, pair: Sequence[float], features: SpectralFeatures
) -> tuple[float, float]:
    """Convert a size (Hz, ms) to bins and frames.

    Arguments
    ---------
    setting : str
        The setting that holds it, for the message.
    pair : sequence of two floats
    features : SpectralFeatures

    Raises
    ------
    SettingError
        If it is not a pair of numbers above 0.
    """
    is_pair = isinstance(pair, Sequence) and len(pair) == 2
    if not is_pair or not all(
        isinstance(n, (int, float)) and not isinstance(n, bool) and 0 < n < math.inf
        for n in pair
    ):
        pairs, example = "pairs", "[[515, 270]]"
        if setting != "kernels":
            pairs, example = "a pair", "[125, 128]"
        raise SettingError(
            f"{setting} holds {pair!r}: give --{setting} {pairs} of numbers above 0, "
            f'Hz and ms, such as "{example}"'
        )
    hz, ms = pair
    bins = hz / (features.sample_rate / features.n_fft)
    return bins, ms / 1000 * features.sample_rate / features.hop_samples


def nearest_odd(x: float) -> int:
    """Return the nearest odd number from 1 on.

    Example
    -------
    >>> [nearest_odd(x) for x in (0.3, 1.9, 2.1, 16.6)]
    [1, 1, 3, 17]
    """
    return max(1, 2 * round((x - 1) / 2) + 1)


def box_mean(x: Tensor, frames: int, bins: int) -> Tensor:
    """Average over a rectangle around each entry; at the edges, over its inner part.

    Arguments
    ---------
    x : Tensor (B, t, f)
    frames, bins : int
        Odd sizes of the rectangle.

    Returns
    -------
    Tensor (B, t, f)

    Example
    -------
    >>> box_mean(torch.tensor([[[1.0, 2.0, 6.0]]]), frames=1, bins=3)
    tensor([[[1.5000, 3.0000, 4.0000]]])
    """
    mean = x.double()  # differences of running sums lose digits
    for dim, size in ((1, frames), (2, bins)):
        if size == 1:
            continue  # exactly: no differences of sums
        n = x.shape[dim]
        running = nn.functional.pad(
            mean.cumsum(dim), (1, 0) if dim == 2 else (0, 0, 1, 0)
        )
        centre = torch.arange(n, device=x.device)
        start = (centre - size // 2).clamp(min=0)
        end = (centre + size // 2 + 1).clamp(max=n)
        count = (end - start).view((-1, 1) if dim == 1 else (-1,))
        mean = running.index_select(dim, end) - running.index_select(dim, start)
        mean = mean / count
    return mean.to(x.dtype)


def scaled(relevance: Tensor) -> Tensor:
    """Return 4 asinh(2 r / rms(r)) of relevance (..., t, f); 0 where all is 0.

    Example
    -------
    >>> scaled(torch.tensor([[[-1.0, 1.0]]])).round(decimals=2)
    tensor([[[-5.7700,  5.7700]]])
    """
    peak = relevance.abs().amax(dim=(-2, -1), keepdim=True)
    relevance = relevance / peak.where(peak > 0, 1.0)  # squares must not underflow
    rms = relevance.square().mean(dim=(-2, -1), keepdim=True).sqrt()
    return 4 * torch.asinh(2 * relevance / rms.where(rms > 0, 1.0))
