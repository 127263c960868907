"""Sizes and data layouts: which value wins, whatever chooses them."""

import pytest
import ruamel.yaml

from lmac_td.errors import SettingError
from lmac_td.experiment.build import load_recipe
from lmac_td.experiment.recipe import compose, compose_text
from lmac_td.experiment.shipped import HPARAMS
from tests.conftest import ROOT

METHODS = ("lmac_td", "lmac", "lmac_mel", "lmac_finetune", "l2i", "nmf", "cnn14")
METHOD = """
size: paper
data: esc50
width: 256
epochs: 200
lr: 0.1
out_n_neurons: 50
train_fold_nums: [1, 2, 3]
sizes:
    small: {width: 16, epochs: 20}
    demo: {epochs: 2}
settings:
    size: {role: run, type: str}
    data: {role: run, type: str}
    width: {role: training, type: int}
    epochs: {role: run, type: int}
    lr: {role: training, type: float}
    out_n_neurons: {role: training, type: int}
    train_fold_nums: {role: training, type: "list[int]"}
"""


@pytest.fixture
def recipes(tmp_path):
    (tmp_path / "method.yaml").write_text(METHOD)
    (tmp_path / "mine.yaml").write_text("extends: method.yaml\nsize: small\nlr: 0.5\n")
    return tmp_path


def values(recipe, *names, **chosen):
    tree = compose(recipe, chosen)
    return [tree[name] for name in names]


def test_the_first_size_is_the_recipe_itself(recipes):
    found = values(recipes / "method.yaml", "size", "data", "width", "epochs")
    assert found == ["paper", "esc50", 256, 200]


def test_a_size_sets_what_its_file_and_the_recipe_say(recipes):
    tree = compose(recipes / "method.yaml", {"size": "small"})
    assert (tree["width"], tree["epochs"], tree["lr"]) == (16, 20, 0.1)
    # size/small.yaml chooses data/esc10.yaml.
    assert (tree["data"], tree["out_n_neurons"]) == ("esc10", 10)
    assert tree["train_fold_nums"] == [1, 2]
    assert "sizes" not in tree


def test_a_size_sets_nothing_that_the_recipe_lacks(recipes):
    small = ruamel.yaml.YAML().load((HPARAMS / "size" / "small.yaml").read_text())
    assert "emb_dim" in small
    assert "emb_dim" not in compose(recipes / "method.yaml", {"size": "small"})


def test_a_size_that_extends_another_stands_above_it(recipes):
    found = values(recipes / "method.yaml", "width", "epochs", "data", size="demo")
    assert found == [16, 2, "demo"]


def test_a_recipe_that_extends_a_method_stands_above_the_size(recipes):
    assert values(recipes / "mine.yaml", "size", "width", "lr") == ["small", 16, 0.5]


def test_the_command_line_replaces_the_size_that_a_file_names(recipes):
    for size, expected in {"paper": [256, 200, 0.5], "demo": [16, 2, 0.5]}.items():
        found = values(recipes / "mine.yaml", "width", "epochs", "lr", size=size)
        assert found == expected
    assert load_recipe(recipes / "mine.yaml", "size: demo\nepochs: 7")["epochs"] == 7


def test_the_data_of_the_command_line_wins_over_that_of_the_size(recipes):
    found = values(
        recipes / "mine.yaml", "size", "data", "out_n_neurons", "width", data="esc50"
    )
    assert found == ["small", "esc50", 50, 16]
    (recipes / "more.yaml").write_text("extends: mine.yaml\ndata: esc50\n")
    assert values(recipes / "more.yaml", "data", "width") == ["esc50", 16]


def test_a_variant_adds_to_the_sizes_of_its_method(recipes):
    (recipes / "variant.yaml").write_text(
        "extends: method.yaml\nepochs: 50\nsizes: {small: {epochs: 5}}\n"
    )
    assert values(recipes / "variant.yaml", "width", "epochs") == [256, 50]
    small = values(recipes / "variant.yaml", "width", "epochs", size="small")
    assert small == [16, 5]


def test_a_size_may_be_of_the_recipe_alone(recipes):
    (recipes / "tiny.yaml").write_text(
        "extends: method.yaml\nsizes: {tiny: {width: 1}}\n"
    )
    assert values(recipes / "tiny.yaml", "width", "data", size="tiny") == [1, "esc50"]


@pytest.mark.parametrize("axis", ["size", "data"])
def test_an_unknown_name_is_refused_with_those_that_exist(recipes, axis):
    with pytest.raises(SettingError, match=f"give --{axis} .*demo"):
        compose(recipes / "method.yaml", {axis: "huge"})


@pytest.mark.parametrize("name", ["../size/demo", "Demo", "demo.yaml", ""])
def test_a_name_is_no_path(recipes, name):
    with pytest.raises(SettingError, match=r"give --size .*demo"):
        compose(recipes / "method.yaml", {"size": name})


@pytest.mark.parametrize("sizes", ["3", "[small]", "{small: 3}"])
def test_sizes_that_are_no_mapping_are_refused(recipes, sizes):
    (recipes / "bad.yaml").write_text(f"extends: method.yaml\nsizes: {sizes}\n")
    with pytest.raises(SettingError, match="sizes must map"):
        compose(recipes / "bad.yaml")


@pytest.mark.parametrize("method", [*METHODS, "baselines"])
@pytest.mark.parametrize("size", ["small", "demo"])
def test_names_of_earlier_editions_are_understood(method, size, tmp_path):
    folder = ROOT / "hparams"
    today = compose_text(folder / f"{method}.yaml", {"size": size})
    assert compose_text(folder / f"{method}_{size}.yaml") == today
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"extends: {folder}/{method}_{size}.yaml\nseed: 5\n")
    assert compose_text(mine) == today.replace("\nseed: 1234\n", "\nseed: 5\n")


def test_the_published_geometry_has_a_folder_of_its_own():
    published = ROOT / "hparams" / "published" / "lmac_td.yaml"
    earlier = ROOT / "hparams" / "lmac_td_published.yaml"
    assert compose_text(earlier) == compose_text(published)
    tree = compose(published)
    assert tree["geometry"] == "published"
    assert tree["test_fold_nums"] == [4, 5]


def test_every_value_of_a_size_is_a_setting_of_its_recipe():
    for path in sorted(HPARAMS.glob("*.yaml")):
        own = ruamel.yaml.YAML().load(path.read_text())
        for size, listed in own.get("sizes", {}).items():
            unknown = set(listed) - set(compose(path))
            assert not unknown, f"{path.name}: {size} sets {unknown}, which is unknown"


def test_a_method_is_read_in_two_files_or_fewer_below_it():
    def depth(path):
        bases = ruamel.yaml.YAML().load(path.read_text()).get("extends", [])
        bases = [bases] if isinstance(bases, str) else bases
        return 1 + max((depth(path.parent / base) for base in bases), default=-1)

    paths = {path: depth(path) for path in HPARAMS.rglob("*.yaml")}
    assert max(paths.values()) <= 2
    assert all(paths[HPARAMS / f"{name}.yaml"] == 1 for name in ("lmac_td", "lmac"))
