"""The table of Quantus' scores and its file."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import quantus
import torch

from lmac_td.contracts import Sources
from lmac_td.evaluation.frame import values_of
from lmac_td.evaluation.quantus import (
    QuantusScores,
    run_quantus,
)
from lmac_td.interpreters.baselines import Identity, Zeros
from tests.evaluation.quantus.conftest import T
from tests.evaluation.quantus.interpreters import Heatmap


def test_constant_maps_have_no_value_and_are_counted(explained, spectral):
    shape = (2, *explained(Identity(spectral)).features.magnitude.shape[1:])
    maps = torch.rand(shape)
    maps[0] = 0.25
    scores = QuantusScores(["Sparseness", "MPRT"], spectral)
    for name, interpreter in (
        ("zeros", Zeros(spectral)),
        ("half", Heatmap(spectral, maps)),
    ):
        scores.add("noisy", name, ["a", "b"], explained(interpreter), interpreter)
    assert np.isnan(values_of(scores.scores.row("noisy", "zeros"), "Sparseness")).all()
    sps = values_of(scores.scores.row("noisy", "half"), "Sparseness")
    assert np.isnan(sps[0])
    assert sps[1] == pytest.approx(1 / 3, abs=0.01)
    # Heatmap gives the first map, a constant one, whatever Quantus asks of one clip.
    assert np.isnan(values_of(scores.scores.row("noisy", "half"), "MPRT")).all()
    text = scores.to_markdown()
    assert "half: MPRT has no value for 2 of 2 clips." in text
    assert "zeros: " not in text
    cells = [line.split("|")[-2].strip() for line in text.splitlines() if "|" in line]
    assert cells[2:4] == ["2", "1"]


def test_localisation_needs_something_mixed_in(explained, spectral, sources):
    interpreter = Identity(spectral)
    names = ["RelevanceRankAccuracy", "Complexity"]
    scores = QuantusScores(names, spectral)
    padded = sources.target * (torch.arange(T) < T // 2)
    silent = torch.zeros_like(padded)
    magnitudes = (spectral(part).magnitude for part in (padded, silent))
    clean = Sources(padded, silent, *magnitudes)
    scores.add("noisy", "identity", ["a", "b"], explained(interpreter), interpreter)
    scores.add(
        "clean", "identity", ["a", "b"], explained(interpreter, clean), interpreter
    )
    unknown = replace(explained(interpreter), sources=None)
    scores.add("alone", "identity", ["a", "b"], unknown, interpreter)
    noisy, clean, alone = scores.to_markdown().split("### ")[1:]
    assert "RelevanceRankAccuracy ↑" in noisy
    assert "left out" not in noisy
    for section in (clean, alone):
        assert "RelevanceRankAccuracy ↑" not in section
        assert "RelevanceRankAccuracy: left out, as nothing is mixed" in section
        assert "Complexity ↓" in section
    given = run_quantus(names, spectral, unknown, interpreter, sources)
    np.testing.assert_allclose(
        given["RelevanceRankAccuracy"],
        scores.scores.row("noisy", "identity")["RelevanceRankAccuracy"],
    )


def test_the_table_and_its_file(explained, spectral, tmp_path):
    interpreter = Identity(spectral)
    scores = QuantusScores(["Sparseness", "Completeness", "AUC"], spectral)
    batch = explained(interpreter)
    scores.add("noisy", "identity", ["a", "b"], batch, interpreter)
    with pytest.raises(ValueError, match="scored twice"):
        scores.add("noisy", "identity", ["a", "b"], batch, interpreter)
    path = tmp_path / "folder" / "quantus.csv"
    scores.to_csv(path)
    with open(path, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["condition"], line["clip_id"]) for line in lines] == [
        ("noisy", "a"),
        ("noisy", "b"),
    ]
    values = values_of(scores.scores.row("noisy", "identity"), "Sparseness")
    assert [float(line["Sparseness"]) for line in lines] == values.tolist()
    text = scores.to_markdown()
    assert f"{values.mean():.4g}" in text
    low, high = sorted(values)
    assert f"[{low:.4g}, {high:.4g}]" in text
    assert text.startswith(f"### noisy, Quantus {quantus.__version__}\n")
