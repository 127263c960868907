"""The tables that Sphinx writes name every setting and every metric."""

import re
import sys

import pytest

from lmac_td.experiment.recipe import compose
from lmac_td.experiment.settings import declarations
from lmac_td.metrics.registry import registered
from tests.pages import ROOT

sys.path.insert(0, str(ROOT / "docs" / "_ext"))
generated = pytest.importorskip("generated_pages")
RECIPES = sorted((ROOT / "hparams").glob("*.yaml")) + sorted(
    (ROOT / "hparams" / "classifiers").glob("*.yaml")
)


@pytest.fixture(scope="module")
def settings():
    return generated.settings_page()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_setting_is_listed(settings, recipe):
    for name in declarations(compose(recipe)):
        assert f"`{name}`" in settings, name


def test_a_setting_stands_with_default_type_role_and_comment(settings):
    (line,) = re.findall(r"^\| `alpha` .*$", settings, re.MULTILINE)
    assert line == "| `alpha` | `0.75` | float from 0 to 1 | training |  |"
    (line,) = re.findall(r"^\| `sample_rate` .*$", settings, re.MULTILINE)
    assert line.endswith("| Hz |")


def test_sizes_stand_side_by_side(settings):
    part = settings.split("### Sizes of lmac_td.yaml")[1].split("###")[0]
    for size in ("paper", "small", "demo"):
        tree = compose(ROOT / "hparams" / "lmac_td.yaml", {"size": size})
        assert f"`{tree['chunk_size']}`" in part
    assert "`data_folder`" not in part


def test_every_metric_is_listed_and_explained():
    table = generated.metrics_page()
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for metric in registered():
        assert f"| {metric.name} |" in table
        if metric.printed:
            # "p kept 5 %, ..." stands for all sizes, "eta (99.9), (99), (98)" likewise.
            word = re.sub(r" \(.*\)| \d+ %", "", metric.name)
            assert word in page or metric.function.__doc__, metric.name
