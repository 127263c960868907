"""Names of classes stay in their cells."""

import re

import pytest

from lmac_td.evaluation.markdown import compact_table, markdown_table


@pytest.mark.parametrize("make", [compact_table, markdown_table])
@pytest.mark.parametrize(
    "name", ["a|b", "a\nb", "a\r\n| b", "<b>a</b>", "<!-- a", "$a$"]
)
def test_a_name_stays_in_its_cell(make, name):
    lines = make([name, "score"], [[name, "1"], ["b", "2"]]).strip().splitlines()
    assert len(lines) == 4
    for line in lines:
        assert len(re.split(r"(?<!\\)\|", line)) == 4
        assert not re.search(r"(?<!\\)<[a-z/!]", line)
