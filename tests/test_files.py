"""Files and folders are written completely or not at all."""

import os

import pytest

from lmac_td.files import temporary_folder_beside, write_atomically


def test_write_replaces_only_when_done(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with write_atomically(path, "w") as file:
        file.write("old")
    with write_atomically(path, "w") as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_interrupted_write_leaves_nothing(tmp_path):
    def interrupted():
        with write_atomically(tmp_path / "a") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_folder_is_gone_after_success(tmp_path):
    path = tmp_path / "new" / "result"
    with temporary_folder_beside(path) as scratch:
        (scratch / "rest").touch()
        (scratch / "result").mkdir()
        os.replace(scratch / "result", path)
    assert list(path.parent.iterdir()) == [path]


def interrupted_folder(path, also_touch):
    with temporary_folder_beside(path) as scratch:
        (scratch / "half").touch()
        also_touch.touch()
        raise KeyboardInterrupt


def test_failed_folder_leaves_nothing_not_even_parents(tmp_path):
    path = tmp_path / "new" / "deep" / "result"
    with pytest.raises(KeyboardInterrupt):
        interrupted_folder(path, also_touch=tmp_path / "unrelated")
    assert [path.name for path in tmp_path.rglob("*")] == ["unrelated"]


def test_failed_folder_keeps_parents_that_are_used(tmp_path):
    path = tmp_path / "new" / "result"
    with pytest.raises(KeyboardInterrupt):
        interrupted_folder(path, also_touch=tmp_path / "new" / "of_somebody_else")
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "of_somebody_else"]
