"""White noise and clips of other classes: pure functions of clip, condition, seed."""

import hashlib
import json
from collections import Counter

import numpy as np
import pytest
import torch

from lmac_td.data.conditions.mixtures import OtherClasses
from lmac_td.data.conditions.white_noise import GaussianNoise
from lmac_td.errors import DataError
from lmac_td.random import seeded_generator

N = 20000
CLASSES = {f"clip{i:02d}": i % 4 for i in range(20)}


def partner_of(others, clip_id, condition="mixtures", seed=0):
    return others.partner(clip_id, seeded_generator(clip_id, condition, seed))


@pytest.fixture
def write(tmp_path):
    """Write a manifest of clips whose samples equal their number."""

    def run(classes, name="test", folds=()):
        folds = dict(folds)
        entries = {}
        for clip_id, class_index in classes.items():
            wav = np.full(10, 1 + int(clip_id[4:]), dtype=np.float32)
            np.save(tmp_path / f"{clip_id}.npy", wav)
            entries[clip_id] = {
                "wav": str(tmp_path / f"{clip_id}.npy"),
                "class_index": class_index,
                "fold": folds.get(clip_id, 1),
            }
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(entries))
        return path

    return run


# ---------------------------------------------------------------- white noise


def test_white_noise_is_white():
    """The power in each of 16 bands is the same, up to chance."""
    noise = GaussianNoise(16 * N).fixed("clip", "white_noise", 0).double()
    power = torch.fft.rfft(noise).abs().square()[1:]
    bands = power[: len(power) // 16 * 16].reshape(16, -1).mean(1)
    # A mean of 10 000 exponential variables deviates by a hundredth.
    assert ((bands / bands.mean() - 1).abs() < 0.05).all()
    assert noise.mean().abs() < 0.01
    for lag in (1, 2, 50):
        assert (noise[lag:] * noise[:-lag]).mean().abs() < 0.01


def test_white_noise_is_gaussian():
    noise = GaussianNoise(16 * N).fixed("clip", "white_noise", 0).double()
    assert noise.var().item() == pytest.approx(1, abs=0.01)
    assert noise.pow(4).mean().item() == pytest.approx(3, abs=0.06)
    within = (noise.abs() < 1).double().mean().item()
    assert within == pytest.approx(0.6827, abs=0.004)


def test_white_noise_is_a_pure_function():
    noise = GaussianNoise(N)
    reference = noise.fixed("clip", "white_noise", 0)
    assert (reference.dtype, reference.shape) == (torch.float32, (N,))
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(reference, noise.fixed("clip", "white_noise", 0))
    assert torch.equal(state, torch.get_rng_state()), "the global generator was used"
    for other in (
        ("clip2", "white_noise", 0),
        ("clip", "x", 0),
        ("clip", "white_noise", 1),
    ):
        draw = noise.fixed(*other)
        assert (reference * draw).mean().abs() < 0.05


# ---------------------------------------------------------------- other classes


def test_the_partner_always_has_another_class(write):
    others = OtherClasses(write(CLASSES))
    drawn = Counter()
    for clip_id, class_index in CLASSES.items():
        for seed in range(60):
            partner = partner_of(others, clip_id, "mixtures", seed)
            assert CLASSES[partner] != class_index
            drawn[partner] += 1
    # Each of 20 clips is drawn about as often as any other: 60 times, give or take 8.
    assert set(drawn) == set(CLASSES)
    assert 30 < min(drawn.values()) <= max(drawn.values()) < 100


def test_the_partner_equals_its_literal_twin(write):
    """It is drawn from the sorted ids of other classes, by the hash of the clip."""
    others = OtherClasses(write(CLASSES))
    for clip_id in CLASSES:
        candidates = sorted(c for c in CLASSES if CLASSES[c] != CLASSES[clip_id])
        digest = hashlib.sha256(json.dumps([clip_id, "mixtures", 7]).encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))
        drawn = candidates[
            int(torch.randint(len(candidates), (1,), generator=generator))
        ]
        assert partner_of(others, clip_id, "mixtures", 7) == drawn
        wav = others.fixed(clip_id, "mixtures", 7)
        assert wav.tolist() == [1 + int(drawn[4:])] * 10


def test_other_folds_change_nothing(write):
    """The mixtures of a fold do not depend on another fold in the manifest."""
    more = {f"clip{i}": i % 4 for i in range(20, 40)}
    alone = OtherClasses(write(CLASSES))
    both = OtherClasses(write({**CLASSES, **more}, folds=dict.fromkeys(more, 2)))
    for clip_id in CLASSES:
        partner = partner_of(alone, clip_id)
        assert partner_of(both, clip_id) == partner
    assert all(partner_of(both, clip_id) in more for clip_id in more)


def test_the_order_of_the_clips_changes_nothing(write):
    forward = OtherClasses(write(CLASSES))
    backward = OtherClasses(write(dict(reversed(CLASSES.items())), "valid"))
    for clip_id in CLASSES:
        ours, theirs = (partner_of(o, clip_id) for o in (forward, backward))
        assert ours == theirs


def test_the_partner_depends_on_clip_condition_and_seed(write):
    others = OtherClasses(write(CLASSES))

    def partners(condition, seed):
        return [partner_of(others, clip_id, condition, seed) for clip_id in CLASSES]

    reference = partners("mixtures", 0)
    assert reference == partners("mixtures", 0)
    assert reference != partners("mixtures", 1)
    assert reference != partners("another", 0)
    assert len(set(reference)) > 5


def test_tagged_clips_are_mixed_with_clips_that_share_no_tag(write):
    path = write({"clip01": 0, "clip02": 0, "clip03": 1, "clip04": 2})
    clips = json.loads(path.read_text())
    tags = {
        "clip01": ["dog"],
        "clip02": ["dog", "rain"],
        "clip03": ["rain"],
        "clip04": ["siren", "dog"],
    }
    for clip_id, labels in tags.items():
        clips[clip_id]["labels"] = labels
    path.write_text(json.dumps(clips))
    others = OtherClasses(path)
    for seed in range(20):
        assert partner_of(others, "clip01", seed=seed) == "clip03"
        assert partner_of(others, "clip03", seed=seed) in ("clip01", "clip04")
    with pytest.raises(DataError, match=r"fold 1 shares a class with 'clip02'"):
        partner_of(others, "clip02")


def test_a_split_of_one_class_is_refused(write):
    path = write({"clip01": 3, "clip02": 3}, "valid")
    with pytest.raises(DataError, match=r"fold 1 are of one class.*--valid_fold_nums"):
        OtherClasses(path)
