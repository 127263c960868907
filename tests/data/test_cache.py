"""The cache: subfolders, files of earlier versions, and a limit of its size."""

import os

import numpy as np
import pytest
import torch

from lmac_td.audio import save_audio
from lmac_td.data import cache
from lmac_td.data.cache import NPY_HEADER, cached_path, decode_once, make_room
from lmac_td.data.demo.corpus import generate_corpus
from lmac_td.data.manifests import write_manifests
from lmac_td.data.sources.esc50 import ESC50
from lmac_td.errors import SettingError


@pytest.fixture
def recording(tmp_path):
    return save_audio(tmp_path / "a.wav", torch.randn(8000) / 8, 8000)


def test_files_lie_in_subfolders_of_two_digits(recording, tmp_path):
    decoded = decode_once(recording, 8000, 1.0, tmp_path / "cache")
    assert decoded.parent.name == decoded.name[:2]
    assert decoded.parent.parent == tmp_path / "cache"
    assert decoded.stat().st_size == NPY_HEADER + 4 * 8000


def test_files_of_earlier_versions_are_found(recording, tmp_path, monkeypatch):
    decoded = decode_once(recording, 8000, 1.0, tmp_path / "cache")
    flat = tmp_path / "cache" / decoded.name
    decoded.rename(flat)
    monkeypatch.setattr(cache, "load_audio", None)  # calling it would fail
    assert cached_path(recording, 8000, 1.0, tmp_path / "cache") == flat
    assert decode_once(recording, 8000, 1.0, tmp_path / "cache") == flat


def test_the_least_recently_used_are_removed_and_never_what_is_planned(tmp_path):
    paths = [tmp_path / f"{i}{i}" / f"{i}.npy" for i in range(6)]
    for i, path in enumerate(paths):
        path.parent.mkdir()
        np.save(path, np.zeros(1000 - 32, np.float32))  # 4000 bytes
        os.utime(path, (i, i))
    other = tmp_path / "pretrained.ckpt"
    other.write_bytes(bytes(9999))
    planned = [paths[0], tmp_path / "new.npy"]
    make_room(tmp_path, 16e-6, planned, 8000)
    assert [path.exists() for path in paths] == [True, *[False] * 3, True, True]
    assert other.exists()
    make_room(tmp_path, 16e-6, [], 8000)  # the planned one was used last
    assert [path.exists() for path in paths] == [True, *[False] * 4, True]
    with pytest.raises(SettingError, match=r"take 1.7e-05 GB.*larger --cache_limit_gb"):
        make_room(tmp_path, 16e-6, planned, 17000)
    assert paths[0].exists()


def test_a_data_set_larger_than_the_limit_is_refused_before_it_is_decoded(tmp_path):
    corpus = generate_corpus(tmp_path, clips_per_class_and_fold=1, duration_s=0.5)

    def write(limit_gb, folds):
        write_manifests(
            ESC50(corpus / "ESC-50"),
            tmp_path / "results",
            folds,
            sample_rate=16000,
            signal_length_s=0.5,
            cache_folder=tmp_path / "cache",
            cache_limit_gb=limit_gb,
            decode_from=0.7,
        )
        return {path.name for path in (tmp_path / "cache").rglob("*.npy")}

    n_bytes = 10 * (NPY_HEADER + 4 * 8000)
    with pytest.raises(SettingError, match="cache_limit_gb is"):
        write(0.9 * n_bytes / 1e9, {"test": [5]})
    assert not (tmp_path / "cache").exists()
    first = write(n_bytes / 1e9, {"test": [5]})
    assert len(first) == 10
    assert len(write(1.5 * n_bytes / 1e9, {"test": [4]}) & first) == 5
