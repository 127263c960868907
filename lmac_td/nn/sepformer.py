"""SepFormer's dual-path mask network.

Subakan et al., *Attention is all you need in speech separation*
(https://arxiv.org/abs/2010.13154): the sequence is cut into chunks that overlap by
half, attention is computed within chunks, then across chunks, and the chunks are added
up again. State-dict keys and numbers are those of
``speechbrain.lobes.models.dual_path.Dual_Path_Model`` made of ``SBTransformerBlock``
with one speaker, so its checkpoints load.
"""

from __future__ import annotations

import torch
import torch.nn as nn
from torch import Tensor

from lmac_td.errors import SettingError
from lmac_td.nn.dual_path import DualPathBlock, build_norm, overlap_add, segment
from lmac_td.nn.transformer import TransformerBlock
from lmac_td.runtime.linear import linear
from lmac_td.validation import require_choice

_MASK_ACTIVATIONS = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}


class MaskNet(nn.Module):
    """Estimate one mask for the frames of an encoder (LMAC-TD, eq. 3).

    Arguments
    ---------
    in_channels : int
        Channels N of the input and of the mask.
    out_channels : int
        Channels inside the dual path.
    num_layers : int
        Number of dual-path blocks.
    chunk_size : int
        Frames K of a chunk, even: chunks overlap by half.
    intra_layers : int
        Transformer layers within chunks, in each block.
    inter_layers : int
        Transformer layers across chunks, in each block.
    nhead : int
        Attention heads.
    d_ffn : int
        Hidden channels of the feed-forward nets.
    dropout : float
        Dropout probability.
    activation : str
        Last activation: ``sigmoid`` (mask in [0, 1], the paper's) or ``relu``
        (SpeechBrain's, unbounded).
    norm : str
        ``ln`` (over the clip) or ``cln`` (over channels).
    skip_around_intra : bool
        Add a block's input to the output of its first half.
    linear_layer_after_inter_intra : bool
        Apply a linear layer after each half of a block.
    use_positional_encoding : bool
        Add sinusoids to the input of each half.
    norm_before : bool
        Normalise before each sub-layer of the transformers rather than after it.
    ffn_activation : str
        ``relu`` or ``gelu``, inside the feed-forward nets.
    checkpoint_activations : bool
        In training, store only the inputs of the transformer layers and compute the
        rest again in the backward pass. MaskNet then needs about a fifth of the memory
        and about a third more time. The results are the same.
    inter_nhead : int, optional
        Attention heads across chunks, if they are not as many as within chunks.

    Raises
    ------
    SettingError
        If a setting has a value that cannot work.

    Example
    -------
    >>> net = MaskNet(16, 8, num_layers=1, chunk_size=10, intra_layers=1,
    ...               inter_layers=1, nhead=2, d_ffn=16)
    >>> mask = net(torch.rand(2, 16, 47))
    >>> mask.shape, bool((mask >= 0).all() and (mask <= 1).all())
    (torch.Size([2, 16, 47]), True)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_layers: int = 2,
        chunk_size: int = 250,
        intra_layers: int = 8,
        inter_layers: int = 2,
        nhead: int = 8,
        d_ffn: int = 256,
        dropout: float = 0.0,
        activation: str = "sigmoid",
        norm: str = "ln",
        skip_around_intra: bool = True,
        linear_layer_after_inter_intra: bool = False,
        use_positional_encoding: bool = True,
        norm_before: bool = True,
        ffn_activation: str = "relu",
        checkpoint_activations: bool = False,
        inter_nhead: int | None = None,
    ) -> None:
        super().__init__()
        if chunk_size < 2 or chunk_size % 2:
            raise SettingError(
                f"chunk_size is {chunk_size}, but chunks overlap by half: give "
                "--chunk_size an even number of at least 2"
            )
        require_choice("activation", activation, tuple(_MASK_ACTIVATIONS))
        self.chunk_size = chunk_size

        def transformer(depth: int, heads: int) -> TransformerBlock:
            return TransformerBlock(
                depth,
                out_channels,
                heads,
                d_ffn,
                dropout,
                ffn_activation,
                use_positional_encoding,
                norm_before,
                checkpoint_activations,
            )

        self.norm = build_norm(norm, in_channels)
        self.conv1d = nn.Conv1d(in_channels, out_channels, 1, bias=False)
        self.dual_mdl = nn.Sequential(
            *(
                DualPathBlock(
                    transformer(intra_layers, nhead),
                    transformer(inter_layers, inter_nhead or nhead),
                    out_channels,
                    norm,
                    skip_around_intra,
                    linear_layer_after_inter_intra,
                )
                for _ in range(num_layers)
            )
        )
        self.prelu = nn.PReLU()
        self.conv2d = nn.Conv2d(out_channels, out_channels, 1)
        self.output = nn.Sequential(nn.Conv1d(out_channels, out_channels, 1), nn.Tanh())
        self.output_gate = nn.Sequential(
            nn.Conv1d(out_channels, out_channels, 1), nn.Sigmoid()
        )
        self.end_conv1x1 = nn.Conv1d(out_channels, in_channels, 1, bias=False)
        self.activation = _MASK_ACTIVATIONS[activation]()

    def forward(self, h: Tensor) -> Tensor:
        """Estimate the mask.

        Arguments
        ---------
        h : Tensor
            (B, N, T') frames; T' may be shorter than a chunk.

        Returns
        -------
        Tensor
            (B, N, T') mask, in [0, 1] with the sigmoid, at least in float32.
        """
        n_frames = h.shape[-1]
        x = self.norm(h.transpose(1, 2))  # (B, T', N)
        x = _pointwise(self.conv1d, x)
        x = self.dual_mdl(segment(x, self.chunk_size))  # (B, S, K, N)
        x = overlap_add(self.prelu(x))[:, :n_frames]  # (B, T', N)
        # The pointwise convolution is applied after the sum, which halves its work.
        # Each frame is in two chunks, so the bias is added twice.
        x = _pointwise(self.conv2d, x) + self.conv2d.bias
        tanh, gate = self.output, self.output_gate
        x = tanh[1](_pointwise(tanh[0], x)) * gate[1](_pointwise(gate[0], x))
        x = _pointwise(self.end_conv1x1, x)
        # In half precision, the mask and one minus the mask would not add up to one.
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        return self.activation(x.transpose(1, 2))


def _pointwise(conv: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution of kernel 1 to channels-last x (..., N)."""
    return linear(x, conv.weight.flatten(1), conv.bias)
