"""ROC-AUC of an explanation's level in 100-ms segments."""

import math

import pytest
import torch

from lmac_td.metrics import temporal_auc
from lmac_td.metrics.segments import segment_energies

SAMPLE_RATE, HOP = 16000, 186  # as in the recipes: 8 or 9 frames a segment


def slow_energies(magnitude, sample_rate, hop, n_frames):
    """The energy of each segment of one clip, frame by frame."""
    energies = {}
    for frame, bins in enumerate(magnitude[:n_frames]):
        segment = math.floor(frame * hop / sample_rate / 0.1 + 1e-9)
        energy = sum(float(value) ** 2 for value in bins)
        energies[segment] = energies.get(segment, 0.0) + energy
    return energies


def slow_auc(magnitude_in, target, sample_rate, hop, n_frames):
    """Of all pairs of segments with and without the target, the share in order."""
    level = slow_energies(magnitude_in, sample_rate, hop, n_frames)
    of_target = slow_energies(target, sample_rate, hop, n_frames)
    loudest = max(of_target.values())
    sounds = {
        s: e > 0 and 10 * math.log10(e / loudest) >= -30 for s, e in of_target.items()
    }
    with_it = [level[s] for s in level if sounds[s]]
    without = [level[s] for s in level if not sounds[s]]
    if not with_it or not without:
        return math.nan
    won = 0.0
    for p in with_it:
        for q in without:
            won += 1 if p > q else 0.5 if p == q else 0
    return won / (len(with_it) * len(without))


def spectrograms(n_clips=6, n_frames=87, n_bins=5, seed=0):
    """Levels that differ by segment; some targets are silent for a while."""
    generator = torch.Generator().manual_seed(seed)
    shape = n_clips, n_frames, n_bins
    attribution = torch.rand(shape, generator=generator, dtype=torch.float64) ** 4
    target = torch.rand(shape, generator=generator, dtype=torch.float64)
    for clip in range(n_clips):
        target[clip, : 10 * clip] *= 1e-3
        attribution[clip, 5 * clip : 40] *= 0.1
    return attribution, target


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("hop", [HOP, 80, 1600, 2000])
def test_auc_equals_a_count_of_all_pairs(hop, padded):
    attribution, target = spectrograms()
    n_frames = torch.tensor([87, 20, 45, 87, 70, 33]) if padded else None
    if padded:  # whatever stands in the padding
        after = torch.arange(87) >= n_frames.unsqueeze(1)
        attribution[after], target[after] = 3.0, 100.0
    found = temporal_auc(attribution, target, SAMPLE_RATE, hop, n_frames)
    expected = [
        slow_auc(a.expm1(), t, SAMPLE_RATE, hop, n)
        for a, t, n in zip(
            attribution, target, n_frames.tolist() if padded else [87] * 6, strict=True
        )
    ]
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), equal_nan=True
    )
    assert 0 < found.nanmean() < 1


def test_ties_count_one_half():
    target = torch.tensor([[[1.0], [1.0], [0.0], [0.0]]])
    for levels, expected in (
        ([1.0, 1.0, 1.0, 1.0], 0.5),
        ([2.0, 1.0, 1.0, 0.0], 0.875),
        ([0.0, 0.0, 1.0, 2.0], 0.0),
        ([3.0, 2.0, 1.0, 0.0], 1.0),
    ):
        attribution = torch.tensor(levels).view(1, 4, 1)
        assert temporal_auc(attribution, target, 1000, 100).item() == expected


def test_a_target_everywhere_or_nowhere_has_no_onset():
    attribution = torch.rand(3, 4, 2)
    target = torch.ones(3, 4, 2)
    target[1] = 0
    target[2, :2] = 0.01  # 40 dB below the loudest
    auc = temporal_auc(attribution, target, 1000, 100)
    assert auc.isnan().tolist() == [True, True, False]
    assert temporal_auc(attribution, target, 1000, 100, range_db=50)[2].isnan()


def test_neither_level_nor_the_other_clips_count():
    attribution, target = spectrograms()
    auc = temporal_auc(attribution, target, SAMPLE_RATE, HOP)
    quieter = (0.01 * attribution.expm1()).log1p()
    torch.testing.assert_close(
        temporal_auc(quieter, 7 * target, SAMPLE_RATE, HOP), auc, equal_nan=True
    )
    for clip in range(len(auc)):
        alone = temporal_auc(
            attribution[clip, None], target[clip, None], SAMPLE_RATE, HOP
        )
        torch.testing.assert_close(alone[0], auc[clip], equal_nan=True)


def test_a_frame_belongs_to_the_segment_of_its_centre():
    magnitude = torch.ones(1, 87, 1)
    energies, exists = segment_energies(magnitude, SAMPLE_RATE, HOP)
    # 16000 / 186 = 86.02 frames in ten segments; the last frame begins the tenth.
    assert energies.shape == (1, 10)
    assert energies.sum() == 87
    assert set(energies[0].tolist()) <= {8.0, 9.0, 10.0}
    assert exists.all()
    _, exists = segment_energies(magnitude, SAMPLE_RATE, HOP, torch.tensor([9]))
    assert exists[0].tolist() == [True] + [False] * 9


def test_wrong_arguments_are_named():
    maps = torch.rand(2, 4, 3)
    with pytest.raises(ValueError, match="target_mag and attribution"):
        temporal_auc(maps, maps[:, :2], 1000, 100)
    with pytest.raises(ValueError, match="range_db"):
        temporal_auc(maps, maps, 1000, 100, range_db=-1)
    with pytest.raises(ValueError, match="valid length"):
        temporal_auc(maps, maps, 1000, 100, n_frames=torch.tensor([1, 5]))
