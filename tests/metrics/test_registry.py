"""Metrics as columns: order, headers, and one of a user's own."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

from lmac_td.evaluation.columns import all_columns, metrics_of
from lmac_td.evaluation.invariants import InvariantError, check_invariants
from lmac_td.evaluation.rendering import table_to_markdown
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.experiment.build import load_recipe
from lmac_td.metrics import registry
from lmac_td.metrics.registry import (
    GROUND_TRUTH,
    Metric,
    find,
    measure,
    register,
    registered,
)
from lmac_td.metrics.score_inputs import ScoreInputs
from tests.conftest import ROOT
from tests.score_batches import (
    answers,
    answers_by_amplitude,
    batch,
    columns_of,
    of_second_classifier,
    sources,
)

HEADERS = [
    "AI (%) ↑", "AD (%) ↓", "AG (%) ↑", "FF ↑", "FF median ↑", "Fid-In ↑", "SPS ↑",
    "COMP ↓", "AD (published) ↓", "completeness (dB) ↑", "kept (dB)", "SPS (mask) ↑",
    "COMP (mask) ↓", "MM", "eta (99.9) ↑", "eta (99) ↑", "eta (98) ↑", "IoU (time) ↑",
    "AUC (time) ↑", "SI-SDR (dB) ↑", "SI-SDRi (dB) ↑", "target kept (dB) ↑",
    "interference kept (dB) ↓", "insertion ↑", "deletion ↓", "p kept 5 % ↑",
    "p kept 10 % ↑", "p kept 20 % ↑", "p kept 40 % ↑", "p kept 60 % ↑",
    "p removed 5 % ↓", "p removed 10 % ↓", "p removed 20 % ↓", "p removed 40 % ↓",
    "p removed 60 % ↓",
]  # fmt: skip
PEAK = """
from lmac_td.metrics.registry import Metric, register

register(Metric("peak", lambda scored: scored.interpretation.abs().amax(dim=1),
                decimals=1, range=(0, 2)))
"""


@pytest.fixture
def own_metrics(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_BLOCKS", list(registry._BLOCKS))


def test_columns_stand_in_this_order_with_these_headers():
    headers = [column.header for column in all_columns()]
    # A new metric may stand between them.
    assert [header for header in headers if header in HEADERS] == HEADERS


@pytest.mark.slow
def test_the_order_does_not_depend_on_who_is_imported_first():
    files = ["segments", "curves", "signal", "confidence", "localisation"]
    program = (
        "import importlib\n"
        f"for name in {files}: importlib.import_module('lmac_td.metrics.' + name)\n"
        "from lmac_td.evaluation.columns import all_columns\n"
        "print([column.header for column in all_columns()])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.strip() == str([column.header for column in all_columns()])


def test_a_users_metric_is_a_column_everywhere(own_metrics, tmp_path, monkeypatch):
    (tmp_path / "peak_metric.py").write_text(PEAK)
    monkeypatch.syspath_prepend(tmp_path)
    __import__("peak_metric")
    table = FaithfulnessTable(n_resamples=20)
    table.add(condition="c", method="m", **batch())
    expected = batch()["interpretation"].abs().amax(dim=1)
    assert columns_of(table, "c", "m")["peak"] == expected.tolist()
    head = table_to_markdown(table).splitlines()[4]
    assert [cell.strip() for cell in head.split("|")][-4:-1] == [
        "peak", "clips", "zero maps",
    ]  # fmt: skip
    check_invariants(table)
    table.put("c", "m", table.row("c", "m").assign(peak=3.0))
    with pytest.raises(InvariantError, match=r"peak is 3, outside \[0, 2\]"):
        check_invariants(table)
    table.clips_to_csv(tmp_path / "clips.csv")
    again = FaithfulnessTable.read_clips(tmp_path / "clips.csv")
    assert metrics_of(again.row("c", "m"))[-1] == "peak"


def test_a_recipe_names_a_file_of_metrics(own_metrics, tmp_path, monkeypatch):
    (tmp_path / "recipe_metric.py").write_text(PEAK.replace("peak", "crest"))
    monkeypatch.syspath_prepend(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"extends: {ROOT}/hparams/baselines.yaml\nmetrics: !module:recipe_metric\n"
    )
    load_recipe(recipe, {"size": "demo"})
    assert find("crest").decimals == 1


def test_a_metric_may_follow_another(own_metrics):
    register(Metric("b", len, group=GROUND_TRUTH), after="a")
    with pytest.raises(ValueError, match="'b' is to follow 'a', which is not"):
        registered()
    register(Metric("a", len, group=GROUND_TRUTH), after="IoU (time)")
    names = [metric.name for metric in registered()]
    place = names.index("IoU (time)")
    assert names[place : place + 4] == ["IoU (time)", "a", "b", "AUC (time)"]


def test_what_is_no_metric_is_refused(own_metrics):
    with pytest.raises(ValueError, match="there is a metric 'AD' already"):
        register(Metric("AD", len))
    for wrong in ({"better": "more"}, {"needs": ("magic",)}, {"statistics": ("mode",)}):
        with pytest.raises(ValueError, match=f"'x': {next(iter(wrong))} must be one"):
            Metric("x", len, **wrong)
    register(Metric("x", lambda scored: scored.p_x))
    inputs = {k: v for k, v in batch().items() if k not in ("clip_ids", "labels")}
    with pytest.raises(
        ValueError, match=r"'x' must return one value per entry, \(8,\)"
    ):
        measure(ScoreInputs(**inputs))


def test_a_metric_is_measured_where_a_batch_has_what_it_needs():
    inputs = {k: v for k, v in batch().items() if k not in ("clip_ids", "labels")}
    for more, needs in (
        ({}, set()),
        (sources(), {"sources", "frame_times"}),
        (answers(), {"equal_size"}),
        (answers_by_amplitude(), {"equal_amplitude"}),
        (of_second_classifier(), {"second_classifier"}),
        ({"mask": inputs["attribution"]}, {"stft_mask"}),
    ):
        expected = [m.name for m in registered() if needs >= set(m.needs)]
        assert list(measure(ScoreInputs(**inputs, **more))) == expected


def test_what_several_metrics_share_is_computed_once():
    calls = []

    def shared(scored):
        calls.append(scored)
        return torch.zeros(len(scored))

    inputs = {k: v for k, v in batch().items() if k not in ("clip_ids", "labels")}
    scored = ScoreInputs(**inputs)
    assert scored.once(shared) is scored.once(shared)
    assert len(calls) == 1


def test_a_file_in_the_folder_of_metrics_is_registered_without_another_edit(tmp_path):
    """In a copy of the package, as a new file of the repository would be."""
    package = tmp_path / "lmac_td"
    shutil.copytree(
        ROOT / "lmac_td", package, ignore=shutil.ignore_patterns("__pycache__")
    )
    (package / "metrics" / "peak.py").write_text(PEAK)
    done = subprocess.run(
        [sys.executable, "-c", "from lmac_td.evaluation.columns import all_columns\n"
         "print([column.metric for column in all_columns()])"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )  # fmt: skip
    assert "'peak'" in done.stdout
