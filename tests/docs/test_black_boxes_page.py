"""The commands of the pages on black boxes and on mask optimisation, tiny."""

import re
import shlex

import pytest

from lmac_td.interpreters.perturbation import METHODS
from lmac_td.interpreters.perturbation.segments import NAMED
from tests.commands import EVALUATE, run
from tests.pages import ROOT, named_files, write_clone

PAGES = [ROOT / "docs" / f"{name}.md" for name in ("black_boxes", "mask_optimisation")]


def commands(page):
    """The commands of a page on the embedded corpus, as lists of words."""
    found = re.findall(r"^    python (eval\S+ .*)$", page.read_text(), re.MULTILINE)
    return [shlex.split(line) for line in found if "--size demo" in line]


def test_the_page_names_every_method_and_every_kind_of_segments():
    text = PAGES[0].read_text()
    for name in (*METHODS, *NAMED):
        assert f"`{name}`" in text


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_the_page_run(page, with_trained):
    folder = with_trained("cnn14")
    assert len(commands(page)) == {"black_boxes": 4, "mask_optimisation": 3}[page.stem]
    for script, recipe, size, demo, *settings in commands(page):
        assert (size, demo) == ("--size", "demo")
        assert (ROOT / recipe).is_file()
        tiny = folder / recipe.split("/")[-1]
        run(script, tiny, *settings, condition="in_domain")


@pytest.mark.slow
def test_parts_of_ones_own_are_one_file_and_one_recipe(with_trained, monkeypatch):
    folder = with_trained("cnn14")
    assert list(named_files(PAGES[0])) == ["my_parts.py", "hparams/my_parts.yaml"]
    _, recipe = write_clone(PAGES[0], folder)
    tiny = folder / "tiny.yaml"
    kept = (
        line
        for line in (folder / "perturbation.yaml").read_text().splitlines(True)
        if line.split(":")[0] != "extends"
    )
    tiny.write_text(f"extends: {recipe}\n{''.join(kept)}")
    monkeypatch.syspath_prepend(folder)
    said = run(EVALUATE, tiny, condition="in_domain").stdout
    assert "\n| feature_ablation " in said
