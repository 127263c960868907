"""SepFormer's dual-path mask network, in one layout and without attention maps.

Subakan et al., *Attention is all you need in speech separation*
(https://arxiv.org/abs/2010.13154): cut the sequence in chunks that overlap by half,
attend within chunks, then across chunks, add the chunks up again. State-dict keys are
those of ``speechbrain.lobes.models.dual_path.Dual_Path_Model`` built of
``SBTransformerBlock`` with one speaker, so its checkpoints load; the numbers are its
numbers. What differs is the cost: tensors stay channels-last, (B, S, K, N), so that
chunks are views, and ``scaled_dot_product_attention`` never writes the K x K weights.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from lmac_td.errors import SettingError
from lmac_td.runtime.linear import Linear, linear

MAX_POSITIONS = 2500  # SpeechBrain's table, which its checkpoints hold

_FFN_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}
_MASK_ACTIVATIONS = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}


class GlobalNorm(nn.Module):
    """Normalise each clip over all its positions and channels, channels last.

    The same numbers and keys as ``nn.GroupNorm(1, channels)``, for (B, ..., channels).

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

    def __init__(self, channels, eps=1e-8):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        """Return x (B, ..., channels), normalised and scaled."""
        x = F.layer_norm(x, x.shape[1:], eps=self.eps)
        return torch.addcmul(self.bias, x, self.weight)


def _build_norm(norm, channels):
    if norm == "ln":
        return GlobalNorm(channels)
    if norm == "cln":
        return nn.LayerNorm(channels, eps=1e-8)
    raise SettingError(f"norm: {norm!r} is neither 'ln' nor 'cln'")


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

    def __init__(self, d_model, nhead, dropout=0.0):
        super().__init__()
        if d_model % nhead:
            raise SettingError(f"nhead: {nhead} heads cannot share {d_model} channels")
        self.nhead = nhead
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * d_model, d_model))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * d_model))
        self.out_proj = Linear(d_model, d_model)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x):
        """Return (B, L, d_model) for x (B, L, d_model)."""
        qkv = linear(x, self.in_proj_weight, self.in_proj_bias)
        qkv = qkv.unflatten(-1, (3, self.nhead, -1))  # (B, L, 3, heads, d)
        # Apart first, so that their gradients are put together row by row.
        query, key, value = (part.transpose(1, 2) for part in qkv.unbind(2))
        dropout = self.dropout if self.training else 0.0
        out = _attend(query, key, value, dropout)
        return self.out_proj(out.transpose(1, 2).flatten(2))


def _attend(query, key, value, dropout):
    """Fused attention; on a CPU not in bfloat16, whose gradient is slow there."""
    if query.dtype == torch.bfloat16 and query.device.type == "cpu":
        query, key, value = query.float(), key.float(), value.float()
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)


class TransformerLayer(nn.Module):
    """Self-attention and a position-wise feed-forward net, each with a skip.

    Arguments
    ---------
    d_model : int
        Channels.
    nhead : int
        Attention heads.
    d_ffn : int
        Hidden channels of the feed-forward net.
    dropout : float
        Probability of dropout.
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
        d_model,
        nhead,
        d_ffn,
        dropout=0.0,
        ffn_activation="relu",
        norm_before=True,
    ):
        super().__init__()
        self.norm_before = norm_before
        # One-entry ModuleDicts give SpeechBrain's keys without its wrappers.
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

    def forward(self, x):
        """Return (B, L, d_model) for x (B, L, d_model)."""
        attend, feed = self.self_att["att"], self.pos_ffn["ffn"]
        norm1, norm2 = self.norm1["norm"], self.norm2["norm"]
        if self.norm_before:
            x = x + self.dropout1(attend(norm1(x)))
            return x + self.dropout2(feed(norm2(x)))
        x = norm1(x + self.dropout1(attend(x)))
        return norm2(x + self.dropout2(feed(x)))


class PositionalEncoding(nn.Module):
    """The sinusoids of Vaswani et al., kept as a buffer as in SpeechBrain.

    Arguments
    ---------
    d_model : int
        Channels, even.

    Example
    -------
    >>> PositionalEncoding(8)(torch.zeros(2, 5, 8))[0, 0]
    tensor([0., 1., 0., 1., 0., 1., 0., 1.])
    """

    def __init__(self, d_model):
        super().__init__()
        if d_model % 2:
            raise SettingError(
                f"out_channels: positions need an even number, {d_model}"
            )
        position = torch.arange(MAX_POSITIONS).unsqueeze(1).float()
        even = torch.arange(0, d_model, 2).float()
        angle = position * torch.exp(even * -(math.log(10000.0) / d_model))
        pe = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
        self.register_buffer("pe", pe.unsqueeze(0))  # (1, MAX_POSITIONS, d_model)

    def forward(self, x):
        """Return x (B, L, d_model) plus the encoding of its L positions."""
        if x.shape[1] > MAX_POSITIONS:
            raise SettingError(
                f"{x.shape[1]} positions are more than the {MAX_POSITIONS} that are "
                "encoded: cut the clip (signal_length_s) or change chunk_size"
            )
        return x + self.pe[:, : x.shape[1]]


class TransformerBlock(nn.Module):
    """A stack of transformer layers, one of the two halves of a dual-path block.

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
        Probability of dropout.
    ffn_activation : str
        ``relu`` or ``gelu``.
    use_positional_encoding : bool
        Add sinusoids to the input.
    norm_before : bool
        Normalise before each sub-layer rather than after it.
    checkpoint_activations : bool
        Compute each layer again in the backward pass, see :class:`MaskNet`.

    Example
    -------
    >>> TransformerBlock(2, 8, 2, 16)(torch.rand(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(
        self,
        num_layers,
        d_model,
        nhead,
        d_ffn,
        dropout=0.0,
        ffn_activation="relu",
        use_positional_encoding=True,
        norm_before=True,
        checkpoint_activations=False,
    ):
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

    def forward(self, x):
        """Return (B, L, d_model) for x (B, L, d_model)."""
        if self.pos_enc is not None:
            x = self.pos_enc(x)
        recompute = self.checkpoint_activations and torch.is_grad_enabled()
        for layer in self.mdl["layers"]:
            x = checkpoint(layer, x, use_reentrant=False) if recompute else layer(x)
        return self.mdl["norm"]["norm"](x)


class DualPathBlock(nn.Module):
    """Attend within each chunk, then across chunks at each place in them.

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
        Follow each half by a linear layer.

    Example
    -------
    >>> intra, inter = TransformerBlock(1, 8, 2, 16), TransformerBlock(1, 8, 2, 16)
    >>> DualPathBlock(intra, inter, 8)(torch.rand(2, 3, 4, 8)).shape
    torch.Size([2, 3, 4, 8])
    """

    def __init__(
        self,
        intra_mdl,
        inter_mdl,
        channels,
        norm="ln",
        skip_around_intra=True,
        linear_layer_after_inter_intra=False,
    ):
        super().__init__()
        self.skip_around_intra = skip_around_intra
        self.linear_layer_after_inter_intra = linear_layer_after_inter_intra
        self.intra_mdl = intra_mdl
        self.inter_mdl = inter_mdl
        self.intra_norm = _build_norm(norm, channels)
        self.inter_norm = _build_norm(norm, channels)
        if linear_layer_after_inter_intra:
            self.intra_linear = nn.ModuleDict({"w": Linear(channels, channels)})
            self.inter_linear = nn.ModuleDict({"w": Linear(channels, channels)})

    def forward(self, x):
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
        Probability of dropout.
    activation : str
        Last activation: ``sigmoid`` (mask in [0, 1], the paper's) or ``relu``
        (SpeechBrain's, unbounded).
    norm : str
        ``ln`` (over the clip) or ``cln`` (over channels).
    skip_around_intra : bool
        Add a block's input to the output of its first half.
    linear_layer_after_inter_intra : bool
        Follow each half of a block by a linear layer.
    use_positional_encoding : bool
        Add sinusoids to the input of each half.
    norm_before : bool
        Normalise before each sub-layer of the transformers rather than after it.
    ffn_activation : str
        ``relu`` or ``gelu``, inside the feed-forward nets.
    checkpoint_activations : bool
        In training, keep the input of each transformer layer alone and compute the
        rest again in the backward pass: about a fifth of MaskNet's memory, for about a
        third more of its time. The results are the same.

    Raises
    ------
    ValueError
        If a setting is none of those above.

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
        in_channels,
        out_channels,
        num_layers=2,
        chunk_size=250,
        intra_layers=8,
        inter_layers=2,
        nhead=8,
        d_ffn=256,
        dropout=0.0,
        activation="sigmoid",
        norm="ln",
        skip_around_intra=True,
        linear_layer_after_inter_intra=False,
        use_positional_encoding=True,
        norm_before=True,
        ffn_activation="relu",
        checkpoint_activations=False,
    ):
        super().__init__()
        if chunk_size < 2 or chunk_size % 2:
            raise SettingError(f"chunk_size: {chunk_size} has no half to overlap by")
        if activation not in _MASK_ACTIVATIONS:
            raise SettingError(
                f"activation: {activation!r} is none of {sorted(_MASK_ACTIVATIONS)}"
            )
        if ffn_activation not in _FFN_ACTIVATIONS:
            raise SettingError(
                f"ffn_activation: {ffn_activation!r} is none of "
                f"{sorted(_FFN_ACTIVATIONS)}"
            )
        self.chunk_size = chunk_size

        def transformer(depth):
            return TransformerBlock(
                depth,
                out_channels,
                nhead,
                d_ffn,
                dropout,
                ffn_activation,
                use_positional_encoding,
                norm_before,
                checkpoint_activations,
            )

        self.norm = _build_norm(norm, in_channels)
        self.conv1d = nn.Conv1d(in_channels, out_channels, 1, bias=False)
        self.dual_mdl = nn.Sequential(
            *(
                DualPathBlock(
                    transformer(intra_layers),
                    transformer(inter_layers),
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

    def forward(self, h):
        """Estimate the mask.

        Arguments
        ---------
        h : torch.Tensor
            (B, N, T') frames; T' may be shorter than a chunk.

        Returns
        -------
        torch.Tensor
            (B, N, T') mask, in [0, 1] with the sigmoid, in float32 at least.
        """
        n_frames = h.shape[-1]
        x = self.norm(h.transpose(1, 2))  # (B, T', N)
        x = _pointwise(self.conv1d, x)
        x = self.dual_mdl(segment(x, self.chunk_size))  # (B, S, K, N)
        x = overlap_add(self.prelu(x))[:, :n_frames]  # (B, T', N)
        # A pointwise convolution before the sum is one after it, at half the work,
        # but for its bias: each frame lies in two chunks and takes it twice.
        x = _pointwise(self.conv2d, x) + self.conv2d.bias
        tanh, gate = self.output, self.output_gate
        x = tanh[1](_pointwise(tanh[0], x)) * gate[1](_pointwise(gate[0], x))
        x = _pointwise(self.end_conv1x1, x)
        # In half precision a mask and one less the mask would not add up.
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        return self.activation(x.transpose(1, 2))


def _pointwise(conv, x):
    """Apply a convolution of kernel 1 to channels-last x (..., N)."""
    return linear(x, conv.weight.flatten(1), conv.bias)


def segment(x, chunk_size):
    """Cut a sequence in chunks that overlap by half.

    Half a chunk of zeros stands at either end, so that every frame lies in two chunks.

    Arguments
    ---------
    x : torch.Tensor
        (B, T', N).
    chunk_size : int
        Frames K of a chunk, even.

    Returns
    -------
    torch.Tensor
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
    # As SpeechBrain pads: at least one frame, whole chunks from the first half on.
    gap = chunk_size - (half + x.shape[1]) % chunk_size
    x = F.pad(x, (0, 0, half, gap + half))
    halves = x.unflatten(1, (-1, half))  # (B, S + 1, K / 2, N)
    return torch.cat([halves[:, :-1], halves[:, 1:]], dim=2)


def overlap_add(chunks):
    """Add chunks up again: twice the sequence that :func:`segment` cut.

    Arguments
    ---------
    chunks : torch.Tensor
        (B, S, K, N).

    Returns
    -------
    torch.Tensor
        (B, (S - 1) K / 2, N), the sequence and the zeros padded to its end.

    Example
    -------
    >>> x = torch.arange(3.0).view(1, 3, 1)
    >>> overlap_add(segment(x, 4))[0, :, 0]
    tensor([0., 2., 4., 0., 0., 0.])
    """
    half = chunks.shape[2] // 2
    total = chunks[:, 1:, :half] + chunks[:, :-1, half:]
    return total.flatten(1, 2)
