"""What a training put beside its recipe stands in for a path that is gone."""

import pytest

from lmac_td.experiment.beside import missing_weights
from lmac_td.experiment.build import typed_recipe
from lmac_td.experiment.shipped import HPARAMS

NAME = "pretrained_classifier"


def beside(folder, value, given=()):
    tree = typed_recipe(HPARAMS / "lmac.yaml", {NAME: value})
    return missing_weights(tree, folder / "recipe.yaml", dict.fromkeys(given))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out" / NAME).mkdir(parents=True)
    (tmp_path / "there").mkdir()
    return tmp_path / "out"


def test_a_path_that_is_gone_is_replaced(folder):
    found = {NAME: str(folder / NAME)}
    assert beside(folder, "results/cnn14/1234/classifier") == found
    assert beside(folder, f"lmac/{NAME}") == found


@pytest.mark.parametrize("value", ["fpaissan/r", "https://a.b/c/d/e", "null"])
def test_what_is_no_path_stays(folder, value):
    assert beside(folder, value) == {}


def test_what_exists_or_is_given_stays(folder, tmp_path):
    assert beside(folder, str(tmp_path / "there")) == {}
    assert beside(folder, "results/cnn14/1234/classifier", given=[NAME]) == {}
    assert beside(tmp_path, "results/cnn14/1234/classifier") == {}
