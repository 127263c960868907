"""Every setting of every recipe has a type and limits, and refuses what is wrong."""

import datetime
from pathlib import Path

import pytest

from lmac_td.errors import SettingError
from lmac_td.experiment.build import typed_recipe
from lmac_td.experiment.recipe import compose
from lmac_td.experiment.scalar_types import LARGEST_WHOLE, Limits
from lmac_td.experiment.settings import Setting, declarations
from tests.conftest import ROOT

FILES = [
    *sorted((ROOT / "hparams").rglob("*.yaml")),
    *sorted((ROOT / "recipes").glob("*/hparams/*.yaml")),
]
# What no setting can be, whatever its type.
NOTHING = ["", " ", b"x", (1, 2), {1, 2}, [[]], "a <seed> b", "\udcff"]
NO_NUMBER = [
    *("nan", ".nan", "inf", "-inf", "1e400", "1" + "0" * 400, "1:30", "a/b", "{", "["),
    *(float("nan"), float("inf"), -float("inf"), 10**400, True, [None], [True]),
    *(["a"], {"a": 1}, [float("nan")], datetime.date(2020, 1, 1), "!ref <seed>"),
]


def declared():
    """Each declaration of the recipes once, with a recipe that has it."""
    found = {}
    for path in FILES:
        for name, setting in declarations(compose(path)).items():
            found.setdefault((name, setting.summary()), (path, setting))
    return [(path, setting) for path, setting in found.values()]


DECLARED = declared()
BY_NAME = pytest.mark.parametrize(
    ("path", "setting"), DECLARED, ids=[setting.name for _, setting in DECLARED]
)


def takes_text(setting):
    """Whether any text is a value: words are compared later, with names of data."""
    kinds = setting.type.replace("list[", "").replace("]", "").split(" or ")
    return bool({"str", "path"} & set(kinds)) and not setting.limits.choices


def takes_numbers(setting):
    return "int" in setting.type or "float" in setting.type


def wrong_values(setting):
    """What a declaration refuses, from the words of its type and its limits alone."""
    kind, limits = setting.type, setting.limits
    wrong = [] if setting.optional else [None]
    wrong += [] if limits.empty else [[]]
    wrong += [value for value in NOTHING if value not in ("", " ") or not limits.empty]
    if not takes_text(setting):
        wrong += ["(1, 2)", *(["null"] * (not setting.optional)), "[]"]
    if kind in ("object", "callable") or ("." in kind and not takes_text(setting)):
        return [*wrong, "x", 3, True, {"a": 1}, ["a"], "1", float("nan")]
    if kind == "path":
        wrong += ["x" * 300, "a\0b", "a/" * 3000]
    if kind == "bool":
        wrong += ["maybe", "2", 2, 0.5, -1, *NO_NUMBER[:10]]
    if limits.choices:
        wrong += ["no_such_choice", ["no_such_choice"], -0.123456, "a/b"]
    if not takes_text(setting) and takes_numbers(setting):
        wrong += NO_NUMBER
        if limits.max is not None:
            wrong += [limits.max + 1, str(limits.max * 2 + 1), "1e300"]
        if limits.min is not None:
            wrong += [limits.min - 1, str(limits.min - 0.001)]
        if limits.above is not None:
            wrong += [limits.above, str(limits.above - 0.001)]
        if kind == "int":
            wrong += ["1.5", 2.5, [limits.min, limits.min]]
    if "dict" not in kind and "list" not in kind:
        wrong += [["a"], {"a": 1}]
    return wrong


@BY_NAME
def test_numbers_have_limits_on_both_sides(path, setting):
    if takes_numbers(setting) and not takes_text(setting):
        limits = setting.limits
        assert limits.max is not None, f"{setting.name} in {path} has no max"
        assert limits.min is not None or limits.above is not None, setting.name


@BY_NAME
def test_what_is_wrong_is_refused_by_its_name(path, setting):
    wrong = wrong_values(setting)
    assert len(wrong) > 5
    for value in wrong:
        try:
            accepted = setting.read(value)
        except SettingError as error:
            sentence = str(error)
            assert sentence.startswith(f"{setting.name} is "), sentence
            assert "give --" in sentence or "name a" in sentence, sentence
            assert "\n" not in sentence
            assert len(sentence) < 400
        else:
            pytest.fail(f"{setting.name} accepts {value!r:.60} as {accepted!r:.60}")


def test_how_many_values_are_refused():
    """The figure of docs/reliability.md; see it with ``pytest -s``."""
    n_values = sum(len(wrong_values(setting)) for _, setting in DECLARED)
    print(f"{n_values} wrong values of {len(DECLARED)} settings")
    assert n_values > 4000
    assert len(DECLARED) > 190


COMPLETE = [path for path in FILES if "experiment_name" in compose(path)]


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.stem)
def test_a_recipe_refuses_them_from_a_file_and_a_command_line(path, tmp_path):
    """All settings of a recipe pass through one place."""
    tree = compose(path)
    for given in ("\udcff", None):
        name = "lr" if "lr" in tree else "sample_rate"
        with pytest.raises(SettingError, match=f"{name} is "):
            typed_recipe(path, {name: given})
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"extends: {path}\nout_n_neurons: .nan\nn_fft: [1024]\n")
    with pytest.raises(SettingError, match=r"mine\.yaml: out_n_neurons is nan"):
        typed_recipe(mine)
    assert sorted(Path(tmp_path).iterdir()) == [mine]


def test_a_whole_number_without_a_limit_has_one():
    setting = Setting("steps", ("run",), "int", Limits(min=0))
    assert setting.read(LARGEST_WHOLE) == LARGEST_WHOLE
    with pytest.raises(SettingError, match=f"at most {LARGEST_WHOLE}"):
        setting.read("1e300")
    with pytest.raises(SettingError, match=r"give --steps a whole number from 0$"):
        setting.read(-1)
