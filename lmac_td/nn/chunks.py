"""The trained networks of VIBI, and its choice of k chunks.

Bang, Xie, Lee, Wu and Xing, *Explaining a Black-Box by Using a Deep Variational
Information Bottleneck Approach*, 2021. A *chunk* is a tile of the log-spectrogram. The
explainer gives a probability p_j to each of N chunks, k chunks are chosen, and the
approximator predicts the decision from these chunks alone. Training chooses by the
Gumbel-softmax, which has gradients::

    C_j = softmax_j((log p_j + g_j) / temperature),   g_j Gumbel noise
    z_j = max of C_j over k draws

The layers are those of the published network for images of digits (explainer
``cnn4``: two convolutions of 5 x 5, each before a pooling by two, and one of 1 x 1),
with three convolutions in the approximator, since spectrograms are larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmac_td.contracts import Classifier
from lmac_td.features import SpectralFeatures

# The explainer reads this many cells of a chunk, along time and along frequency.
CELLS = 4
# The approximator averages so many frames and bins first.
REDUCTION = (2, 4)


class ChunkExplainer(nn.Module):
    """Logits of chunks, from a log-spectrogram.

    Arguments
    ---------
    width : int
        Channels of the first layer; twice as many in the second one.

    Example
    -------
    >>> ChunkExplainer(width=4)(torch.rand(2, 87, 513), (4, 8)).shape
    torch.Size([2, 4, 8])
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(2 * width, 1, 1),
        )

    def forward(self, x: Tensor, grid: Sequence[int]) -> Tensor:
        """Score the chunks.

        Arguments
        ---------
        x : Tensor (B, frames, bins)
            log(1 + |STFT|).
        grid : pair of int
            Chunks along time and along frequency.

        Returns
        -------
        Tensor (B, t, f)
            For ``grid`` = (t, f).
        """
        cells = [CELLS * n for n in grid]
        return self.layers(F.adaptive_avg_pool2d(x.unsqueeze(1), cells)).squeeze(1)


class Approximator(nn.Module):
    """The classifier's logits, from the chosen chunks of a log-spectrogram.

    Arguments
    ---------
    n_bins : int
    n_classes : int
    width : int
        Channels of the first layer; twice and four times as many below.

    Example
    -------
    >>> Approximator(n_bins=513, n_classes=10, width=4)(torch.rand(2, 87, 513)).shape
    torch.Size([2, 10])
    """

    def __init__(self, n_bins: int, n_classes: int, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(width, 2 * width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1),
            nn.ReLU(),
        )
        rows = math.ceil(n_bins / (REDUCTION[1] * 2 * 2))
        self.out = nn.Linear(4 * width * rows, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Predict the classifier's logits.

        Arguments
        ---------
        x : Tensor (B, frames, bins)
            log(1 + |STFT|), 0 where a chunk is not chosen. Any number of frames.

        Returns
        -------
        Tensor (B, C)
        """
        h = F.avg_pool2d(x.unsqueeze(1), REDUCTION, ceil_mode=True)
        h = self.layers(h)  # (B, channels, time, frequencies)
        return self.out(h.amax(dim=2).flatten(1))


def relaxed_choice(logits: Tensor, k: int, temperature: float) -> Tensor:
    """Choose about k chunks at random, with gradients.

    Arguments
    ---------
    logits : Tensor (B, N)
    k : int
        Draws from the Gumbel-softmax.
    temperature : float
        The smaller, the closer to 0 and 1.

    Returns
    -------
    Tensor (B, N)
        z, in [0, 1]; its sum is at most k.
    """
    log_p = logits.log_softmax(dim=1).unsqueeze(1)  # (B, 1, N)
    uniform = torch.rand(len(logits), k, logits.shape[1], device=logits.device)
    smallest = torch.finfo(uniform.dtype).tiny
    gumbel = -(-uniform.clamp(min=smallest).log()).clamp(min=smallest).log()
    return ((log_p + gumbel) / temperature).softmax(dim=2).amax(dim=1)


def hard_choice(logits: Tensor, k: int) -> Tensor:
    """Choose the k most probable chunks.

    Arguments
    ---------
    logits : Tensor (B, N)
    k : int
        If there are fewer chunks, all are chosen.

    Returns
    -------
    Tensor (B, N), bool

    Example
    -------
    >>> hard_choice(torch.tensor([[0.1, 0.7, 0.2]]), 2)
    tensor([[False,  True,  True]])
    """
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return torch.zeros_like(logits, dtype=torch.bool).scatter(1, best, True)


def build_approximator(
    classifier: Classifier, features: SpectralFeatures, width: int
) -> Approximator:
    """Build the approximator for a classifier's classes and the bins of an STFT."""
    return Approximator(features.n_bins, classifier.n_classes, width)
