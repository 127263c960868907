"""Files that are no recipes: each is a sentence, none hangs."""

import pytest

from lmac_td.errors import SettingError
from lmac_td.experiment.recipe import MOST_FILES, compose
from lmac_td.experiment.yaml_files import dump_yaml, read_yaml, tag_of


def refused(path, text, words):
    path.write_text(text)
    with pytest.raises(SettingError, match=words):
        compose(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: null\n", "extends is None: name one yaml file"),
        ("extends: [1]\n", r"extends is \[1\]: name one yaml file"),
        ("extends: {a: b}\n", "name one yaml file"),
        ("extends: 3\n", "extends is 3"),
        ("extends: ''\n", "cannot be read"),
        ("extends: nowhere.yaml\n", r"nowhere\.yaml does not exist"),
        ("", "holds no settings"),
        ("3\n", "holds no settings"),
        ("a: [1\n", "cannot be read as yaml"),
        ("a: 1\na: 2\n", "cannot be read as yaml"),
        ("a: *nothing\n", "cannot be read as yaml"),
        ("1: a\n", "key 1: keys are names"),
        ("null: a\n", "key None: keys are names"),
        ("a: \0\n", "cannot be read as yaml"),
        (f"a: {'[' * 20_000}{']' * 20_000}\n", "nested too deeply"),
        ("--- 1\n--- 2\n", "cannot be read as yaml"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path, text, words):
    refused(tmp_path / "mine.yaml", text, words)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(SettingError, match="cannot be read as yaml"):
        compose(tmp_path / "mine.yaml")


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(SettingError, match="cannot be read as yaml"):
        compose(tmp_path)


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    with pytest.raises(SettingError, match="cannot be read as yaml"):
        compose(tmp_path / ("x" * 5000))


def test_aliases_that_multiply_are_refused(tmp_path):
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    refused(tmp_path / "mine.yaml", "\n".join(lines) + "\n", "aliases")


def test_files_that_multiply_are_refused(tmp_path):
    (tmp_path / "0.yaml").write_text("a: 1\n")
    for i in range(1, 40):
        bases = f"[{i - 1}.yaml, {i - 1}.yaml]"
        (tmp_path / f"{i}.yaml").write_text(f"extends: {bases}\n")
    with pytest.raises(SettingError, match=f"more than {MOST_FILES} files"):
        compose(tmp_path / "39.yaml")


def test_a_long_row_of_files_is_refused(tmp_path):
    (tmp_path / "0.yaml").write_text("a: 1\n")
    for i in range(1, 300):
        (tmp_path / f"{i}.yaml").write_text(f"extends: {i - 1}.yaml\n")
    with pytest.raises(SettingError, match=f"more than {MOST_FILES} files"):
        compose(tmp_path / "299.yaml")


def test_a_file_that_is_read_again_is_the_callers_own(tmp_path):
    """Also what stands deep in it; and a file that has changed is read anew."""
    path = tmp_path / "mine.yaml"
    text = "# what it is\na: &a {b: [1, 2]}\nc: *a\nd: !ref <a>\ne: !new:dict {}\n"
    path.write_text(text)
    first, second = read_yaml(path), read_yaml(path)
    assert dump_yaml(first) == dump_yaml(second)
    assert "# what it is" in dump_yaml(first)
    assert first["c"] is first["a"]
    assert (tag_of(second["d"]), tag_of(second["e"])) == ("!ref", "!new:dict")
    first["a"]["b"].append(3)
    del first["d"]
    assert second["a"]["b"] == [1, 2]
    assert dump_yaml(read_yaml(path)) == dump_yaml(second)
    path.write_text(text.replace("1, 2", "7, 8"))
    assert read_yaml(path)["a"]["b"] == [7, 8]
