"""Chunks equal those of literal loops; the normalisation is PyTorch's."""

import torch

from lmac_td.nn.dual_path import GlobalNorm, overlap_add, segment


def test_segment_and_overlap_add_equal_literal_loops():
    for n_frames, chunk_size in ((1, 2), (7, 4), (8, 4), (9, 6), (3, 10)):
        x = torch.randn(2, n_frames, 3)
        chunks = segment(x, chunk_size)
        half = chunk_size // 2
        total = torch.zeros(2, (chunks.shape[1] + 1) * half, 3)
        for s in range(chunks.shape[1]):
            for k in range(chunk_size):
                at = s * half + k - half
                frame = x[:, at] if 0 <= at < n_frames else torch.zeros(2, 3)
                assert torch.equal(chunks[:, s, k], frame)
                total[:, s * half + k] += chunks[:, s, k]
        assert torch.equal(overlap_add(chunks), total[:, half:-half])
        assert torch.equal(overlap_add(chunks)[:, :n_frames], 2 * x)


def test_global_norm_is_group_norm():
    ours, theirs = GlobalNorm(6), torch.nn.GroupNorm(1, 6, eps=1e-8)
    state = {"weight": torch.randn(6), "bias": torch.randn(6)}
    ours.load_state_dict(state)
    theirs.load_state_dict(state)
    x = torch.randn(2, 4, 5, 6)
    expected = theirs(x.movedim(-1, 1)).movedim(1, -1)
    torch.testing.assert_close(ours(x), expected)
