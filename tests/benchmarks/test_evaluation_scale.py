"""The simulation of large evaluations runs, and prints its table."""

import pytest

from benchmarks import evaluation_scale


@pytest.mark.slow
def test_the_table_has_a_line_for_each_step(capsys):
    evaluation_scale.main(["--clips", "100", "200", "--rows", "2", "--shards", "3"])
    printed = capsys.readouterr().out
    assert printed.startswith("2 rows of ")
    for step in ("partners", "append", "join", "means, medians, intervals"):
        assert printed.count(f" {step}") == 2
