"""Datasets of mixtures, through SpeechBrain's own dataloader."""

import json
import pickle

import numpy as np
import pytest
import torch
from speechbrain.dataio.dataloader import make_dataloader

from lmac_td.audio import save_audio
from lmac_td.data.datasets import OUTPUT_KEYS, make_dataset
from lmac_td.data.interference import OtherClasses, WhiteNoise
from lmac_td.data.noise import NoisePool
from lmac_td.errors import SettingError

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
    return torch.cat([batch.mixture.data for batch in batches(dataset, **kwargs)])


def test_batches(five, pool):
    dataset = make_dataset(five, "in_domain", pool, snr_db=3.0)
    assert list(dataset[0]) == OUTPUT_KEYS
    first, *_, last = batches(dataset)
    assert first.id == ["clip0", "clip1"]
    assert torch.as_tensor(first.class_index).tolist() == [0, 1]
    assert first.mixture.data.shape == (2, N)
    assert first.mixture.data.dtype == torch.float32
    assert first.mixture.lengths.tolist() == [1, 1]
    assert last.mixture.data.shape == (1, N)
    # The three parts belong together: one draw of noise made them all.
    total = first.target.data + first.interference.data
    assert torch.equal(first.mixture.data, total)
    energy = [part.data.square().sum(-1) for part in (first.target, first.interference)]
    np.testing.assert_allclose(10 * torch.log10(energy[0] / energy[1]), 3, atol=1e-3)


def test_target_is_the_clip(five, pool):
    item = make_dataset(five, "in_domain", pool, mixing_seed=0)[2]
    clip = torch.from_numpy(np.load(five.parent / "2.npy"))
    scale = item["target"].norm() / clip.norm()
    torch.testing.assert_close(item["target"], scale * clip)


def test_clean(manifest):
    batch = batches(make_dataset(manifest, "clean"))[2]
    assert not batch.interference.data.any()
    assert torch.equal(batch.mixture.data, batch.target.data)
    assert batch.mixture.data.abs().amax(-1).tolist() == [1, 1]
    # Clips of unequal lengths are padded.
    assert batch.mixture.lengths.tolist() == [1, 0.5]


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
        ({"condition": "underwater"}, "underwater.*in_domain, mixtures, .* or clean"),
        ({"condition": "in_domain"}, "nothing to mix"),
        ({"condition": "speech", "mixing_seed": 0}, "nothing to mix"),
        ({"condition": "white_noise"}, "for validation and test"),
        ({"condition": "clean", "clean_probability": 1.5}, "clean_probability"),
        (
            {"condition": "clean", "clean_probability": 0.5, "mixing_seed": 0},
            "clean_probability",
        ),
    ],
)
def test_wrong_settings_are_named(manifest, arguments, word):
    with pytest.raises(SettingError, match=word):
        make_dataset(manifest, **arguments)


@pytest.mark.parametrize("condition", ["mixtures", "white_noise", "speech"])
def test_training_knows_no_other_condition(five, pool, condition):
    with pytest.raises(SettingError, match=f"{condition}.*train on clean or in_domain"):
        make_dataset(five, condition, pool)


@pytest.mark.parametrize("condition", ["in_domain", "mixtures", "white_noise"])
def test_a_dataset_can_be_sent_to_any_worker(five, pool, condition):
    others = {"mixtures": OtherClasses(five), "white_noise": WhiteNoise(N)}
    interference = others.get(condition, pool)
    dataset = make_dataset(five, condition, interference, mixing_seed=3)
    sent = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(sent[2]["mixture"], dataset[2]["mixture"])
