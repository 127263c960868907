"""The trained interpreter of the repository: its files, and its table."""

import json
import re

import pytest

from lmac_td.experiment.shipped import REFERENCE_CLASSIFIER, REFERENCE_INTERPRETER
from tests.commands import EVALUATE, run
from tests.conftest import ROOT

CARD = REFERENCE_INTERPRETER / "README.md"
# Columns of the card, with the digits that it shows.
COLUMNS = {"AI": 2, "AD": 2, "AG": 2, "FF": 3, "Fid-In": 3, "insertion": 3}


def row_of_card(name):
    """A row of the card's table, by column."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in CARD.read_text("utf-8").splitlines()
        if line.startswith("|")
    ]
    head = next(line for line in lines if line[0] == "row")
    names = [re.sub(r" \(%\)| [↑↓]", "", column) for column in head]
    return dict(zip(names, next(x for x in lines if x[0] == name), strict=True))


def test_it_holds_the_reference_classifier():
    for name in ("model.safetensors", "labels.json"):
        own = REFERENCE_INTERPRETER / "pretrained_classifier" / name
        assert own.read_bytes() == (REFERENCE_CLASSIFIER / name).read_bytes()


def test_all_weights_of_the_repository_are_small():
    weights = list((ROOT / "recipes").rglob("*.safetensors"))
    assert len(weights) >= 5
    assert sum(path.stat().st_size for path in weights) < 8e6


def test_its_recipe_names_no_folder_of_a_machine():
    recipe = (REFERENCE_INTERPRETER / "recipe.yaml").read_text("utf-8")
    assert not re.search(r"[:\s'\"]/\w+/", recipe)


@pytest.mark.slow
def test_its_table_is_repeated_to_the_digit(real_data, tmp_path):
    esc10, noise = real_data
    settings = {"condition": "in_domain", "keep": 0.5, "n_samples": 0}
    settings |= {"references": False, "controls": False, "output_folder": tmp_path}
    run(
        EVALUATE,
        REFERENCE_INTERPRETER / "recipe.yaml",
        data_folder=esc10,
        wham_folder=noise,
        **settings,
    )
    table = json.loads((tmp_path / "evaluation_in_domain/table.json").read_text())
    (row,) = table["rows"]
    printed = row_of_card("budgeted_small 0.5")
    for name, digits in COLUMNS.items():
        found = row["metrics"][name]["mean"]
        assert f"{found:.{digits}f}" == printed[name], name
