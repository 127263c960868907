"""Declarations: every setting has a role and a type, in the file that introduces it."""

import pytest
import ruamel.yaml

from lmac_td.errors import SettingError
from lmac_td.experiment.build import is_built, typed_recipe
from lmac_td.experiment.overlays import SIZES
from lmac_td.experiment.recipe import EXTENDS, compose
from lmac_td.experiment.settings import (
    DECLARATIONS,
    ROLES,
    declarations,
    is_fixed_when_measured,
    is_fixed_when_resumed,
    names_with_role,
    read_by_evaluations_alone,
)
from tests.conftest import ROOT

HPARAMS = ROOT / "hparams"
METHODS = sorted([*HPARAMS.glob("*.yaml"), *HPARAMS.glob("published/*.yaml")])
CLASSIFIERS = sorted(HPARAMS.glob("classifiers/*.yaml"))
OPEN = {
    "cnn14_cosine": "",
    "huggingface": "pretrained_classifier: ast\n",
    "modules": "network: !new:torch.nn.Identity\nlabels: [dog, rain]\n",
    "speechbrain": "pretrained_classifier: ecapa\n",
}


def undeclared(recipe, **chosen):
    """Keys with plain values, of a composed recipe, that have no role."""
    tree = compose(recipe, chosen)
    declared = declarations(tree)
    return [
        name
        for name, node in tree.items()
        if name not in declared and name != DECLARATIONS and not is_built(node)
    ]


@pytest.mark.parametrize("size", ["paper", "small", "demo"])
@pytest.mark.parametrize("recipe", METHODS, ids=lambda path: path.stem)
def test_every_key_of_every_recipe_has_a_role(recipe, size):
    assert undeclared(recipe, size=size) == []
    typed_recipe(recipe, {"size": size})  # and each value has its type


@pytest.mark.parametrize("overlay", CLASSIFIERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("method", ["lmac_td", "lmac", "l2i", "baselines"])
def test_every_key_of_a_composed_recipe_has_a_role(method, overlay, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"extends: [{HPARAMS}/{method}.yaml, {overlay}]\n{OPEN[overlay.stem]}"
    )
    assert undeclared(recipe) == []
    typed_recipe(recipe)


@pytest.mark.parametrize("path", sorted(HPARAMS.rglob("*.yaml")), ids=str)
def test_a_file_declares_what_it_introduces_and_nothing_else(path):
    own = ruamel.yaml.YAML().load(path.read_text())
    keys = {name for name in own if name not in (EXTENDS, SIZES, DECLARATIONS)}
    if path.parent.name in ("size", "data"):
        assert DECLARATIONS not in own
        return
    declared = set(own.get(DECLARATIONS, {}))
    elsewhere = {"interpreter", "objective", "checkpointer", "lr_annealing"}
    assert declared - keys <= elsewhere, f"{path} declares what it does not have"


def test_no_declaration_is_left_without_its_key():
    for recipe in METHODS:
        tree = compose(recipe)
        assert set(declarations(tree)) <= set(tree), recipe


def test_a_setting_of_a_users_own_needs_a_declaration(tmp_path):
    recipe = tmp_path / "mine.yaml"
    text = f"extends: {HPARAMS}/lmac_td.yaml\nmomentum: 0.9\n"
    recipe.write_text(text)
    with pytest.raises(
        SettingError, match=r"mine\.yaml.*momentum.*settings: {momentum:"
    ):
        typed_recipe(recipe)
    own = "settings: {momentum: {role: training, type: float, max: 1}}\n"
    recipe.write_text(text + own)
    tree = typed_recipe(recipe)
    assert tree["momentum"] == 0.9
    assert "momentum" in names_with_role(tree, "training")
    assert "alpha" in names_with_role(tree, "training")  # those of its base stay
    with pytest.raises(SettingError, match=r"momentum is 2: .*to 1"):
        typed_recipe(recipe, {"momentum": "2"})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("alhpa: 0.5", r"alhpa.*did you mean alpha"),
        ("objectiv: !new:collections.Counter {}", r"objectiv.*did you mean objective"),
        ("learning_rate: 1", "learning_rate"),
        ("sizes: {small: {alhpa: 0.5}}", "small sets alhpa.*did you mean alpha"),
    ],
)
def test_a_misspelt_key_of_a_file_is_refused(tmp_path, line, words):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"extends: {HPARAMS}/lmac_td.yaml\n{line}\n")
    with pytest.raises(SettingError, match=words):
        typed_recipe(recipe)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("3", "settings is 3"),
        ("[lr]", "settings is"),
        ("{lr: float}", "lr has no role and type"),
        ("{lr: {role: training}}", "lr has no role and type"),
        ("{lr: {role: taining, type: float}}", "role 'taining': use .*training"),
        ("{lr: {role: [], type: float}}", "role"),
        ("{lr: {role: 3, type: float}}", "role 3"),
        ("{lr: {role: training, type: number}}", "no type 'number'.*float"),
        ("{lr: {role: training, type: float, least: 0}}", "has 'least'"),
        ("{lr: {role: training, type: float, min: low}}", "has min 'low': write a num"),
        ("{lr: {role: training, type: float, max: [1]}}", "has max"),
        ("{lr: {role: training, type: float, above: True}}", "has above True"),
        ("{lr: {role: training, type: str, choices: mean}}", "choices 'mean'.*a list"),
        ("{lr: {role: training, type: str, choices: 5}}", "choices 5: write a list"),
        ("{lr: {role: training, type: str, optional: maybe}}", "optional 'maybe'"),
    ],
)
def test_a_declaration_that_says_nothing_is_refused(tmp_path, block, words):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"lr: 0.1\nsettings: {block}\n")
    with pytest.raises(SettingError, match=words):
        typed_recipe(recipe)


def test_what_each_role_means():
    assert is_fixed_when_resumed(["training"])
    assert is_fixed_when_resumed(["pretrained"])
    assert not is_fixed_when_resumed(["run"])
    assert not is_fixed_when_resumed(["evaluation", "mixture"])
    assert is_fixed_when_measured(["training", "mixture"])
    assert not is_fixed_when_measured(["training", "evaluation", "mixture"])
    assert read_by_evaluations_alone(["evaluation"])
    assert not read_by_evaluations_alone(["run", "mixture"])
    with pytest.raises(ValueError, match="no role"):
        names_with_role({}, "trainin")


def test_the_roles_of_well_known_settings():
    tree = compose(HPARAMS / "l2i.yaml")
    by_role = {role: names_with_role(tree, role) for role in ROLES}
    assert {"lr", "batch_size", "seed", "n_fft", "pooling"} <= by_role["training"]
    assert by_role["pretrained"] == {
        "pretrained_classifier", "pretrained_interpreter", "nmf_dictionary",
    }  # fmt: skip
    assert {"snr", "dataset", "test_fold_nums", "mixing_seed"} <= by_role["mixture"]
    assert {"output_folder", "num_workers"} <= by_role["run"]
    fixed = {n for n, s in declarations(tree).items() if is_fixed_when_resumed(s.roles)}
    # What a run that is resumed may change.
    assert not fixed & {
        "number_of_epochs", "num_workers", "eval_batch_size", "interpret_period",
        "n_samples", "condition", "references", "download", "generate_corpus",
        "skip_bad_files", "use_tensorboard", "cache_folder", "output_folder",
        "save_folder", "test_fold_nums", "removal_thresholds", "export_components",
        "ljspeech_folder", "mixtures_snr_db", "white_noise_snr_db", "speech_snr_db",
        "snr",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "kind"),
    [("0.9", "float"), ("3", "int"), ("no_such", "str"), ("{a: 1}", "dict")],
)
def test_the_refusal_of_an_undeclared_key_suggests_its_type(tmp_path, value, kind):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"extends: {HPARAMS}/nmf.yaml\nmomentum: {value}\n")
    with pytest.raises(SettingError, match=f"role: training, type: {kind}"):
        typed_recipe(recipe)
