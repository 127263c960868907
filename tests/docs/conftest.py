"""What the command of docs/results.md prints and writes, made once a process."""

import contextlib
import csv
import io
import shlex
from types import SimpleNamespace

import pytest

from lmac_td.benchmark import report
from lmac_td.cli.benchmark import main
from tests.pages import command_lines

FIGURES = ("curves_figure", "gain_figure", "dial_figure")


@pytest.fixture(scope="session")
def esc10(tmp_path_factory):
    """The report on the kept scores, without its figures.

    ``lines`` is what is printed; ``values`` are the rows of ``values.csv``, by
    condition, row and column, of the means over classifiers.
    """
    folder = tmp_path_factory.mktemp("report")
    (line,) = (x for x in command_lines("python") if "--by_condition" in x)
    _, _, *arguments = shlex.split(line)
    arguments[arguments.index("--folder") + 1] = str(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in FIGURES:
            patch.setattr(report, name, lambda *_: None)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            assert main(arguments) == 0
    with open(folder / "values.csv", newline="", encoding="utf-8") as file:
        values = {
            (row["condition"], row["row"], row["column"]): row
            for row in csv.DictReader(file)
            if row["classifier"] == "all"
        }
    return SimpleNamespace(lines=said.getvalue().splitlines(), values=values)
