"""The table of a surrogate, and its columns in the common table."""

import json

import pytest
import torch
from speechbrain.dataio.batch import PaddedBatch

from lmac_td.data.mixing import CLEAN_DB, make_mixtures
from lmac_td.evaluation.fidelity import METHOD, FidelityTable
from lmac_td.evaluation.loop import evaluate
from lmac_td.evaluation.observers import method_table_filler, without_target_filler
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.metrics.fidelity import rank_of_class
from tests.batches import decided_batch
from tests.interpreters.test_flint import build_flint
from tests.interpreters.test_vibi import build_vibi


@pytest.fixture(params=["flint", "vibi"])
def model(request, spectral, frozen):
    if request.param == "flint":
        return build_flint(spectral, frozen).eval()
    return build_vibi(spectral).eval()


def batches_of(wavs):
    """Clean clips, two at a time, as the dataloader gives them."""
    items = [
        {"id": f"clip{i}", "clip": wav, "interference": torch.zeros_like(wav),
         "snr_db": CLEAN_DB, "class_index": i}
        for i, wav in enumerate(wavs)
    ]  # fmt: skip
    return [PaddedBatch(items[:2]), PaddedBatch(items[2:])]


def mixtures_of(wavs):
    """What the evaluation makes of them, (B, T)."""
    return torch.cat([make_mixtures(b, "cpu").mixture for b in batches_of(wavs)])


@pytest.fixture
def filled(wavs, spectral, frozen, model):
    """Evaluate four clips; return both tables."""

    def run(activation):
        frozen.activation = activation
        if activation == "sigmoid":  # about half of the clips have a tag
            mixtures = mixtures_of(wavs)
            p = decided_batch(mixtures, spectral, frozen).decision.probabilities
            frozen.threshold = p.amax(dim=1).sort().values[1:3].mean().item()
        own, common = FidelityTable("the surrogate"), FaithfulnessTable(n_resamples=20)
        evaluate(
            common,
            "clean",
            {"model": model},
            batches_of(wavs),
            spectral,
            frozen,
            progress=False,
            on_batch=method_table_filler(own, {"model": model}),
            on_without_target=without_target_filler(own, {"model": model}),
        )
        return own, common

    return run


@torch.no_grad()
def test_both_tables_have_the_surrogate_s_ranks(filled, wavs, spectral, frozen, model):
    own, common = filled("softmax")
    whole = decided_batch(mixtures_of(wavs), spectral, frozen)
    logits = model.class_logits(whole.wavs, whole.features, whole.decision)
    expected = rank_of_class(logits, whole.decision.target).tolist()
    scores = own.scores.row("clean", METHOD)
    assert scores["rank"].tolist() == expected
    numbers = own.summary()["clean"]
    assert set(numbers) == {"n_clips", "fidelity (%)"}
    for k in (1, 3, 5):
        mean = 100 * sum(rank < k for rank in expected) / len(expected)
        found = common.means("clean", "model")[f"top-{k} fidelity"]
        assert found == pytest.approx(mean)
        assert numbers["fidelity (%)"][f"top-{k}"]["mean"] == pytest.approx(mean)


def test_it_is_written(filled, tmp_path):
    own, _ = filled("softmax")
    own.to_json(tmp_path / "method_table.json")
    written = json.loads((tmp_path / "method_table.json").read_text())
    assert written == {"conditions": own.summary()}
    said = own.to_markdown()
    assert "### clean: fidelity\n" in said
    assert "| top-1 fidelity (%) ↑ " in said
    assert "removal" not in said


def test_of_tags_all_clips_count(filled):
    own, common = filled("sigmoid")
    tags = own.summary()["clean"]["tags"]
    assert tags["n_clips"] == 4
    assert 0 < len(common.without_target["clean"]) < 4
    assert set(tags["fidelity"]) == {"macro AUPRC", "micro AUPRC", "maximal micro F1"}
    assert tags["classes"] == []
    assert "| the surrogate " in own.to_markdown()
    assert own.tags.row("clean", METHOD)["clip_id"].nunique() == 4
