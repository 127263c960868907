"""RemOve And Retrain: which cells are trained, and what is reported."""

import csv

import pytest
import torch

from lmac_td.evaluation.bootstrap import summarise
from lmac_td.report.figures import grid_figure, lines_figure
from lmac_td.sanity import roar
from lmac_td.sanity.cells import Cells
from lmac_td.sanity.roar import (
    NOTHING,
    accuracies,
    accuracies_to_csv,
    accuracies_to_markdown,
    accuracy_curves,
    complete_cells,
)


@pytest.fixture
def finished(tmp_path):
    """Cells of two repeats and four test clips."""
    cells = Cells(tmp_path / "roar.json", {"seed": 1})
    for repeat, hits in enumerate(([1, 1, 1, 0], [1, 1, 0, 0])):
        cells.put(NOTHING, 0.0, repeat, [True] * 4)
        cells.put("lmac", 0.5, repeat, hits)
        cells.put("random", 0.5, repeat, [1, 1, 1, 1 - repeat])
    return cells


def test_accuracy_is_the_mean_over_repeats_with_an_interval_over_clips(finished):
    table = accuracies(finished.frame, ["lmac", "random"], [0.5], range(2))
    assert table[["ranking", "removed"]].values.tolist() == [
        ["lmac", 0.0], ["lmac", 0.5], ["random", 0.0], ["random", 0.5],
    ]  # fmt: skip
    curves = accuracy_curves(table)
    assert list(curves) == ["lmac", "random"]
    assert curves["lmac"][0] == curves["random"][0] == (1, 1, 1)
    assert curves["lmac"][1] == summarise([1, 1, 0.5, 0])
    value, low, high = curves["lmac"][1]
    assert low < value == 5 / 8 < high
    (one,) = accuracies(finished.frame, ["lmac"], [0.5], [0])["accuracy"][1:]
    assert one == 3 / 4


def test_accuracies_are_printed_and_written(finished, tmp_path):
    table = accuracies(finished.frame, ["lmac", "random"], [0.5], range(2))
    text = accuracies_to_markdown(table)
    assert "| most important first by |" in text
    assert "50 % |" in text
    lines = [line for line in text.splitlines() if line.startswith("| lmac ")]
    assert "100.0 [100.0, 100.0] | 62.5 [" in lines[0]
    accuracies_to_csv(tmp_path / "roar.csv", table)
    with open(tmp_path / "roar.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["ranking", "removed", "accuracy", "low", "high"]
    assert [(r["removed"], float(r["accuracy"])) for r in rows[:2]] == [
        ("0.0", 1.0), ("0.5", 0.625),
    ]  # fmt: skip


def test_only_the_missing_cells_are_trained(tmp_path, monkeypatch):
    """Each on its own clips, with its own seed, written when it is finished."""
    trained = []

    class Shelf:
        """Clips that hold the name of their ranking and level."""

        def clips(self, rank, levels):
            return {
                level: {split: (rank, level, split) for split in ("train", "valid")}
                | {"test": level}
                for level in levels
            }

    def retrain(classifier, train, valid, seed, **training):
        assert train[:2] == valid[:2]
        assert (train[2], valid[2], training) == ("train", "valid", {"epochs": 1})
        trained.append((*train[:2], seed))

    monkeypatch.setattr(roar, "retrain", retrain)
    monkeypatch.setattr(
        roar, "recognised_clips", lambda _, test: torch.tensor([test < 0.4])
    )
    rankings = {"lmac": "by lmac", "loudest first": "by level"}
    path = tmp_path / "roar.json"

    def run(levels, n_repeats):
        trained.clear()
        cells = Cells(path, {})
        complete_cells(
            cells, Shelf(), None, rankings, levels, range(n_repeats), False, epochs=1
        )
        return list(trained), cells.frame

    first, _ = run([0.5], 1)
    assert first == [("by level", 0.0, 0), ("by lmac", 0.5, 0), ("by level", 0.5, 0)]
    more, hits = run([0.3, 0.5], 2)
    assert more == [
        ("by level", 0.0, 1),
        ("by lmac", 0.3, 0), ("by lmac", 0.3, 1), ("by lmac", 0.5, 1),
        ("by level", 0.3, 0), ("by level", 0.3, 1), ("by level", 0.5, 1),
    ]  # fmt: skip
    assert len(hits) == len(first) + len(more)
    assert (hits["recognised"] == (hits["removed"] < 0.4)).all()
    assert run([0.5], 2)[0] == []


def test_figures_are_drawn(tmp_path):
    points = [(1.0, 0.9, 1.0), (0.5, 0.4, 0.7)]
    lines = {"lmac": points, "random": points}
    for name, x in (("numbers", [0.0, 0.5]), ("names", ["intact", "logits"])):
        panels = {"SSIM": lines, "rank correlation": lines}
        lines_figure(tmp_path / f"{name}.png", panels, x, "x", "title", {"random"})
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    magnitude = torch.rand(20, 30).numpy()
    rows = {"lmac": {"input": magnitude, "intact": magnitude}}
    with open(tmp_path / "grid.png", "wb") as file:
        grid_figure(file, rows, 1.0, 16000, 1.0, "title")
    assert (tmp_path / "grid.png").stat().st_size > 3000
