"""Large rows are in Parquet files, and are read as rows in memory are."""

import pandas as pd
import pytest
import torch

from lmac_td.errors import DataError
from lmac_td.evaluation import row_store
from lmac_td.evaluation.frame import ScoreFrame, values_of
from lmac_td.evaluation.invariants import check_invariants
from lmac_td.evaluation.rendering import table_to_markdown
from lmac_td.evaluation.summary import write_json
from lmac_td.evaluation.table import FaithfulnessTable
from tests.score_batches import N_RESAMPLES, batch, tagged


@pytest.fixture(autouse=True)
def small_memory(monkeypatch):
    monkeypatch.setattr(row_store, "LINES_IN_MEMORY", 5)


def filled(**arguments):
    table = FaithfulnessTable(n_resamples=N_RESAMPLES, **arguments)
    for i in range(3):
        for method in ("m", "n: 1/2"):
            table.add(condition="c", method=method, **batch(4, prefix=f"ü{i}"))
    table.add(condition="tags", method="m", **tagged())
    return table


def test_tables_in_files_print_and_write_the_same(tmp_path):
    tables = filled(), filled(folder=tmp_path / "scores")
    assert (tmp_path / "scores").is_dir()
    texts = []
    for i, table in enumerate(tables):
        check_invariants(table)
        write_json(table, tmp_path / f"{i}.json")
        table.clips_to_csv(tmp_path / f"{i}.csv")
        texts.append([table_to_markdown(table)])
        texts[i] += [
            (tmp_path / f"{i}.{kind}").read_bytes() for kind in ("json", "csv")
        ]
    assert texts[0] == texts[1]


def test_files_are_read_as_they_were_written(tmp_path):
    table = filled(folder=tmp_path / "scores")
    files = table.clips_to_parquet()
    again = FaithfulnessTable.read_parquet(files)
    assert list(again.rows) == list(table.rows)
    for row, scores in filled().rows.items():
        pd.testing.assert_frame_equal(again.rows[row].whole(), scores)
    frame = pd.read_parquet(files[0])  # as others read them
    assert frame[["condition", "method"]].iloc[0].tolist() == ["c", "m"]


def test_lines_can_be_added_after_a_row_was_read(tmp_path):
    tables = ScoreFrame(), ScoreFrame(tmp_path)
    for scores in tables:
        for i in range(10):
            scores.append(
                "c", "m", {"clip_id": [f"{i}{j}" for j in "abc"], "x": [i] * 3}
            )
            assert len(scores.row("c", "m")) == 3 * (i + 1)
        with pytest.raises(ValueError, match="'3b' is scored twice"):
            scores.append("c", "m", {"clip_id": ["new", "3b"], "x": [0, 0]})
        with pytest.raises(ValueError, match="'new' is scored twice"):
            scores.append("c", "m", {"clip_id": ["new", "new"], "x": [0, 0]})
        scores.put("c", "m", scores.row("c", "m"))
        with pytest.raises(ValueError, match="'3b' is scored twice"):
            scores.append("c", "m", {"clip_id": ["3b"], "x": [0]})
        scores.append("c", "m", {"clip_id": ["new"], "x": [0]})
    one, other = (values_of(scores.row("c", "m"), "x").tolist() for scores in tables)
    assert one == other


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    for name in ("a", "missing"):
        with pytest.raises(DataError, match=f"{name}.parquet is missing or holds no"):
            ScoreFrame.read_parquet([tmp_path / f"{name}.parquet"])


def test_appending_copies_each_value_a_few_times_at_most(monkeypatch):
    """Counted by the room that is allocated, so not by time."""
    rooms = []
    allocate = row_store.np.empty

    def counted(shape, *arguments):
        rooms.append(shape)
        return allocate(shape, *arguments)

    monkeypatch.setattr(row_store.np, "empty", counted)
    scores, n = ScoreFrame(), 3000
    for i in range(n):
        scores.append("c", "m", {"clip_id": [str(i)], "x": torch.tensor([1.0])})
    assert sum(room for room in rooms if isinstance(room, int)) < 2 * 4 * n
