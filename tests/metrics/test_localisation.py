"""The speech relevance score against eq. 5-6, and frames in time, one by one."""

import csv
import math

import numpy as np
import pytest
import torch

from lmac_td.audio import load_audio
from lmac_td.metrics import (
    active_frames,
    speech_relevance_at,
    speech_relevance_score,
    temporal_iou,
)


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


def test_several_percentiles_are_scored_as_one_is():
    a, target, other = draw()
    frames = torch.rand(8, 7) < 0.7
    percentiles = (99.9, 50, 98, 0)
    got = speech_relevance_at(a, target, other, percentiles, frames)
    for percentile, scores in zip(percentiles, got, strict=True):
        want = speech_relevance_score(a, target, other, percentile, frames)
        assert torch.equal(scores, want)


def slow_active(target, range_db):
    energies = [sum(s * s for s in frame) for frame in target]
    loudest = max(energies)
    return [
        e > 0 and 10 * math.log10(e / loudest) >= -range_db - 1e-9 for e in energies
    ]


@pytest.mark.parametrize("range_db", [0, 3, 10, 30])
def test_active_frames_equal_the_definition(range_db):
    _, target, _ = draw()
    target = target * torch.logspace(0, -3, 7, dtype=target.dtype)[:, None]
    target[2, 4] = 0
    got = active_frames(target, range_db)
    assert got.tolist() == [slow_active(clip, range_db) for clip in target.tolist()]
    assert got.any(dim=1).all()
    assert not got.all(dim=1).all()
    if range_db == 0:
        assert (got.sum(dim=1) == 1).all()
    assert torch.equal(active_frames(7 * target, range_db), got)
    assert torch.equal(active_frames(target[3:4], range_db), got[3:4])
    assert not active_frames(torch.zeros_like(target), range_db).any()


def slow_iou(a, active):
    energy = [sum(math.expm1(v) ** 2 for v in frame) for frame in a]
    k = sum(active)
    if k in (0, len(active)):
        return math.nan
    if not any(energy):
        return 0.0
    chosen = set(sorted(range(len(a)), key=lambda n: (-energy[n], n))[:k])
    true = {n for n, is_active in enumerate(active) if is_active}
    return len(chosen & true) / len(chosen | true)


def test_iou_equals_the_definition():
    generator = torch.Generator().manual_seed(2)
    a = torch.rand(40, 7, 5, generator=generator, dtype=torch.float64)
    active = torch.rand(40, 7, generator=generator) < 0.4
    a[0], active[1], active[2] = 0, True, False
    a[3:20] = a[3:20, :, :1].mul(3).round().expand(17, 7, 5)  # frames that tie
    active[0, 0] = True
    active[0, 1] = False
    want = [
        slow_iou(clip, frames)
        for clip, frames in zip(a.tolist(), active.tolist(), strict=True)
    ]
    got = temporal_iou(a, active)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)
    assert got[0] == 0
    assert got[1:3].isnan().all()
    for i in range(40):
        alone = temporal_iou(a[i : i + 1].float(), active[i : i + 1])
        np.testing.assert_allclose(alone.numpy(), want[i : i + 1], rtol=1e-6)


def test_iou_of_the_target_itself_and_of_its_opposite():
    active = torch.tensor([[False, True, True, False, False]])
    a = 0.1 + active.double().unsqueeze(2).expand(1, 5, 3)
    assert temporal_iou(a, active).tolist() == [1]
    assert temporal_iou(1.2 - a, active).tolist() == [0]
    # The level does not count.
    assert temporal_iou(0.01 * a, active).tolist() == [1]
    assert temporal_iou(0 * a, active).tolist() == [0]
    assert temporal_iou(0 * a, active & False).isnan().all()


def test_wrong_frames_are_named():
    a, target, _ = draw(2)
    with pytest.raises(ValueError, match="active must be boolean"):
        temporal_iou(a, torch.ones(2, 7))
    with pytest.raises(ValueError, match="active must be boolean"):
        temporal_iou(a, torch.ones(2, 6).bool())
    with pytest.raises(ValueError, match="range_db"):
        active_frames(target, -1)


def test_active_frames_agree_with_the_events_of_the_embedded_corpus(corpus, spectral):
    """events.csv was written by the maker of the clips, who knows."""
    events = {}
    with open(corpus / "ESC-50" / "meta" / "events.csv", newline="") as file:
        for row in csv.DictReader(file):
            times = float(row["onset_s"]), float(row["offset_s"])
            events.setdefault(row["filename"], []).append(times)
    ious, recalls, shifted = [], [], []
    for filename, times in events.items():
        wav = load_audio(corpus / "ESC-50" / "audio" / filename, 16000)
        magnitude = spectral(wav.view(1, -1)).magnitude
        active = active_frames(magnitude)[0]
        at = torch.arange(len(active)) * spectral.hop_samples / 16000
        true = torch.zeros_like(active)
        for onset, offset in times:
            true |= (onset <= at) & (at < offset)
        both = (active & true).sum().item()
        ious.append(both / (active | true).sum().item())
        recalls.append(both / true.sum().item())
        moved = active.roll(len(active) // 2)
        shifted.append(((moved & true).sum() / (moved | true).sum()).item())
    assert len(events) == 50
    # Not more: a clip's background is 18 to 38 dB below its events, which fade.
    assert np.median(ious) > 0.7
    assert np.mean(recalls) > 0.85
    assert np.mean(ious) > np.mean(shifted) + 0.3


def test_frames_of_padding_do_not_count():
    """As if the clip ended where its recording does."""
    a, target, _ = draw(n_clips=6, seed=8)
    n_frames = torch.tensor([7, 6, 4, 3, 7, 5])
    active = active_frames(target, range_db=0.5, n_frames=n_frames)
    iou = temporal_iou(a, active, n_frames)
    for clip, n in enumerate(n_frames.tolist()):
        part = slice(clip, clip + 1), slice(0, n)
        twin = active_frames(target[part], range_db=0.5)
        assert torch.equal(active[part], twin)
        assert not active[clip, n:].any()
        expected = temporal_iou(a[part], twin)
        torch.testing.assert_close(iou[clip : clip + 1], expected, equal_nan=True)
    # Frames that are active by mistake there do not count either.
    everywhere = active | (torch.arange(7) >= n_frames.unsqueeze(1))
    again = temporal_iou(a, everywhere, n_frames)
    torch.testing.assert_close(again, iou, equal_nan=True, rtol=0, atol=0)
    plain = temporal_iou(a, active_frames(target, range_db=0.5))
    whole = n_frames == 7
    torch.testing.assert_close(iou[whole], plain[whole], rtol=0, atol=0)


def test_a_clip_that_sounds_until_its_padding_has_no_onset():
    active = torch.tensor([[True, True, False, False]])
    a = torch.ones(1, 4, 2)
    assert temporal_iou(a, active, torch.tensor([2])).isnan()
    assert temporal_iou(0 * a, active, torch.tensor([3])) == 0
    assert not temporal_iou(a, active).isnan()
