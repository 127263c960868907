"""Dual-path processing: chunks of a sequence, attention within and across chunks.

Tensors stay channels-last, (B, S, K, N) for S chunks of K frames, so that chunks are
views. State-dict keys are those of ``speechbrain.lobes.models.dual_path``.
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from lmac_td.runtime.linear import Linear
from lmac_td.validation import require_choice


class GlobalNorm(nn.Module):
    """Normalise each clip over all its positions and channels, channels last.

    It has the numbers and keys of ``nn.GroupNorm(1, channels)``, but takes (B, ...,
    channels).

    Arguments
    ---------
    channels : int
        Size of the last axis.
    eps : float
        Added to the variance.

    Example
    -------
    >>> GlobalNorm(4)(torch.rand(2, 7, 4)).mean().abs() < 1e-6
    tensor(True)
    """

    def __init__(self, channels: int, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, ..., channels), normalised and scaled."""
        x = F.layer_norm(x, x.shape[1:], eps=self.eps)
        return torch.addcmul(self.bias, x, self.weight)


def build_norm(norm: str, channels: int) -> nn.Module:
    """Build a normalisation: ``ln`` over the whole clip, or ``cln`` over channels.

    Raises
    ------
    SettingError
        If ``norm`` is neither.
    """
    require_choice("norm", norm, ("ln", "cln"))
    return GlobalNorm(channels) if norm == "ln" else nn.LayerNorm(channels, eps=1e-8)


class DualPathBlock(nn.Module):
    """Attend within each chunk, then across chunks at each position of a chunk.

    Arguments
    ---------
    intra_mdl : torch.nn.Module
        Maps (B S, K, N) to the same shape, along K.
    inter_mdl : torch.nn.Module
        Maps (B K, S, N) to the same shape, along S.
    channels : int
        N.
    norm : str
        ``ln`` (over the clip) or ``cln`` (over channels).
    skip_around_intra : bool
        Add the input to the output of the first half.
    linear_layer_after_inter_intra : bool
        Apply a linear layer after each half.

    Example
    -------
    >>> from lmac_td.nn.transformer import TransformerBlock
    >>> intra, inter = TransformerBlock(1, 8, 2, 16), TransformerBlock(1, 8, 2, 16)
    >>> DualPathBlock(intra, inter, 8)(torch.rand(2, 3, 4, 8)).shape
    torch.Size([2, 3, 4, 8])
    """

    def __init__(
        self,
        intra_mdl: nn.Module,
        inter_mdl: nn.Module,
        channels: int,
        norm: str = "ln",
        skip_around_intra: bool = True,
        linear_layer_after_inter_intra: bool = False,
    ) -> None:
        super().__init__()
        self.skip_around_intra = skip_around_intra
        self.linear_layer_after_inter_intra = linear_layer_after_inter_intra
        self.intra_mdl = intra_mdl
        self.inter_mdl = inter_mdl
        self.intra_norm = build_norm(norm, channels)
        self.inter_norm = build_norm(norm, channels)
        if linear_layer_after_inter_intra:
            self.intra_linear = nn.ModuleDict({"w": Linear(channels, channels)})
            self.inter_linear = nn.ModuleDict({"w": Linear(channels, channels)})

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, S, K, N) for S chunks of K frames x (B, S, K, N)."""
        intra = self.intra_mdl(x.flatten(0, 1))  # (B S, K, N)
        if self.linear_layer_after_inter_intra:
            intra = self.intra_linear["w"](intra)
        intra = self.intra_norm(intra.view_as(x))
        if self.skip_around_intra:
            intra = intra + x

        across = intra.transpose(1, 2)  # (B, K, S, N)
        inter = self.inter_mdl(across.flatten(0, 1))
        if self.linear_layer_after_inter_intra:
            inter = self.inter_linear["w"](inter)
        inter = self.inter_norm(inter.view(across.shape))
        return intra + inter.transpose(1, 2)


def segment(x: Tensor, chunk_size: int) -> Tensor:
    """Cut a sequence into chunks that overlap by half.

    Half a chunk of zeros is added at both ends, so that each frame is in two chunks.

    Arguments
    ---------
    x : Tensor
        (B, T', N).
    chunk_size : int
        Frames K of a chunk, even.

    Returns
    -------
    Tensor
        (B, S, K, N).

    Example
    -------
    >>> segment(torch.tensor([[[1.0], [2.0], [3.0]]]), 4)[0, :, :, 0]
    tensor([[0., 0., 1., 2.],
            [1., 2., 3., 0.],
            [3., 0., 0., 0.],
            [0., 0., 0., 0.]])
    """
    half = chunk_size // 2
    # Pad as SpeechBrain does: by at least one frame, to a multiple of the chunk size.
    gap = chunk_size - (half + x.shape[1]) % chunk_size
    x = F.pad(x, (0, 0, half, gap + half))
    halves = x.unflatten(1, (-1, half))  # (B, S + 1, K / 2, N)
    return torch.cat([halves[:, :-1], halves[:, 1:]], dim=2)


def overlap_add(chunks: Tensor) -> Tensor:
    """Add overlapping chunks: the result is twice the input of :func:`segment`.

    Arguments
    ---------
    chunks : Tensor
        (B, S, K, N).

    Returns
    -------
    Tensor
        (B, (S - 1) K / 2, N): twice the sequence, then the padded zeros.

    Example
    -------
    >>> x = torch.arange(3.0).view(1, 3, 1)
    >>> overlap_add(segment(x, 4))[0, :, 0]
    tensor([0., 2., 4., 0., 0., 0.])
    """
    half = chunks.shape[2] // 2
    total = chunks[:, 1:, :half] + chunks[:, :-1, half:]
    return total.flatten(1, 2)
