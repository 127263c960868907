"""The speech relevance score against eq. 5-6, bin by bin."""

import numpy as np
import pytest
import torch

from lmac_td.metrics import speech_relevance_score


def slow_score(a, target, other, percentile, frames):
    above, hits = 0, 0
    for n in range(a.shape[0]):
        if not frames[n]:
            continue
        threshold = np.percentile(np.abs(a[n]), percentile)
        for f in range(a.shape[1]):
            if abs(a[n, f]) > threshold:
                above += 1
                ideal_binary_mask = 1 if abs(target[n, f]) > abs(other[n, f]) else 0
                hits += ideal_binary_mask
    return hits / above if above else np.nan


def draw(n_clips=8, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    a, target, other = torch.randn(3, n_clips, 7, 33, generator=generator).to(dtype)
    return a, target.abs(), other.abs()


@pytest.mark.parametrize("percentile", [0, 37.5, 50, 90, 99.9, 100])
@pytest.mark.parametrize("some_frames", [False, True])
def test_equals_the_equations(percentile, some_frames):
    a, target, other = draw()
    a[0, 2] = 0.25  # a constant frame has no bin above its threshold
    a[1, :, ::2] = 0  # ties
    other[2, :, :9] = target[2, :, :9]  # equal is not the target's
    frames = torch.ones(8, 7, dtype=torch.bool)
    if some_frames:
        frames = torch.rand(8, 7, generator=torch.Generator().manual_seed(1)) < 0.5
        frames[3] = False
    want = [
        slow_score(*clip, percentile, keep)
        for *clip, keep in zip(
            a.numpy(), target.numpy(), other.numpy(), frames.numpy(), strict=True
        )
    ]
    got = speech_relevance_score(
        a, target, other, percentile, frames if some_frames else None
    )
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)
    if some_frames or percentile == 100:
        assert np.isnan(want).any()


def test_only_the_target_and_only_the_rest():
    a, target, _ = draw()
    silent = torch.zeros_like(target)
    assert speech_relevance_score(a, target + 1, silent, 90).eq(1).all()
    assert speech_relevance_score(a, silent, target, 90).eq(0).all()
    assert speech_relevance_score(a, target, target, 90).eq(0).all()


def test_a_map_of_the_target_scores_more_than_a_random_one():
    a, target, other = draw()
    aimed = target - other
    aimed = aimed.clamp(min=0)
    assert speech_relevance_score(aimed, target, other, 90).eq(1).all()
    assert speech_relevance_score(a, target, other, 90).mean() < 0.7


def test_the_threshold_belongs_to_its_frame():
    """A frame that is loud everywhere must not silence the others."""
    a, target, other = draw()
    louder = a.clone()
    louder[:, 3] *= 1000
    plain = speech_relevance_score(a, target, other, 90)
    assert torch.equal(speech_relevance_score(louder, target, other, 90), plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_batch_size_does_not_matter_and_arguments_stay(dtype):
    tensors = draw(dtype=dtype)
    copies = [t.clone() for t in tensors]
    whole = speech_relevance_score(*tensors, 75)
    assert whole.dtype == torch.float32
    for size in (1, 3, 8):
        parts = zip(*(t.split(size) for t in tensors), strict=True)
        scores = [speech_relevance_score(*part, 75) for part in parts]
        assert torch.equal(torch.cat(scores), whole)
    for tensor, copy in zip(tensors, copies, strict=True):
        assert torch.equal(tensor, copy)


def test_wrong_arguments_are_named():
    a, target, other = draw(2)
    with pytest.raises(ValueError, match="other_mag and attribution"):
        speech_relevance_score(a, target, other[:, :3], 90)
    with pytest.raises(ValueError, match="percentile"):
        speech_relevance_score(a, target, other, 101)
    with pytest.raises(ValueError, match="frames must be boolean"):
        speech_relevance_score(a, target, other, 90, torch.ones(2, 7))
    with pytest.raises(ValueError, match="frames must be boolean"):
        speech_relevance_score(a, target, other, 90, torch.ones(2, 6).bool())
