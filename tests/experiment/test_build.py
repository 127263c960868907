"""Building a recipe: typed values reach it whole; what cannot work is a sentence."""

import pytest

from lmac_td.errors import SettingError
from lmac_td.experiment.build import load_recipe, plain_settings, typed_recipe
from tests.conftest import ROOT

TEXTS = [
    "run #2", "2024", "1e3", "a: b", "a=b", "no", "null", "~", "'quoted'", '"quoted"',
    "[a, b]", "{a: b}", "&a", "*a", "!new:os.getcwd", "- a", "? a", "a\\nb", "%a", "@a",
    "two\nlines: 3", "a: 1\nseed: 7", " a ", "1_000", "0x1F", "2024-01-02", "1:30",
    "é ü 雨", "a\tb", "x/(1)", "1/2",
]  # fmt: skip


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "seed: 1\nlr: 0.1\n"
        "output_folder: results\nsave_folder: !ref <output_folder>/s\n"
        "folds: [1]\nflag: True\nworkers: auto\nlayer: null\n"
        "seen: !new:collections.UserDict\n"
        "    folder: !ref <output_folder>\n    lr: !ref <lr>\n    flag: !ref <flag>\n"
        "settings:\n"
        "    seed: {role: training, type: int, min: 0, max: 4294967295}\n"
        "    lr: {role: training, type: float, above: 0}\n"
        "    output_folder: {role: run, type: path}\n"
        "    save_folder: {role: run, type: path}\n"
        '    folds: {role: training, type: "list[int]", min: 1}\n'
        "    flag: {role: run, type: bool}\n"
        "    workers: {role: run, type: int or str, min: 0, choices: [auto]}\n"
        "    layer: {role: training, type: int or str, optional: true}\n"
        "    seen: {role: training, type: collections.UserDict}\n"
    )
    return path


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_reaches_what_is_built_as_it_was_given(recipe, text):
    built = load_recipe(recipe, {"output_folder": text})
    assert built["output_folder"] == built["seen"]["folder"] == text
    assert built["save_folder"] == f"{text}/s"
    assert (built["seed"], built["lr"]) == (1, 0.1)  # nothing else was changed
    assert plain_settings(recipe, {"output_folder": text})["output_folder"] == text


@pytest.mark.parametrize("text", ["2024", "1e3", "no", "'a: b'", "007", "2024-01-02"])
def test_a_text_of_a_file_stays_as_it_stands_there(recipe, text):
    changed = recipe.read_text().replace("folder: results", f"folder: {text}", 1)
    recipe.write_text(changed)
    assert load_recipe(recipe)["seen"]["folder"] == text.strip("'")


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("!!str 2024", "2024"),
        ("|\n    two words\n", "two words"),
        (">\n    two\n    words\n", "two words"),
    ],
)
def test_a_text_may_be_written_in_each_way_of_yaml(recipe, written, text):
    changed = recipe.read_text().replace("folder: results", f"folder: {written}", 1)
    recipe.write_text(changed)
    assert load_recipe(recipe)["seen"]["folder"] == text


@pytest.mark.parametrize("written", ["~/runs", "!ref ~/runs"])
def test_a_tilde_is_the_users_home(recipe, written, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    changed = recipe.read_text().replace("folder: results", f"folder: {written}", 1)
    recipe.write_text(changed)
    built = load_recipe(recipe)
    assert built["output_folder"] == built["seen"]["folder"] == "/home/me/runs"
    assert built["save_folder"] == "/home/me/runs/s"
    given = load_recipe(recipe, {"output_folder": "~/other"})
    assert given["seen"]["folder"] == "/home/me/other"
    assert load_recipe(recipe, {"output_folder": "a/~/b"})["output_folder"] == "a/~/b"


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"flag": "no"}, False),
        ({"flag": "off"}, False),
        ({"lr": "1e1"}, 10.0),
        ({"lr": "1"}, 1),
        ({"seed": "1e3"}, 1000),
        ({"folds": "[4, 5]"}, [4, 5]),
        ({"folds": "5"}, [5]),
        ({"workers": "2"}, 2),
        ({"layer": "null"}, None),
        ({"layer": "None"}, None),
        ({"layer": "block1"}, "block1"),
    ],
)
def test_a_value_is_read_as_it_is_meant(recipe, given, value):
    (name,) = given
    built = load_recipe(recipe, given)
    assert built[name] == value
    assert type(built[name]) is type(value)
    in_file = recipe.with_name("same.yaml")
    in_file.write_text(f"extends: mine.yaml\n{name}: {given[name]}\n")
    assert load_recipe(in_file)[name] == value


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"flag": "maybe"}, "flag is 'maybe': give --flag True or False"),
        ({"lr": "much"}, "lr is 'much': give --lr a number above 0"),
        ({"lr": "0"}, "lr is 0: give --lr a number above 0"),
        ({"lr": "nan"}, "lr is nan"),
        ({"seed": "10**20"}, "seed is"),
        ({"seed": "2.5"}, "seed is 2.5: give --seed a whole number from 0 to"),
        ({"seed": "4294967296"}, "seed is 4294967296"),
        ({"seed": "-1"}, "seed is -1"),
        ({"folds": "[[5]]"}, r"folds is '\[\[5\]\]': give --folds a list of whole"),
        ({"folds": "[0]"}, "whole numbers from 1"),
        ({"workers": "many"}, "--workers a whole number from 0 or auto"),
        ({"output_folder": ""}, "--output_folder a path"),
        ({"output_folder": "x" * 5000}, r"x\.\.\.: give --output_folder a path"),
        ({"output_folder": "<seed>"}, "--output_folder a path"),
        ({"seen": "3"}, "seen builds an object: change it in"),
        ({"seeed": "3"}, r"no setting named 'seeed': did you mean --seed"),
        ({"settings": "3"}, "no setting named 'settings'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_built(recipe, given, words):
    with pytest.raises(SettingError, match=words):
        typed_recipe(recipe, given)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("seed: many", r"mine2\.yaml: seed is 'many'"),
        ("lr: null", "lr is null: give --lr a number"),
        ("lr: [0.1]", "lr is"),
        ("folds: {a: 1}", "folds is"),
        ("output_folder: null", "output_folder is null"),
        ("output_folder: [a]", "output_folder is"),
        ("flag: 3", "flag is 3"),
        ("seen: 3", "seen is 3: name a collections.UserDict"),
        ("seen: null", "seen is null: name a collections.UserDict"),
        ("seen: !new:collections.Counter {}", "seen is .*name a collections.UserDict"),
        ("lr: !ref <output_folder>", "lr is 'results'"),
        ("lr: !ref -<seed>", "lr is -1"),
        ("lr: !apply:math.sqrt [0]", "lr is 0"),
        ("lr: !PLACEHOLDER", "leaves lr open: give --lr"),
        ("lr: !ref <nothing>", "nothing"),
        ("lr: !reff <seed>", "reff"),
        ("seen: !new:no.such.Thing {}", r"no\.such\.Thing"),
        ("seen: !name:collections.Nope {}", r"collections\.Nope"),
        (
            "seen: !new:collections.UserDict [1, 2, 3]",
            r"cannot be built: Invalid argument to class collections.UserDict: .*takes",
        ),
        ("output_folder: !!binary aGVsbG8=", "give --output_folder a path"),
        ("lr: !ref <lr>", "reference of lr leads in a circle"),
        ("lr: !ref <seed>\nseed: !ref <lr>", "in a circle"),
    ],
)
def test_what_a_file_says_wrongly_is_a_sentence(recipe, line, words):
    path = recipe.with_name("mine2.yaml")
    path.write_text(f"extends: mine.yaml\n{line}\n")
    with pytest.raises(SettingError, match=words):
        load_recipe(path)


def test_a_computed_value_is_checked_and_kept(recipe):
    path = recipe.with_name("mine2.yaml")
    path.write_text("extends: mine.yaml\nlr: !apply:math.sqrt [0.25]\n")
    assert load_recipe(path)["lr"] == 0.5
    path.write_text("extends: mine.yaml\nlr: !ref <seed> / 4\n")
    assert load_recipe(path)["seen"]["lr"] == 0.25


def test_a_key_that_a_command_reads_and_a_recipe_lacks_is_a_sentence(recipe):
    with pytest.raises(SettingError, match=r"mine\.yaml has no key objective: extend"):
        load_recipe(recipe)["objective"]


@pytest.mark.parametrize(
    ("line", "words"),
    [("objective: 3", "objective is 3"), ("features: null", "features is null")],
)
def test_a_plain_value_in_the_place_of_an_object_is_refused(tmp_path, line, words):
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {ROOT}/hparams/lmac_td.yaml\n{line}\n")
    with pytest.raises(SettingError, match=f"{words}.*built in the recipe"):
        typed_recipe(path)


def test_a_recipe_without_its_base_is_refused(tmp_path):
    for text in ("alpha: 0.5\n", (ROOT / "hparams/data/esc10.yaml").read_text()):
        (tmp_path / "mine.yaml").write_text(text)
        with pytest.raises(SettingError, match="that no recipe declares"):
            load_recipe(tmp_path / "mine.yaml")
