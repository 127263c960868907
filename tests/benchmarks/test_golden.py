"""The comparison of the scores of two versions finds differences."""

import pandas as pd
import pytest

from benchmarks.golden import main


@pytest.fixture
def evaluations(tmp_path):
    """Write two equal evaluations; return their folders and a writer."""
    scores = pd.DataFrame(
        {
            "condition": ["clean", "clean"],
            "method": ["lmac", "lmac"],
            "clip_id": ["a", "b"],
            "decided": [1, 2],
            "AI": [0.0, 100.0],
            "SPS": [0.5, float("nan")],
        }
    )

    def write(side, **columns):
        folder = tmp_path / side / "lmac" / "evaluation"
        folder.mkdir(parents=True, exist_ok=True)
        table = scores.assign(**columns)
        table.to_csv(folder / "clips.csv", index=False)
        return table, folder / "clips.csv"

    write("before")
    write("after")
    return [str(tmp_path / "before"), str(tmp_path / "after")], write


def test_equal_scores_pass(evaluations, capsys):
    folders, _ = evaluations
    assert main(folders) == 0
    assert "all columns within it" in capsys.readouterr().out


def test_the_order_of_rows_does_not_matter(evaluations):
    folders, write = evaluations
    table, path = write("after")
    table.iloc[::-1].to_csv(path, index=False)
    assert main(folders) == 0


@pytest.mark.parametrize(
    "columns", [{"AI": [0.0, 100.1]}, {"SPS": [0.5, 0.5]}, {"clip_id": ["a", "c"]}]
)
def test_a_difference_is_found(evaluations, columns, capsys):
    folders, write = evaluations
    write("after", **columns)
    assert main(folders) == 1
    assert f"above it in {next(iter(columns))}" in capsys.readouterr().out


def test_differences_below_1_are_absolute(evaluations):
    folders, write = evaluations
    write("after", SPS=[0.500005, float("nan")])
    assert main(folders) == 0
    write("after", SPS=[0.50002, float("nan")])
    assert main(folders) == 1


def test_percentages_are_compared_as_fractions(evaluations):
    folders, write = evaluations
    write("after", AI=[5e-4, 100.0005])
    assert main(folders) == 0
    write("after", AI=[2e-3, 100.0])
    assert main(folders) == 1


def test_a_missing_column_is_a_difference(evaluations):
    folders, write = evaluations
    table, path = write("after")
    table.drop(columns="SPS").to_csv(path, index=False)
    assert main(folders) == 1


def test_a_missing_evaluation_is_an_error(evaluations, capsys):
    folders, write = evaluations
    write("after")[1].unlink()
    assert main(folders) == 2
    assert "is missing" in capsys.readouterr().err
