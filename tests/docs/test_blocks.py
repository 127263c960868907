"""Blocks of code of the pages: Python runs, recipes compose."""

import re

import pytest
import ruamel.yaml

from lmac_td.experiment.recipe import compose
from tests.pages import BLOCK, NAMED, PAGES, ROOT, named_files, write_clone

# Its sounds are made by a command first: test_two_questions_page.py.
NEEDS_SOUNDS = ROOT / "docs" / "two_questions.md"
names = [str(page.relative_to(ROOT)) for page in PAGES]


def unnamed(page, language):
    """Blocks that are no files, in order."""
    text = NAMED.sub("", page.read_text(encoding="utf-8"))
    found = [block for kind, block in BLOCK.findall(text) if kind == language]
    return [b for b in found if not re.match(r"# \w+\.(py|yaml)\n", b)]


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_python_runs_in_the_order_of_the_page(page, tmp_path, monkeypatch):
    if page == NEEDS_SOUNDS:
        pytest.skip("see test_two_questions_page.py")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    for block in unnamed(page, "python"):
        exec(compile(block, page.name, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_recipes_compose_as_they_stand(page, tmp_path):
    for path in write_clone(page, tmp_path):
        if path.suffix == ".yaml":
            shown = ruamel.yaml.YAML().load(path.read_text(encoding="utf-8"))
            recipe = compose(path)
            assert set(shown) - {"extends"} <= set(recipe)
            if "extends" in shown:
                assert "features" in recipe


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_lines_of_recipes_are_yaml_of_known_settings(page):
    known = {"settings", "threshold", "extends"}
    for name in ("lmac", "baselines", "l2i", "cnn14", "classifiers/modules"):
        known |= set(compose(ROOT / "hparams" / f"{name}.yaml"))
    for block in unnamed(page, "yaml"):
        assert set(ruamel.yaml.YAML().load(block)) <= known


def test_pages_show_files():
    shown = {name for page in PAGES for name in named_files(page)}
    assert {"my_ast.yaml", "hparams/energy.yaml", "scratch/clips.csv"} <= shown
