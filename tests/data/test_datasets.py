"""Datasets of mixtures, through SpeechBrain's own dataloader."""

import json
import math
import pickle

import numpy as np
import pytest
import torch
from speechbrain.dataio.dataloader import make_dataloader

from lmac_td.audio import save_audio
from lmac_td.data.conditions.mixtures import OtherClasses
from lmac_td.data.conditions.white_noise import GaussianNoise
from lmac_td.data.datasets import OUTPUT_KEYS, make_dataset
from lmac_td.data.epoch_seeds import EpochSeededSampler
from lmac_td.data.mixing import make_mixtures
from lmac_td.data.noise import NoisePool
from lmac_td.errors import DataError, SettingError

RATE, N = 1000, 500


@pytest.fixture
def manifest(tmp_path):
    """Six clips, of which the last one is shorter."""
    generator = torch.Generator().manual_seed(0)
    entries = {}
    for i in range(6):
        wav = torch.randn(N if i < 5 else N // 2, generator=generator)
        np.save(tmp_path / f"{i}.npy", wav.numpy())
        wav = str(tmp_path / f"{i}.npy")
        entries[f"clip{i}"] = {"wav": wav, "class_index": i % 3, "fold": 1}
    (tmp_path / "train.json").write_text(json.dumps(entries))
    return tmp_path / "train.json"


@pytest.fixture
def pool(tmp_path):
    for i in range(3):
        save_audio(tmp_path / "noise" / f"{i}.wav", torch.rand(4 * N) - 0.5, RATE)
    return NoisePool(tmp_path / "noise", RATE, N / RATE)


@pytest.fixture
def five(manifest):
    """The manifest without the shorter clip."""
    entries = json.loads(manifest.read_text())
    del entries["clip5"]
    manifest.write_text(json.dumps(entries))
    return manifest


def batches(dataset, **kwargs):
    return list(make_dataloader(dataset, batch_size=2, **kwargs))


def all_mixtures(dataset, **kwargs):
    mixed = (make_mixtures(batch, "cpu") for batch in batches(dataset, **kwargs))
    return torch.cat([mixture for mixture, *_ in mixed])


def test_batches(five, pool):
    dataset = make_dataset(five, "in_domain", pool, snr_db=3.0)
    assert list(dataset[0]) == OUTPUT_KEYS
    first, *_, last = batches(dataset)
    assert first.id == ["clip0", "clip1"]
    assert torch.as_tensor(first.class_index).tolist() == [0, 1]
    assert first.clip.data.shape == first.interference.data.shape == (2, N)
    assert first.clip.data.dtype == torch.float32
    assert first.clip.lengths.tolist() == [1, 1]
    assert first.snr_db.tolist() == [3, 3]
    assert last.clip.data.shape == (1, N)
    mixed = make_mixtures(first, "cpu")
    assert torch.equal(mixed.mixture, mixed.target + mixed.interference)
    energy = [part.square().sum(-1) for part in mixed[1:3]]
    np.testing.assert_allclose(10 * torch.log10(energy[0] / energy[1]), 3, atol=1e-3)


def test_target_is_the_clip(five, pool):
    batch = batches(make_dataset(five, "in_domain", pool, mixing_seed=0))[1]
    target = make_mixtures(batch, "cpu").target[0]
    clip = torch.from_numpy(np.load(five.parent / "2.npy"))
    assert torch.equal(batch.clip.data[0], clip)
    torch.testing.assert_close(target, target.norm() / clip.norm() * clip)


def test_clean(manifest):
    batch = batches(make_dataset(manifest, "clean"))[2]
    assert not batch.interference.data.any()
    assert batch.snr_db.tolist() == [math.inf, math.inf]
    mixed = make_mixtures(batch, "cpu")
    assert torch.equal(mixed.mixture, mixed.target)
    assert mixed.mixture.abs().amax(-1).tolist() == [1, 1]
    # Clips of unequal lengths are padded.
    assert batch.clip.lengths.tolist() == [1, 0.5]


class Given:
    """Always the same interference."""

    def __init__(self, wav):
        self.wav = wav

    def random(self):
        return self.wav


def test_items_have_the_length_of_a_clip(manifest, pool):
    """From the manifest if it has the length, else the decoded length."""
    entries = json.loads(manifest.read_text())
    entries["clip0"]["n_samples"] = 200
    manifest.write_text(json.dumps(entries))
    dataset = make_dataset(manifest, "clean")
    assert [dataset[i]["n_samples"] for i in (0, 1, 5)] == [200, N, N // 2]
    (first, *_) = batches(dataset)
    assert first.n_samples.tolist() == [200, N]


def test_interference_is_audible_within_a_short_clip(five):
    """A silent start would leave a short clip without interference."""
    entries = json.loads(five.read_text())
    entries["clip1"]["n_samples"] = 100
    five.write_text(json.dumps(entries))
    clip = np.load(entries["clip1"]["wav"])
    clip[100:] = 0
    np.save(entries["clip1"]["wav"], clip)
    late = torch.zeros(N)
    late[150:] = torch.rand(N - 150) + 0.1
    dataset = make_dataset(five, "in_domain", Given(late))
    assert torch.equal(dataset[0]["interference"], late)
    assert torch.equal(dataset[1]["interference"][: N - 150], late[150:])
    mixed = make_mixtures(batches(dataset)[0], "cpu")
    energy = [part[1].double().square().sum() for part in mixed[1:3]]
    assert 10 * torch.log10(energy[0] / energy[1]) == pytest.approx(0, abs=1e-4)
    assert not mixed.mixture[1, 100:].any()


@pytest.mark.parametrize("bad", [0.0, math.nan])
def test_silence_names_the_clip(five, bad):
    silent = Given(torch.full((N,), bad))
    with pytest.raises(DataError, match="the noise for 'clip1' is silent"):
        make_dataset(five, "in_domain", silent)[1]
    np.save(five.parent / "1.npy", silent.wav.numpy())
    for condition in ("in_domain", "clean"):
        with pytest.raises(DataError, match="the clip 'clip1' is silent"):
            make_dataset(five, condition, Given(torch.ones(N)))[1]


def test_noise_is_as_long_as_the_clip(five):
    with pytest.raises(ValueError, match="'clip1' and its noise must both be"):
        make_dataset(five, "in_domain", Given(torch.ones(N + 1)))[1]


def test_fixed_mixtures_never_change(five, pool):
    reference = all_mixtures(make_dataset(five, "in_domain", pool, mixing_seed=0))
    torch.manual_seed(1)
    dataset = make_dataset(five, "in_domain", pool, mixing_seed=0)
    assert torch.equal(reference, all_mixtures(dataset))
    assert torch.equal(reference, all_mixtures(dataset, num_workers=2))
    other = make_dataset(five, "in_domain", pool, mixing_seed=1)
    assert not torch.equal(reference, all_mixtures(other))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_mixtures_always_change(five, pool, num_workers):
    torch.manual_seed(0)
    dataset = make_dataset(five, "in_domain", pool)
    epochs = [all_mixtures(dataset, num_workers=num_workers) for _ in range(2)]
    assert not torch.equal(*epochs)
    torch.manual_seed(0)
    again = all_mixtures(dataset, num_workers=num_workers)
    assert torch.equal(epochs[0], again), "the global seed must decide"


def drawn(dataset, epochs, seed=3, **kwargs):
    """[{clip id: its interference}] of a training's epochs."""
    sampler = EpochSeededSampler(dataset, seed)
    loader = make_dataloader(dataset, batch_size=2, sampler=sampler, **kwargs)
    found = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        found.append({})
        for batch in loader:
            found[-1] |= dict(zip(batch.id, batch.interference.data, strict=True))
    return found


def same(first, second):
    return list(first) == list(second) and all(
        torch.equal(wav, second[clip_id]) for clip_id, wav in first.items()
    )


@pytest.mark.parametrize("clean_probability", [0, 0.5])
def test_training_draws_depend_on_seed_and_epoch_not_on_workers(
    five, pool, clean_probability
):
    dataset = make_dataset(five, "in_domain", pool, clean_probability=clean_probability)
    reference = drawn(dataset, [1, 2, 3])
    assert all(len(epoch) == 5 for epoch in reference)
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert not same(reference[first], reference[second])
    assert not same(reference[0], drawn(dataset, [1], seed=4)[0])
    for workers in (
        {"num_workers": 1},
        {"num_workers": 2, "persistent_workers": True},
        {"num_workers": 2, "prefetch_factor": 1},
    ):
        torch.manual_seed(len(workers))
        assert all(map(same, drawn(dataset, [1, 2, 3], **workers), reference)), workers
    # A training that resumes with its third epoch gets the same interference.
    assert same(drawn(dataset, [3])[0], reference[2])


def test_reading_does_not_change_the_global_generator(five, pool):
    dataset = make_dataset(five, "in_domain", pool, clean_probability=0.5)
    torch.manual_seed(0)
    drawn(dataset, [1], generator=torch.Generator())
    ours = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), ours)


def test_fixed_mixtures_do_not_depend_on_the_epoch(five, pool):
    dataset = make_dataset(five, "in_domain", pool, mixing_seed=0)
    for epoch_seed in ((3, 1), (3, 2), None):
        assert torch.equal(
            dataset[2, epoch_seed]["interference"], dataset[2]["interference"]
        )


@pytest.mark.parametrize(
    ("probability", "low", "high"), [(0, 0, 0), (0.3, 25, 95), (1, 200, 200)]
)
def test_clean_probability(five, pool, probability, low, high):
    torch.manual_seed(0)
    dataset = make_dataset(five, "in_domain", pool, clean_probability=probability)
    n_clean = sum(not dataset[i % 5]["interference"].any().item() for i in range(200))
    assert low <= n_clean <= high


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"condition": "clean", "snr_range_db": (3, -3)}, "snr_range_db"),
        ({"condition": "clean", "snr_range_db": (1, 2, 3)}, "snr_range_db"),
        (
            {"condition": "clean", "snr_range_db": (0, 3), "mixing_seed": 0},
            "snr_range_db",
        ),
        ({"condition": "clean", "clean_probability": 1.5}, "clean_probability"),
        ({"condition": "clean", "snr_db": math.inf}, "snr_db is inf"),
        (
            {"condition": "clean", "clean_probability": 0.5, "mixing_seed": 0},
            "clean_probability",
        ),
    ],
)
def test_wrong_settings_are_named(manifest, arguments, word):
    with pytest.raises(SettingError, match=word):
        make_dataset(manifest, **arguments)


@pytest.mark.parametrize("condition", ["in_domain", "mixtures", "white_noise"])
def test_a_dataset_can_be_pickled(five, pool, condition):
    others = {"mixtures": OtherClasses(five), "white_noise": GaussianNoise(N)}
    interference = others.get(condition, pool)
    dataset = make_dataset(five, condition, interference, mixing_seed=3)
    sent = pickle.loads(pickle.dumps(dataset))
    for name in ("clip", "interference"):
        assert torch.equal(sent[2][name], dataset[2][name])


def test_an_epoch_may_go_through_the_same_mixtures_several_times(five, pool):
    dataset = make_dataset(five, "in_domain", pool)
    plain, repeated = (
        EpochSeededSampler(dataset, seed=3, repeats=repeats) for repeats in (1, 3)
    )
    for sampler in (plain, repeated):
        sampler.set_epoch(2)
    indices = list(repeated)
    assert len(repeated) == len(indices) == 15
    assert indices[:5] == list(plain)
    passes = [indices[start : start + 5] for start in (0, 5, 10)]
    assert all(sorted(p) == sorted(plain) for p in passes)  # one seed: one mixture
    assert passes[0] != passes[1]
    assert passes[1] != passes[2]
    assert list(repeated) == indices


def test_the_ratio_of_a_clip_is_drawn_from_its_range(five, pool):
    def ratios(seed):
        dataset = make_dataset(five, "in_domain", pool, 2, snr_range_db=(-3, 6))
        return [dataset[i, (seed, 1)]["snr_db"] for i in range(len(dataset))]

    assert ratios(1) == ratios(1) != ratios(2)
    drawn = [ratio for seed in range(20) for ratio in ratios(seed)]
    assert -1 <= min(drawn) < 0.5
    assert 6.5 < max(drawn) <= 8


def test_a_ratio_without_a_range_is_that_of_the_condition(five, pool):
    dataset = make_dataset(five, "in_domain", pool, 2)
    assert {dataset[i]["snr_db"] for i in range(len(dataset))} == {2.0}
