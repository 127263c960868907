"""Several runs in one table: rows, means over seeds, and files that are none."""

import json
import statistics
from pathlib import Path

import pytest

from lmac_td.errors import DataError
from lmac_td.metrics.table import COLUMNS
from recipes.ESC50.compare_runs import RECIPE, main, read_runs


@pytest.fixture
def tables(tmp_path):
    paths = []
    for seed in (1, 2, 3):
        rows = []
        for method, value in (("lmac_td", 40.0 + seed), ("identity", 0.0)):
            metrics = {c.metric: {"mean": value, "median": value} for c in COLUMNS}
            rows.append(
                {
                    "condition": "clean",
                    "method": method,
                    "n_clips": 80,
                    "metrics": metrics,
                }
            )
        rows[1]["metrics"]["kept (dB)"]["mean"] = None
        path = tmp_path / f"{seed}.json"
        settings = {"seed": seed, "in_domain snr_db": 0}
        settings |= {"test_fold_nums": [4], "mixing_seed": 1}
        settings["recipe"] = dict.fromkeys(RECIPE, "the same")
        path.write_text(json.dumps({"settings": settings, "rows": rows}))
        paths.append(str(path))
    return paths


def test_one_row_a_run_and_their_mean(tables, capsys):
    main(tables)
    said = capsys.readouterr().out
    for seed in (1, 2, 3):
        assert f"| lmac_td, seed {seed} " in said
    mean = [line for line in said.splitlines() if "mean ± sd of 3 seeds" in line]
    assert f" 42.00 ± {statistics.stdev([41, 42, 43]):.2f} " in mean[0]
    assert said.count("| identity ") == 1
    assert said.rstrip().removesuffix("|").rstrip().endswith("–")


def test_a_file_that_is_no_table_is_named(tables, tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DataError, match=r"other\.json"):
        read_runs([*tables, tmp_path / "other.json"])


def change(path, where, value):
    content = json.loads(Path(path).read_text())
    part = content
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    Path(path).write_text(json.dumps(content))


def test_other_mixtures_are_not_compared(tables):
    change(tables[1], ("settings", "test_fold_nums"), [5])
    with pytest.raises(DataError, match=r"2\.json was not made from the mixtures"):
        main(tables)


def test_a_row_that_stands_twice_and_differs_is_refused(tables):
    change(tables[1], ("settings", "seed"), 1)
    with pytest.raises(DataError, match="lmac_td with seed 1"):
        main(tables)


# The second is so little more, and yet shown as 0.001 where the first is 0.000.
@pytest.mark.parametrize(("one", "other"), [(0.0, 1e-7), (0.0004999, 0.0005001)])
def test_the_last_digits_of_a_baseline_do_not_make_a_seed(tables, capsys, one, other):
    change(tables[0], ("rows", 1, "metrics", "FF", "mean"), one)
    change(tables[1], ("rows", 1, "metrics", "FF", "mean"), other)
    change(tables[2], ("rows", 1, "metrics", "FF", "mean"), one)
    main(tables)
    assert capsys.readouterr().out.count("| identity") == 1


def test_methods_stand_before_what_explains_nothing(tables, capsys):
    change(tables[2], ("rows", 0, "method"), "another")
    main(tables)
    said = capsys.readouterr().out
    assert said.index("| lmac_td, mean") < said.index("| another ")
    assert said.index("| another ") < said.index("| identity ")


def test_rows_as_audio_stand_with_their_method_and_remarks_below(tables, capsys):
    """A method may have a second row, masks have columns, and some have a remark."""
    content = json.loads(Path(tables[0]).read_text())
    own = content["rows"][0]
    own["metrics"] |= {"MM": {"mean": 0.25, "median": 0.25}}
    content["rows"].insert(1, {**own, "method": "lmac_td, as audio"})
    content["settings"]["remark"] = "it has no sound"
    Path(tables[0]).write_text(json.dumps(content))
    main(tables)
    said = capsys.readouterr().out
    rows = [line.split("|")[1].strip() for line in said.splitlines() if "|" in line]
    assert rows.index("lmac_td, as audio") < rows.index("identity")
    assert "| MM " in said.replace("   ", " ").replace("  ", " ")
    assert "lmac_td: it has no sound" in said
