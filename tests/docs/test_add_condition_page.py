"""docs/add_condition.md, run as it is written, on the tiny corpus."""

import re
import shlex
import sys

import pytest

from lmac_td.experiment.recipe import compose
from tests.commands import refused, run
from tests.pages import ROOT, write_clone

PAGE = ROOT / "docs" / "add_condition.md"
COMMANDS = re.findall(
    r"^    PYTHONPATH=scratch python (.*)$", PAGE.read_text(), re.MULTILINE
)


def test_the_condition_is_added_to_the_others(tmp_path):
    """As it stands there, with nothing replaced."""
    write_clone(PAGE, tmp_path)
    recipe = compose(tmp_path / "scratch" / "my_mixtures.yaml")
    assert list(recipe["conditions"])[-2:] == ["clean", "hum"]
    assert recipe["training_condition"] == "hum"


@pytest.fixture
def scratch(trained, monkeypatch):
    """The page's files, with the tiny recipes in place of the demo's."""
    folder = trained / "scratch"
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "my_hum", raising=False)
    write_clone(
        PAGE,
        trained,
        [("size: demo\n", ""), ("../hparams/lmac_td", f"{trained}/lmac_td")],
    )
    return folder


@pytest.mark.slow
def test_the_page_as_written(scratch):
    for line in COMMANDS:
        script, recipe, *rest = shlex.split(line)
        settings = dict(zip([r[2:] for r in rest[::2]], rest[1::2], strict=True))
        said = run(script, scratch.parent / recipe, **settings).stdout
    for condition in ("hum", "mixtures", "clean"):
        assert f"### {condition}\n" in said
    assert "\n| my_mixtures " in said


@pytest.mark.slow
def test_mistakes_with_a_condition_of_ones_own(scratch):
    recipe = scratch / "my_mixtures.yaml"
    text = recipe.read_text()
    choices = "--training_condition in_domain, clean or hum"
    hum, buzz = "!new:my_hum.Hum", "!new:my_hum.Buzz"
    for line, words in (
        ("training_condition: hmm", choices),
        ("training_condition: speech", choices),
        (f"conditions: {{hum: {buzz} {{snr_db: 3}}}}", "my_hum.Buzz"),
        (f"conditions: {{hum: {hum} {{snr_db: loud}}}}", "snr_db is 'loud'"),
        ("conditions: {hum: 3}", "condition hum is 3: name a class"),
    ):
        name = line.split(":")[0]
        start = rf"^{name}:.*\n(?: .*\n)*"
        recipe.write_text(re.sub(start, "", text, flags=re.MULTILINE) + f"{line}\n")
        said = refused("train_interpreter.py", recipe)
        assert words in said, said
    assert not (scratch.parent / "results" / "my_mixtures").exists()
