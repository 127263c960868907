"""Files and folders are written completely or not at all."""

import os
import shutil
from pathlib import Path

import pytest

from lmac_td import files
from lmac_td.errors import SettingError
from lmac_td.files import (
    remove_leftovers,
    remove_leftovers_of,
    replace_folder,
    restore_folder,
    temporary_folder_beside,
    write_atomically,
)
from tests.forks import fork, wait_for


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


def folder_of(path, text, n_files=3):
    path.mkdir(parents=True)
    for i in range(n_files):
        (path / f"{i}.txt").write_text(text)
    return path


def content_of(path):
    """What a whole folder says."""
    texts = [file.read_text() for file in sorted(path.iterdir())]
    assert len(texts) == 3
    assert len(set(texts)) == 1
    return texts[0]


def cannot_exchange(first, second):
    return False


@pytest.mark.parametrize("exchange", [files._exchange, cannot_exchange])
def test_a_folder_takes_the_place_of_another(tmp_path, monkeypatch, exchange):
    monkeypatch.setattr(files, "_exchange", exchange)
    for text in ("first", "second", "third"):
        new = folder_of(tmp_path / "scratch" / "result", text)
        replace_folder(new, tmp_path / "result")
        assert content_of(tmp_path / "result") == text
        assert sorted(os.listdir(tmp_path)) == ["result", "scratch"]
        assert not new.exists()


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("exchange", [files._exchange, cannot_exchange])
def test_a_link_leads_to_the_folder_that_is_replaced(
    tmp_path, monkeypatch, exchange, exists
):
    monkeypatch.setattr(files, "_exchange", exchange)
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "here" / "result"
    elsewhere.mkdir()
    link.parent.mkdir()
    link.symlink_to("../elsewhere/large")
    if exists:
        folder_of(elsewhere / "large", "old")
    with temporary_folder_beside(link) as scratch:
        assert scratch.parent == elsewhere  # on the same disk
        replace_folder(folder_of(scratch / link.name, "new"), link)
    assert link.is_symlink()
    assert content_of(link) == "new"
    assert os.listdir(elsewhere) == ["large"]
    assert os.listdir(link.parent) == ["result"]


def test_a_folder_may_have_any_name(tmp_path):
    destination = tmp_path / "evaluation_[a-z]*"
    folder_of(tmp_path / ".evaluation_x.replaced.123", "of another")
    folder_of(tmp_path / ".evaluation_[a-z]*.complete.123", "new")
    restore_folder(destination)
    assert content_of(destination) == "new"
    assert len(os.listdir(tmp_path)) == 2


def test_names_are_exchanged_in_one_step(tmp_path):
    one, two = folder_of(tmp_path / "a", "one"), folder_of(tmp_path / "b", "two")
    if not files._exchange(one, two):
        pytest.skip("this file system cannot exchange names")
    assert (content_of(one), content_of(two)) == ("two", "one")
    with pytest.raises(OSError, match="b"):
        files._exchange(tmp_path / "missing", two)


def killed_at(step, after, act):
    """Run act in a child that is killed before or after its step-th system call."""
    calls = 0

    def dying(call):
        def run(*args, **kwargs):
            nonlocal calls
            calls += 1
            is_last = calls == step
            if is_last and not after:
                os._exit(9)
            result = call(*args, **kwargs)
            if is_last:
                os._exit(9)
            return result

        return run

    def prepared():
        os.rename, files._exchange = dying(os.rename), dying(files._exchange)
        os.unlink, os.rmdir = dying(os.unlink), dying(os.rmdir)
        shutil.rmtree = dying(shutil.rmtree)
        act()

    return wait_for(fork(prepared))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("exchange", [files._exchange, cannot_exchange])
def test_whoever_is_killed_leaves_the_old_folder_or_the_new(
    tmp_path, monkeypatch, exchange, after
):
    """At its name, whole; without an exchange, once it was looked for."""
    monkeypatch.setattr(files, "_exchange", exchange)
    found, step = [], 0
    while True:
        step += 1
        root = tmp_path / f"{step}"
        destination = folder_of(root / "result", "old")
        new = folder_of(root / "scratch" / "result", "new")
        code = killed_at(step, after, lambda: replace_folder(new, destination))  # noqa: B023
        if exchange is cannot_exchange:
            restore_folder(destination)
            assert set(os.listdir(root)) == {"result", "scratch"}
        found.append(content_of(destination))
        assert code in (0, 9)
        if code == 0:
            break
    assert step > 2
    assert found[-1] == "new"
    assert found == sorted(found, reverse=True)  # old, ..., then new
    assert after or found[0] == "old"


def test_nothing_is_restored_where_nothing_is_missing(tmp_path):
    restore_folder(tmp_path / "result")
    assert list(tmp_path.iterdir()) == []
    folder_of(tmp_path / "result", "whole")
    folder_of(tmp_path / ".result.replaced.123", "old")
    restore_folder(tmp_path / "result")
    assert os.listdir(tmp_path) == ["result"]
    assert content_of(tmp_path / "result") == "whole"


def test_errors_of_the_system_name_the_destination_and_no_hidden_name(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "in").mkdir(parents=True)
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "x" / "y"):
        for writing in (write_atomically, temporary_folder_beside):
            with pytest.raises(OSError, match="file") as error, writing(path):
                pass
            assert error.value.filename in (str(path), str(tmp_path / "file"))
    with (
        pytest.raises(IsADirectoryError) as error,
        write_atomically(tmp_path / "folder") as file,
    ):
        file.write(b"")
    assert (error.value.filename, error.value.filename2) == (
        str(tmp_path / "folder"), None
    )  # fmt: skip
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    end = "0123456789ab"
    (tmp_path / "save").mkdir()
    left = [
        tmp_path / f".settings.json.{end}",
        tmp_path / "save" / f".x.npy.{end}",
        tmp_path / f".dictionary.{end}" / "dictionary" / "w.npy",
    ]
    kept = [
        tmp_path / f".evaluation_clean.{end}" / "table.md",
        tmp_path / "evaluation" / f".table.md.{end}",
        tmp_path / ".notes",
        tmp_path / f"settings.json.{end}",
        tmp_path / f".settings.json.{end}x",
    ]
    for path in (*left, *kept):
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()
    remove_leftovers(tmp_path, others=["evaluation"])
    assert not any(map(Path.exists, left))
    assert all(map(Path.exists, kept))


def test_leftovers_of_one_destination_are_removed(tmp_path):
    end = "0123456789ab"
    scratch, other = tmp_path / f".e.{end}", tmp_path / f".e.x.{end}"
    complete = tmp_path / f".e.complete.{end}"
    for folder in (scratch, other, complete):
        folder.mkdir()
        (folder / "table.md").touch()
    remove_leftovers_of(tmp_path / "e")
    assert (tmp_path / "e" / "table.md").exists()  # it was complete
    assert not scratch.exists()
    assert other.exists()


@pytest.mark.parametrize("kind", ["a device", "a pipe"])
def test_a_device_is_not_replaced_by_a_file(tmp_path, kind):
    path = tmp_path / "a"
    if kind == "a device":
        path.symlink_to("/dev/full")
    else:
        os.mkfifo(path)
    with (
        pytest.raises(SettingError, match="device or a pipe"),
        write_atomically(path, "w") as file,
    ):
        file.write("a")
    assert not path.is_file()
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(NotADirectoryError, match="notes"):
        replace_folder(tmp_path / "new", tmp_path / "notes")
    assert (tmp_path / "notes").read_text() == "mine"
