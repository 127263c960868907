"""Attention equals its definition; positions have a limit."""

import pytest
import torch
import torch.nn.functional as F

from lmac_td.nn.transformer import MAX_POSITIONS, PositionalEncoding, SelfAttention


def literal_attention(attention, x):
    """softmax(q k^T / sqrt(d)) v of each head (Vaswani et al., eq. 1)."""
    qkv = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    heads = [
        torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, -1) @ v
        for q, k, v in zip(
            *(part.split(4, -1) for part in qkv.chunk(3, -1)), strict=True
        )
    ]
    return attention.out_proj(torch.cat(heads, -1))


def test_attention_is_a_softmax_over_scaled_products():
    attention = SelfAttention(8, 2).double().eval()
    torch.nn.init.normal_(attention.in_proj_bias)
    x = torch.rand(3, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(attention(x), literal_attention(attention, x))


def test_attention_of_half_precision_is_computed_in_float32_on_a_cpu():
    attention = SelfAttention(8, 2).eval()
    x = torch.rand(3, 5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = attention(x)
        qkv = F.linear(x, attention.in_proj_weight, attention.in_proj_bias).float()
    assert found.dtype == torch.bfloat16
    query, key, value = (
        part.unflatten(-1, (2, 4)).transpose(1, 2) for part in qkv.chunk(3, -1)
    )
    exact = F.scaled_dot_product_attention(query, key, value)
    with torch.autocast("cpu", torch.bfloat16):
        expected = attention.out_proj(exact.transpose(1, 2).flatten(2))
    assert torch.equal(found, expected)


def test_too_many_positions_are_an_error_in_words():
    encode = PositionalEncoding(4)
    assert encode(torch.zeros(1, MAX_POSITIONS, 4)).shape == (1, MAX_POSITIONS, 4)
    with pytest.raises(ValueError, match="chunk_size"):
        encode(torch.zeros(1, MAX_POSITIONS + 1, 4))
