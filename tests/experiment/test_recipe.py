"""Recipes: what extends what, what the command line reaches, what every key is for."""

import re

import pytest
import ruamel.yaml

from lmac_td.errors import SettingError
from lmac_td.experiment.build import load_recipe
from lmac_td.experiment.command_line import parse_arguments
from lmac_td.experiment.overlays import AXES
from lmac_td.experiment.recipe import compose, compose_text
from lmac_td.experiment.settings import DECLARATIONS
from tests.conftest import ROOT

HPARAMS = ROOT / "hparams"
RECIPES = sorted([*HPARAMS.glob("*.yaml"), *HPARAMS.glob("published/*.yaml")])
OVERLAYS = sorted((ROOT / "hparams" / "classifiers").glob("*.yaml"))
# What a recipe gives for each placeholder of an overlay.
PLACEHOLDERS = {
    "cnn14_cosine": "",
    "huggingface": "pretrained_classifier: ast\n",
    "modules": "network: !new:torch.nn.Identity\nlabels: [dog, rain]\n",
    "speechbrain": "pretrained_classifier: ecapa\n",
}
# A module that registers metrics when it is imported, as building a recipe does.
IMPORTED = ("metrics",)
# What reads a key by name outside the yaml itself.
READERS = [
    *ROOT.glob("*.py"),
    *(ROOT / "recipes").rglob("*.py"),
    *(ROOT / "lmac_td").rglob("*.py"),
]


ANY = "int or dict or object"


def declared(*names, type="object"):
    """The block in which a recipe declares some settings."""
    line = f'{{role: training, type: "{type}", optional: true}}'
    return "settings:\n" + "".join(f"    {name}: {line}\n" for name in names)


def test_later_files_win_and_references_reach_both_halves(tmp_path):
    (tmp_path / "base.yaml").write_text(
        f"a: 1\nb: !ref <a> + <c>\nc: 1\n{declared('a', 'b', 'c', type='int')}"
    )
    (tmp_path / "size.yaml").write_text("c: 10\n")
    (tmp_path / "mine.yaml").write_text("extends: [base.yaml, size.yaml]\na: 5\n")
    assert load_recipe(tmp_path / "mine.yaml") == {"a": 5, "b": 15, "c": 10}
    assert load_recipe(tmp_path / "mine.yaml", "c: 0")["b"] == 5


def test_a_reference_may_lead_to_a_reference_below_it(tmp_path):
    (tmp_path / "base.yaml").write_text(
        "first: [1]\nused: !new:collections.Counter {x: !ref <given>}\nlast: 2\n"
        + declared("first", type="list[int]")
    )
    (tmp_path / "mine.yaml").write_text(
        "extends: base.yaml\ngiven: !ref <between>\n"
        "between: !ref <own[x]>\nown: {x: 7}\n"
        + declared(
            "used", "given", "between", "last", "own", type="int or object or dict"
        )
    )
    assert load_recipe(tmp_path / "mine.yaml")["used"] == {"x": 7}
    assert load_recipe(tmp_path / "mine.yaml", "between: 3")["used"] == {"x": 3}
    assert list(compose(tmp_path / "base.yaml"))[:3] == ["first", "used", "last"]
    (tmp_path / "circle.yaml").write_text(
        f"c: !ref <a>\na: !ref <b>\nb: !ref <a>\n{declared('a', 'b', 'c')}"
    )
    with pytest.raises(SettingError, match="cannot be built"):
        load_recipe(tmp_path / "circle.yaml")


def test_a_classifier_takes_the_spectra_of_the_method_that_explains_it(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"extends: [{ROOT}/hparams/baselines.yaml, "
        f"{ROOT}/hparams/classifiers/modules.yaml]\n"
        "network: !ref <mine>\nmine: !new:tests.networks.ImageCnn {n_classes: 2}\n"
        "labels: 2\nfront_end: !new:tests.networks.SquareRootImage\n"
        "front_end_features: !ref <features>\n"
    )
    built = load_recipe(recipe)
    assert built["classifier"].spectrogram is built["features"]
    assert built["classifier"].network is built["mine"]
    assert load_recipe(recipe, "n_fft: 2048")["classifier"].spectrogram.n_fft == 2048


def test_a_mapping_of_names_is_merged_name_by_name(tmp_path):
    """One line adds a condition; what builds an object is replaced whole."""
    (tmp_path / "base.yaml").write_text(
        "snr: 3\nnamed:\n  a: 1\n  b: !ref <snr>\n"
        "object: !new:collections.Counter\n  x: 1\n  y: 2\n"
        "copy: !ref <named>\n" + declared("snr", "named", "object", "copy", type=ANY)
    )
    (tmp_path / "mine.yaml").write_text(
        "extends: base.yaml\nnamed: {b: 2, c: 7}\n"
        "object: !new:collections.Counter {z: 5}\n"
    )
    loaded = load_recipe(tmp_path / "mine.yaml")
    assert loaded["named"] == loaded["copy"] == {"a": 1, "b": 2, "c": 7}
    assert list(loaded["named"]) == ["a", "b", "c"]
    assert loaded["object"] == {"z": 5}
    assert load_recipe(tmp_path / "base.yaml")["named"] == {"a": 1, "b": 3}


@pytest.mark.parametrize("name", ["no_such_module.Hum", "collections.NoSuchClass"])
def test_a_class_that_does_not_exist_is_named(tmp_path, name):
    (tmp_path / "mine.yaml").write_text(
        f"hum: !new:{name} {{snr_db: 3}}\n{declared('hum')}"
    )
    with pytest.raises(SettingError, match=rf"mine\.yaml cannot be built.*{name}"):
        load_recipe(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("!apply:torch.load [no_such_file.pt]", "FileNotFoundError.*no_such_file"),
        ("!apply:operator.getitem [{}, dog]", "KeyError: 'dog'"),
        ("!apply:getattr [1, no_such_name]", "AttributeError.*no_such_name"),
        ("!apply:torch.zeros [-1]", "RuntimeError"),
        ("!made_up 3", "made_up"),
    ],
)
def test_whatever_a_class_of_a_recipe_raises_is_a_sentence(tmp_path, value, words):
    (tmp_path / "mine.yaml").write_text(f"thing: {value}\n{declared('thing')}")
    with pytest.raises(SettingError, match=rf"mine\.yaml cannot be built: .*{words}"):
        load_recipe(tmp_path / "mine.yaml")


def test_a_recipe_that_extends_itself_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(SettingError, match="extends itself"):
        compose(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "does not exist"), ("a: [1", "cannot be read"), ("- 1\n", "no settings")],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content, words):
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingError, match=words):
        load_recipe(path)


def test_an_unknown_setting_is_refused_with_the_nearest_name(tmp_path):
    (tmp_path / "a.yaml").write_text(f"alpha: 1\n{declared('alpha', type='float')}")
    with pytest.raises(SettingError, match="did you mean --alpha"):
        load_recipe(tmp_path / "a.yaml", "alhpa: 0.5")


def test_a_command_line_without_a_recipe_is_refused():
    for argv in ([], ["--alpha", "0"]):
        with pytest.raises(SettingError, match="name a recipe first"):
            parse_arguments(argv)


@pytest.mark.parametrize("arguments", [["--alpha"], ["stray", "0.5"]])
def test_a_malformed_command_line_is_refused(arguments):
    with pytest.raises(SettingError):
        parse_arguments(["recipe.yaml", *arguments])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_every_key_is_read_by_something(recipe):
    assert_read(compose(recipe), recipe)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
@pytest.mark.parametrize("method", ["lmac_td", "lmac", "l2i", "baselines"])
def test_every_key_of_a_classifiers_overlay_is_read(method, overlay, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"extends: [{ROOT}/hparams/{method}.yaml, {overlay}]\n"
        f"{PLACEHOLDERS[overlay.stem]}"
    )
    text = compose_text(recipe)
    assert "!PLACEHOLDER" not in text
    assert_read(ruamel.yaml.YAML().load(overlay.read_text()), recipe)


def assert_read(keys, recipe):
    """A key is read by a reference in the recipe, or by name in the code."""
    text = compose_text(recipe)
    code = "\n".join(path.read_text() for path in READERS)
    for key in keys:
        if key.startswith("__") or key in (*AXES, *IMPORTED, DECLARATIONS):
            continue
        by_reference = re.search(rf"!ref.*<{key}[\]>\[]", text)
        by_name = re.search(rf"hparams\[\"{key}\"\]|hparams\.{key}\b", code)
        assert by_reference or by_name, f"{recipe.name}: nothing reads {key}"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_recipes_say_only_what_differs(recipe):
    """A recipe that extends another repeats none of its settings."""
    own = ruamel.yaml.YAML().load(recipe.read_text())
    bases = own.pop("extends")
    inherited = {}
    for base in [bases] if isinstance(bases, str) else bases:
        inherited.update(compose(recipe.parent / base))
    for key, value in own.items():
        if not hasattr(value, "tag"):
            repeated = key in inherited and inherited[key] == value
            assert not repeated, f"{recipe.name} repeats {key}: {value}"
