"""RemOve And Retrain: which bins are removed, from which clips."""

import math

import pytest
import torch
from speechbrain.dataio.batch import PaddedBatch

from lmac_td.data.mixing import CLEAN_DB, make_mixtures
from lmac_td.data.prepare import prepare
from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import DecidedBatch, decide
from lmac_td.interpreters.base import Interpreter
from lmac_td.interpreters.baselines import RandomMask
from lmac_td.sanity.rankings import random_importance, ranking_functions
from lmac_td.sanity.removal import (
    Removal,
    fixed_batches,
    mean_magnitude,
    most_important_bins,
    remaining_inputs,
)
from tests.networks import waveform_classifier


def literal_removal(importance, magnitude, level, fill):
    """Hooker et al., section 3: the t % most important inputs, one after the other."""
    left = magnitude.clone()
    places = [
        (importance[f, k].item(), f, k)
        for f in range(importance.shape[0])
        for k in range(importance.shape[1])
    ]
    places.sort(reverse=True)
    for _, f, k in places[: math.ceil(level * len(places))]:
        left[f, k] = fill[k]
    return left


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 1.0])
def test_the_most_important_bins_are_replaced(frozen, level):
    importance, magnitude = torch.rand(2, 2, 10, 513)
    fill = torch.rand(513)
    (removed,) = most_important_bins(importance, [level])
    found = remaining_inputs(magnitude, removed, fill, frozen)
    for i in range(2):
        left = literal_removal(importance[i], magnitude[i], level, fill)
        assert torch.allclose(found[i], (left @ frozen.mel.matrix).log1p(), atol=1e-6)


def test_levels_are_shares_of_the_bins_and_nested():
    importance = torch.rand(3, 20, 10).square()
    some, more = most_important_bins(importance, [0.3, 0.7])
    assert some.sum(dim=(1, 2)).tolist() == [60] * 3
    assert more.sum(dim=(1, 2)).tolist() == [140] * 3
    assert (more | ~some).all()


def test_nothing_is_removed_at_zero_whatever_other_levels_there_are():
    importance = torch.rand(2, 4, 5)
    some, nothing, more = most_important_bins(importance, [0.5, 0, 0.8])
    assert (some.sum(), nothing.sum(), more.sum()) == (20, 0, 32)
    assert nothing.dtype == torch.bool
    (alone,) = most_important_bins(importance, [0.0])
    assert torch.equal(alone, nothing)


def test_equal_bins_are_not_removed_by_position():
    (removed,) = most_important_bins(torch.full((2, 40, 40), 0.5), [0.5])
    assert torch.equal(removed[0], removed[1])
    for half in (removed[0, :20], removed[0, :, :20]):
        assert 0.4 < half.float().mean() < 0.6


def test_random_maps_differ_by_clip_and_not_by_batch():
    magnitude = torch.ones(2, 5, 6)
    first = random_importance(magnitude, ["a", "b"], seed=1)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first[1], random_importance(magnitude[:1], ["b"], seed=1)[0])
    assert not torch.equal(first, random_importance(magnitude, ["a", "b"], seed=2))


def test_every_method_ranks_by_its_own_mask(spectral, frozen, wavs):
    """An STFT mask as it is; for the others what they leave of |X|, at most all."""
    mask = RandomMask(spectral)
    rankings = ranking_functions({"mask": mask, "sound": FirstHalf(spectral)}, seed=1)
    assert list(rankings) == ["mask", "sound", "random", "loudest first"]
    features, decision = decide(wavs, spectral, frozen)
    decided = DecidedBatch(list("abcd"), torch.arange(4), wavs, features, decision)
    found = {name: rank(decided) for name, rank in rankings.items()}
    assert torch.equal(found["mask"], mask(wavs, features, decision).mask)
    frames = found["sound"].shape[1]
    assert (found["sound"][:, : frames // 2 - 3] > 0.99).all()
    assert (found["sound"][:, frames // 2 + 4 :] == 0).all()
    assert torch.equal(found["loudest first"], features.magnitude)
    expected = random_importance(features.magnitude, list("abcd"), seed=1)
    assert torch.equal(found["random"], expected)


class FirstHalf(Interpreter):
    """Keeps the first half of a sound, by a mask of its own that is no STFT's."""

    def forward(self, wavs, features, decision):
        mask = (torch.arange(wavs.shape[1]) < wavs.shape[1] // 2).float()
        return self.explain_audio(
            mask * wavs, (1 - mask) * wavs, mask.expand_as(wavs), decision
        )


def test_the_mean_is_over_frames_and_clips():
    magnitude = torch.rand(5, 4, 3)
    mean = mean_magnitude([magnitude[:2], magnitude[2:]])
    assert torch.allclose(mean, magnitude.mean(dim=(0, 1)))


@pytest.fixture
def batches():
    """A quarter of a second a clip; by split, of other noises and numbers."""
    clips = {"train": (3, 0.0), "valid": (2, 20.0), "test": (1, CLEAN_DB)}
    items = {
        split: [
            {
                "id": f"{split}{i}",
                "clip": torch.randn(4000),
                "interference": torch.randn(4000),
                "snr_db": snr_db,
                "class_index": 10 * len(split) + i,
            }
            for i in range(n_clips)
        ]
        for split, (n_clips, snr_db) in clips.items()
    }
    return {
        split: [PaddedBatch(some[i : i + 2]) for i in range(0, len(some), 2)]
        for split, some in items.items()
    }


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_of_every_split_a_level_leaves_what_a_ranking_puts_last(
    batches, spectral, frozen, fill
):
    """Literal: clip by clip, bin by bin."""
    mixtures = {
        split: torch.cat([make_mixtures(batch, "cpu").mixture for batch in some])
        for split, some in batches.items()
    }
    magnitude = {split: spectral(wavs).magnitude for split, wavs in mixtures.items()}
    importance = {
        split: torch.stack(
            [torch.randperm(clip.numel()).view_as(clip).float() for clip in m]
        )
        for split, m in magnitude.items()
    }

    def rank(decided):
        features, decision = decide(decided.wavs, spectral, frozen)
        assert torch.equal(features.magnitude, decided.features.magnitude)
        assert torch.equal(decision.logits, decided.decision.logits)
        maps = []
        for wav, clip_id in zip(decided.wavs, decided.clip_ids, strict=True):
            split, place = clip_id[:-1], int(clip_id[-1])
            assert torch.equal(wav, mixtures[split][place])
            maps.append(importance[split][place])
        return torch.stack(maps)

    levels = [0.9, 0.0, 0.3]
    clips = Removal(batches.__getitem__, spectral, frozen, fill).clips(rank, levels)
    of_fill = torch.zeros(513)
    if fill == "mean":  # of training alone
        of_fill = magnitude["train"].mean(dim=(0, 1))
    assert list(clips) == levels
    for split, m in magnitude.items():
        labels = [10 * len(split) + i for i in range(len(m))]
        for level in levels:
            left = torch.stack(
                [
                    literal_removal(one, clip, level, of_fill)
                    for one, clip in zip(importance[split], m, strict=True)
                ]
            )
            found = clips[level][split]
            expected = (1 + left @ frozen.mel.matrix).log()
            torch.testing.assert_close(found.inputs, expected, atol=1e-5, rtol=1e-4)
            assert found.label.tolist() == labels
        whole = clips[0.0][split].inputs
        assert torch.equal(whole, frozen.inputs(mixtures[split]))
        for level in (0.3, 0.9):
            assert (clips[level][split].inputs - whole).abs().max() > 0.1


def test_mixtures_are_the_same_in_every_pass(data_settings):
    splits = ("train", "valid", "test")
    data = prepare(splits, **data_settings, conditions=["in_domain"])

    def one_pass(split):
        batches = fixed_batches(
            data, split, "in_domain", {"batch_size": 4, "num_workers": 1}
        )
        found = [
            (list(batch.id), make_mixtures(batch, "cpu").mixture) for batch in batches
        ]
        ids, wavs = zip(*found, strict=True)
        return ids, torch.cat(wavs)

    for split in splits:
        ids, first = one_pass(split)
        torch.manual_seed(3)  # as a training does in between
        again, second = one_pass(split)
        left_alone = torch.rand(1)
        torch.manual_seed(3)
        assert torch.equal(torch.rand(1), left_alone)
        assert ids == again
        assert [len(some) for some in ids] == [4, 4, 2]
        assert torch.equal(first, second)


def test_a_classifier_of_waveforms_is_refused(spectral):
    """There is no spectrogram without some bins that it could be retrained on."""
    with pytest.raises(SettingError, match="takes waveforms"):
        Removal(dict, spectral, waveform_classifier())
