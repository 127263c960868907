"""docs/published_code.md: each fault is shown by code of its own, and has a test."""

import ast
import re

import pytest

from tests.pages import ROOT

PAGE = ROOT / "docs" / "published_code.md"
FAULTS = re.split(r"^#### ", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
names = [fault.splitlines()[0] for fault in FAULTS]


@pytest.mark.parametrize("fault", FAULTS, ids=names)
def test_the_code_of_a_fault_needs_nothing_of_ours(fault):
    (block,) = BLOCK.findall(fault)
    assert "lmac_td" not in block
    assert "assert" in block or "SystemExit" in block
    exec(compile(block, PAGE.name, "exec"), {"__name__": "page"})


@pytest.mark.parametrize("fault", FAULTS, ids=names)
def test_the_tests_that_a_fault_names_exist(fault):
    assert "*Where:* " in fault
    assert "*Correct:* " in fault
    _, ours = fault.split("*Our test:* ")
    found = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", ours)
    assert found
    for path, name in found:
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        assert name in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


def test_all_faults_are_there():
    assert len(FAULTS) == 26
