"""docs/budgeted.md: its commands and its own source of scores, on the tiny corpus."""

import re
import shlex

import pytest

from tests.commands import EVALUATE, run
from tests.pages import ROOT, named_files, write_clone

PAGE = ROOT / "docs" / "budgeted.md"


def commands():
    """The commands of the page for the demo's corpus, as lists of words."""
    found = re.findall(r"^    python (.*)$", PAGE.read_text(), re.MULTILINE)
    return [shlex.split(line) for line in found if "$" not in line]


def test_a_source_of_scores_is_one_file_and_one_recipe():
    assert list(named_files(PAGE)) == ["centre.py", "hparams/centre.yaml"]


@pytest.mark.slow
def test_the_commands_of_the_page_run(with_trained):
    folder = with_trained("cnn14", "budgeted")
    assert len(commands()) == 6
    for script, recipe, size, demo, *settings in commands():
        assert (size, demo) == ("--size", "demo")
        assert (ROOT / recipe).is_file()
        tiny = folder / recipe.split("/")[-1]
        run(script, tiny, *settings, condition="in_domain")


@pytest.mark.slow
def test_the_page_s_own_scores_are_measured(trained, monkeypatch):
    _, recipe = write_clone(PAGE, trained)
    tiny = trained / "tiny.yaml"
    kept = (
        line
        for line in (trained / "evidence.yaml").read_text().splitlines(keepends=True)
        if line.split(":")[0] not in ("extends", "controls")
    )
    tiny.write_text(f"extends: {recipe}\n{''.join(kept)}")
    monkeypatch.syspath_prepend(trained)
    said = run(EVALUATE, tiny, condition="in_domain").stdout
    assert "\n| centre " in said
    assert "keeps 0.25 of the amplitude" in said
