"""Folders with tiny models, without a network."""

import shutil
import socket

import pytest

from tests.classifiers.huggingface.models import (
    config_of,
    save,
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args):
        raise AssertionError("a test asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Saved models by kind, each built once."""
    root = tmp_path_factory.mktemp("saved")

    def folder_of(kind):
        folder = root / kind
        return folder if folder.exists() else save(folder, config_of(kind))

    return folder_of


@pytest.fixture
def copied(folders, tmp_path):
    """A saved wav2vec2 that a test may spoil."""
    return shutil.copytree(folders("wav2vec2"), tmp_path / "wav2vec2")
