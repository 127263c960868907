"""docs/large_evaluations.md: its commands, on the tiny corpus."""

import re
import shlex

import pytest

from lmac_td.cli.evaluate import read_options, shard_of
from tests.commands import EVALUATE, run
from tests.pages import ROOT

PAGE = ROOT / "docs" / "large_evaluations.md"
LINE = re.compile(r"(?:python|nproc_per_node=2) eval_faithfulness\.py ([^\"\n]*)")


def lines():
    """What the page gives the command, as lists of words."""
    return [shlex.split(found) for found in LINE.findall(PAGE.read_text())]


def test_the_lines_of_the_page_are_read():
    """Those of torchrun, SLURM and Ray run in tests/cli/test_shards.py."""
    shards = []
    for line in lines():
        line = [word.replace("$SLURM_ARRAY_TASK_ID", "7") for word in line]
        options, (recipe, *rest), _ = read_options(line)
        assert (ROOT / recipe).is_file()
        assert not rest
        shards.append(str(shard_of(options)[0]))
    assert shards == ["0/2", "1/2", "None", "None", "7/8", "None", "None"]
    assert "--array=0-7\n" in PAGE.read_text()


@pytest.mark.slow
def test_the_shards_of_the_page_are_joined(trained):
    settings = {"condition": "clean", "references": False, "n_samples": 0}
    for line in lines()[:3]:
        run(EVALUATE, trained / "lmac_td.yaml", *line[1:], **settings)
    (results,) = (trained / "results").glob("lmac_td*")
    assert (results / "evaluation_clean" / "table.json").is_file()
