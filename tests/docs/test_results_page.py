"""The tables and claims of docs/results.md hold the scores that are kept."""

import re

import pytest

from tests.pages import ROOT

PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def printed(esc10):
    return {squeezed(line) for line in esc10.lines}


def squeezed(line):
    return re.sub(" +", " ", line.strip())


def rows(heading):
    """The rows of the tables in a section of the page, with their heads."""
    start = PAGE.index(f"\n{heading}\n") + len(heading) + 2
    section = re.split(r"^#+ ", PAGE[start:], flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [squeezed(line) for line in lines if not line.startswith("| ---")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heading", "at_least"),
    [
        ("## With ambient noise at 0 dB", 15),
        ("## In every condition", 60),
        ("### Clip by clip", 8),
    ],
)
def test_tables_are_what_the_command_prints(printed, heading, at_least):
    found = rows(heading)
    assert len(found) >= at_least
    for row in found:
        assert row in printed, row


@pytest.mark.parametrize("row", ["evidence 0.5", "budgeted 0.5"])
@pytest.mark.parametrize("other", ["lmac_td_small_alpha0.75", "lmac_small"])
@pytest.mark.parametrize(
    "column", ["AI (%) ↑", "AG (%) ↑", "insertion ↑", "deletion ↓"]
)
def test_evidence_and_the_network_are_ahead_in_every_condition(row, other, column):
    """A claim of the page, about the numbers in its tables."""
    table = {}
    for line in rows("## In every condition"):
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if not cells[0][0].isdigit():
            head = name  # of a new table; its cells are the conditions
            table[head] = {}
        else:
            table[head][name] = [float(cell.split(" ± ")[0]) for cell in cells]
    sign = -1 if column.endswith("↓") else 1
    ours, theirs = table[column][row], table[column][other]
    assert len(ours) == 5
    for here, there in zip(ours, theirs, strict=True):
        assert sign * (here - there) > 0


def test_the_readme_has_the_same_numbers():
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\n", " ")
    sentence = text[text.index("three classifiers, AI is ") :].partition("([results]")[
        0
    ]
    names = {
        "evidence": "evidence 0.5", "the network": "budgeted 0.5",
        "Grad-CAM": "gradcam", "L-MAC": "lmac_small",
        "LMAC-TD": "lmac_td_small_alpha0.75",
    }  # fmt: skip
    found = dict(re.findall(r"([\d.]+) for ([\w-]+(?: network)?)", sentence))
    assert set(found.values()) == set(names)
    lines = rows("## With ambient noise at 0 dB")
    for value, name in found.items():
        (line,) = (x for x in lines if x.startswith(f"| {names[name]} |"))
        ai = line.split(" | ")[2].split(" ± ")[0]
        assert f"{float(ai):.1f}" == value
