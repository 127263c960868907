"""Transformer layers with SpeechBrain's state-dict keys, without attention maps.

The layers are those of ``speechbrain.lobes.models.dual_path.SBTransformerBlock`` and
give the same numbers. ``scaled_dot_product_attention`` never stores the L x L attention
weights, so they need less time and memory.
"""

from __future__ import annotations

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lmac_td.errors import SettingError
from lmac_td.runtime.linear import Linear, linear
from lmac_td.validation import require_choice

MAX_POSITIONS = 2500  # the length of SpeechBrain's table, which checkpoints hold

_FFN_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class SelfAttention(nn.Module):
    """Multi-head self-attention with the keys of ``nn.MultiheadAttention``.

    Arguments
    ---------
    d_model : int
        Channels.
    nhead : int
        Heads; must divide d_model.
    dropout : float
        Dropout of the attention weights, in training.

    Example
    -------
    >>> SelfAttention(8, 2)(torch.rand(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(self, d_model: int, nhead: int, dropout: float = 0.0) -> None:
        super().__init__()
        if d_model % nhead:
            raise SettingError(
                f"nhead is {nhead}, but attention heads share {d_model} channels: give "
                f"--nhead a divisor of {d_model}"
            )
        self.nhead = nhead
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * d_model, d_model))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * d_model))
        self.out_proj = Linear(d_model, d_model)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, L, d_model) for x (B, L, d_model)."""
        qkv = linear(x, self.in_proj_weight, self.in_proj_bias)
        qkv = qkv.unflatten(-1, (3, self.nhead, -1))  # (B, L, 3, heads, d)
        # One unbind for all three: their gradients are then joined row by row.
        query, key, value = (part.transpose(1, 2) for part in qkv.unbind(2))
        dropout = self.dropout if self.training else 0.0
        out = _attend(query, key, value, dropout)
        return self.out_proj(out.transpose(1, 2).flatten(2))


def _attend(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
    """Compute fused attention; on a CPU in float32, as bfloat16 gradients are slow."""
    if query.dtype == torch.bfloat16 and query.device.type == "cpu":
        query, key, value = query.float(), key.float(), value.float()
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward net per position, each with a residual.

    Arguments
    ---------
    d_model : int
        Channels.
    nhead : int
        Attention heads.
    d_ffn : int
        Hidden channels of the feed-forward net.
    dropout : float
        Dropout probability.
    ffn_activation : str
        ``relu`` or ``gelu``.
    norm_before : bool
        Normalise before each sub-layer rather than after it.

    Example
    -------
    >>> TransformerLayer(8, 2, 16)(torch.rand(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        d_ffn: int,
        dropout: float = 0.0,
        ffn_activation: str = "relu",
        norm_before: bool = True,
    ) -> None:
        super().__init__()
        require_choice("ffn_activation", ffn_activation, tuple(_FFN_ACTIVATIONS))
        self.norm_before = norm_before
        # ModuleDicts of one entry give the state-dict keys of SpeechBrain.
        self.self_att = nn.ModuleDict({"att": SelfAttention(d_model, nhead, dropout)})
        ffn = nn.Sequential(
            Linear(d_model, d_ffn),
            _FFN_ACTIVATIONS[ffn_activation](),
            nn.Dropout(dropout),
            Linear(d_ffn, d_model),
        )
        self.pos_ffn = nn.ModuleDict({"ffn": ffn})
        self.norm1 = nn.ModuleDict({"norm": nn.LayerNorm(d_model, eps=1e-6)})
        self.norm2 = nn.ModuleDict({"norm": nn.LayerNorm(d_model, eps=1e-6)})
        self.dropout1 = nn.Dropout(dropout)
        self.dropout2 = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, L, d_model) for x (B, L, d_model)."""
        attend, feed = self.self_att["att"], self.pos_ffn["ffn"]
        norm1, norm2 = self.norm1["norm"], self.norm2["norm"]
        if self.norm_before:
            x = x + self.dropout1(attend(norm1(x)))
            return x + self.dropout2(feed(norm2(x)))
        x = norm1(x + self.dropout1(attend(x)))
        return norm2(x + self.dropout2(feed(x)))


class PositionalEncoding(nn.Module):
    """Add the sinusoids of Vaswani et al.; a buffer holds them, as in SpeechBrain.

    Arguments
    ---------
    d_model : int
        Channels, even.

    Example
    -------
    >>> PositionalEncoding(8)(torch.zeros(2, 5, 8))[0, 0]
    tensor([0., 1., 0., 1., 0., 1., 0., 1.])
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        if d_model % 2:
            raise SettingError(
                f"masknet_channels is {d_model}, but the positional encoding needs an "
                "even number of channels: give --masknet_channels an even number"
            )
        position = torch.arange(MAX_POSITIONS).unsqueeze(1).float()
        even = torch.arange(0, d_model, 2).float()
        angle = position * torch.exp(even * -(math.log(10000.0) / d_model))
        pe = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
        self.register_buffer("pe", pe.unsqueeze(0))  # (1, MAX_POSITIONS, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, L, d_model) plus the encoding of its L positions.

        Raises
        ------
        SettingError
            If L is more than 2500.
        """
        if x.shape[1] > MAX_POSITIONS:
            raise SettingError(
                f"MaskNet encodes at most {MAX_POSITIONS} positions, not {x.shape[1]}: "
                "shorten the clips (signal_length_s) or change chunk_size"
            )
        return x + self.pe[:, : x.shape[1]]


class TransformerBlock(nn.Module):
    """A stack of transformer layers: one of the two halves of a dual-path block.

    Arguments
    ---------
    num_layers : int
        Number of layers.
    d_model : int
        Channels.
    nhead : int
        Attention heads.
    d_ffn : int
        Hidden channels of the feed-forward nets.
    dropout : float
        Dropout probability.
    ffn_activation : str
        ``relu`` or ``gelu``.
    use_positional_encoding : bool
        Add sinusoids to the input.
    norm_before : bool
        Normalise before each sub-layer rather than after it.
    checkpoint_activations : bool
        Compute each layer again in the backward pass, see
        :class:`~lmac_td.nn.sepformer.MaskNet`.

    Example
    -------
    >>> TransformerBlock(2, 8, 2, 16)(torch.rand(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(
        self,
        num_layers: int,
        d_model: int,
        nhead: int,
        d_ffn: int,
        dropout: float = 0.0,
        ffn_activation: str = "relu",
        use_positional_encoding: bool = True,
        norm_before: bool = True,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        self.checkpoint_activations = checkpoint_activations
        layers = [
            TransformerLayer(
                d_model, nhead, d_ffn, dropout, ffn_activation, norm_before
            )
            for _ in range(num_layers)
        ]
        last_norm = nn.ModuleDict({"norm": nn.LayerNorm(d_model, eps=1e-6)})
        self.mdl = nn.ModuleDict({"layers": nn.Sequential(*layers), "norm": last_norm})
        self.pos_enc = PositionalEncoding(d_model) if use_positional_encoding else None

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, L, d_model) for x (B, L, d_model)."""
        if self.pos_enc is not None:
            x = self.pos_enc(x)
        recompute = self.checkpoint_activations and torch.is_grad_enabled()
        for layer in self.mdl["layers"]:
            x = checkpoint(layer, x, use_reentrant=False) if recompute else layer(x)
        return self.mdl["norm"]["norm"](x)
