"""The settings of dataloaders with and without a GPU."""

import json
import multiprocessing
import os
import warnings

import numpy as np
import pytest
import torch
from speechbrain.dataio.dataloader import make_dataloader
from speechbrain.utils.checkpoints import Checkpointer

from lmac_td.data.datasets import make_dataset
from lmac_td.data.epoch_seeds import EpochSeededSampler
from lmac_td.data.loading import adapt_to_cpu, loader_settings
from lmac_td.data.mixing import make_mixtures
from lmac_td.errors import SettingError


@pytest.fixture
def dataset(tmp_path):
    """Six clean training clips."""
    entries = {}
    for i in range(6):
        np.save(tmp_path / f"{i}.npy", np.full(10, i + 1, dtype=np.float32))
        wav = str(tmp_path / f"{i}.npy")
        entries[f"clip{i}"] = {"wav": wav, "class_index": i, "fold": 1}
    (tmp_path / "train.json").write_text(json.dumps(entries))
    return make_dataset(tmp_path / "train.json", "clean")


@pytest.fixture
def machine(monkeypatch):
    """Simulate a machine with a number of cores, with or without a GPU."""

    def pretend(gpu, n_cores):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(
            os, "sched_getaffinity", lambda _: set(range(n_cores)), raising=False
        )

    return pretend


@pytest.mark.parametrize(
    ("gpu", "n_cores", "n_workers"),
    [(False, 16, 0), (True, 16, 4), (True, 2, 2), (True, 1, 1)],
)
def test_workers_read_ahead_for_a_gpu(machine, gpu, n_cores, n_workers):
    machine(gpu, n_cores)
    settings = loader_settings(8, "auto")
    assert settings["batch_size"] == 8
    assert settings["num_workers"] == n_workers
    assert settings["persistent_workers"] == settings["pin_memory"] == gpu


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("n_workers", [0, 3])
def test_a_given_number_of_workers_is_used(machine, gpu, n_workers):
    machine(gpu, n_cores=1)
    settings = loader_settings(8, n_workers)
    assert settings["num_workers"] == n_workers
    assert settings["persistent_workers"] == (n_workers > 0)
    assert settings["pin_memory"] == gpu


@pytest.mark.parametrize("wrong", [-1, 1.5, "all", None, True])
def test_a_wrong_number_of_workers_is_refused(wrong):
    with pytest.raises(SettingError, match="give --num_workers auto or a whole number"):
        loader_settings(8, wrong)


@pytest.mark.parametrize("n_workers", [0, 1])
def test_loading_has_no_output_and_leaves_no_process(dataset, n_workers):
    sampler = EpochSeededSampler(dataset, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loader = make_dataloader(
            dataset, **loader_settings(4, n_workers), sampler=sampler
        )
        for epoch in (1, 2):
            sampler.set_epoch(epoch)
            sizes = [len(make_mixtures(batch, "cpu").mixture) for batch in loader]
            assert sizes == [4, 2]
    assert len(multiprocessing.active_children()) == n_workers
    del loader, sampler
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("n_workers", [0, 1])
def test_an_interrupted_epoch_resumes_where_it_stopped(dataset, tmp_path, n_workers):
    """SpeechBrain resumes within an epoch from a checkpoint of the loader."""

    def loading():
        sampler = EpochSeededSampler(dataset, 0)
        loader = make_dataloader(
            dataset, **loader_settings(2, n_workers), sampler=sampler
        )
        return sampler, loader, Checkpointer(tmp_path / "save", {"loader": loader})

    def epoch_of(sampler, loader, epoch):
        sampler.set_epoch(epoch)
        return [batch.id for batch in loader]

    sampler, loader, _ = loading()
    whole = [epoch_of(sampler, loader, epoch) for epoch in (1, 2)]
    sampler, loader, checkpointer = loading()
    sampler.set_epoch(1)
    iterator = iter(loader)
    assert next(iterator).id == whole[0][0]
    checkpointer.save_checkpoint(end_of_epoch=False)
    del iterator, loader
    sampler, loader, checkpointer = loading()
    checkpointer.recover_if_possible()
    assert epoch_of(sampler, loader, 1) == whole[0][1:]
    assert epoch_of(sampler, loader, 2) == whole[1]


@pytest.mark.parametrize("n_workers", [0, 1])
def test_loading_does_not_change_the_generator_of_training(dataset, n_workers):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(make_dataloader(dataset, **loader_settings(4, n_workers)))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(("num_workers", "kept"), [("auto", 0), (2, 2)])
def test_a_run_on_the_cpu_does_not_use_the_gpu(monkeypatch, num_workers, kept):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    settings = adapt_to_cpu(loader_settings(4, num_workers), num_workers)
    assert not settings["pin_memory"]
    assert settings["num_workers"] == kept
    assert settings["persistent_workers"] == (kept > 0)
