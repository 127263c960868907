"""What is computed in bfloat16, and what is not."""

import pandas as pd
import pytest
import torch
from speechbrain.dataio.dataloader import make_dataloader

from lmac_td.data.prepare import prepare
from lmac_td.evaluation.equal_size import at_equal_size
from lmac_td.evaluation.invariants import check_invariants
from lmac_td.evaluation.loop import evaluate, score
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.interpreters.attribution import build_attributions
from lmac_td.interpreters.l2i import L2I
from lmac_td.nn.psi import Psi, Theta
from lmac_td.training.objectives import GuidedMaskingLoss, L2ILoss, MaskingLoss
from tests.batches import decided_batch, explained_batch

SOUNDS = (
    "interpretation", "residual", "kept_input", "removed_input", "attribution", "mask"
)  # fmt: skip


@pytest.fixture
def make(make_lmac_td, make_lmac, spectral, frozen):
    """Build a method by name, with its objective."""

    def build(name):
        if name == "lmac_td":
            return make_lmac_td(), MaskingLoss()
        if name == "l2i":
            psi = Psi(frozen.geometry, spectral.hop_samples, 6, width=4)
            return L2I(spectral, torch.rand(513, 6), psi, Theta(6, 10)), L2ILoss()
        if name == "lmac_finetune":
            return make_lmac(), GuidedMaskingLoss(spectral, cct=0.0, regulariser="mask")
        domain = "mel" if name == "lmac_mel" else "stft"
        return make_lmac(domain), MaskingLoss(regulariser="mask", reg_w_tv=1.0)

    return build


METHODS = ("lmac_td", "lmac", "lmac_mel", "lmac_finetune", "l2i")


@pytest.mark.parametrize("name", METHODS)
def test_only_networks_are_computed_in_bf16(make, name, spectral, frozen, wavs):
    """Signals, loss terms and gradients are float32, close to those without bf16."""
    interpreter, objective = make(name)
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            decided = decided_batch(wavs, spectral, frozen)
            explained = explained_batch(interpreter, decided)
            terms = objective(explained, 0.5 * wavs)
        features, decision = decided.features, decided.decision
        for field in SOUNDS:
            assert getattr(explained.explanation, field).dtype == torch.float32, field
        assert features.stft.dtype == torch.complex64
        assert features.magnitude.dtype == torch.float32
        assert decision.inputs.dtype == torch.float32
        for part, value in {"loss": terms.loss, **terms.parts}.items():
            assert value.dtype == torch.float32, part
        interpreter.zero_grad(set_to_none=True)
        terms.loss.mean().backward()
        for key, parameter in interpreter.named_parameters():
            assert parameter.dtype == torch.float32, key
            if parameter.grad is not None:
                assert parameter.grad.dtype == torch.float32, key
                assert parameter.grad.isfinite().all(), key
        results.append((explained, terms, decision))
    (plain, _, exact), (half, terms, rounded) = results
    assert exact.logits.dtype == torch.float32
    assert rounded.logits.dtype == torch.bfloat16
    assert rounded.probabilities.dtype == torch.float32
    torch.testing.assert_close(half.features.stft, plain.features.stft, rtol=0, atol=0)
    # Signals follow from the mask in float32: nothing is lost between the parts.
    explanation = half.explanation
    analysed = spectral(explanation.interpretation).magnitude.log1p()
    torch.testing.assert_close(explanation.attribution, analysed, rtol=0, atol=0)
    if name != "l2i":  # which masks the logarithm
        both = explanation.interpretation + explanation.residual
        torch.testing.assert_close(both, wavs, rtol=0, atol=1e-5)
        gap = (explanation.mask - plain.explanation.mask).abs().max()
        assert gap < 0.02


def test_metrics_are_computed_in_float32(data_settings, spectral, frozen, make):
    """Interpreters and attributions are computed in bf16, the classifier is not."""
    data = prepare(["test"], conditions=["in_domain"], **data_settings)
    dataset = data.dataset("test", "in_domain")
    dataset.data_ids = dataset.data_ids[:3]
    attributions = build_attributions(["saliency", "gradcam"], features=spectral)
    # L2I masks by thresholds, and may well select other patterns.
    methods = {name: make(name)[0].eval() for name in ("lmac_td", "lmac", "lmac_mel")}
    tables, masks = [], []

    def keep(condition, row, decided, explained):
        logits = (
            explained.decision.logits,
            explained.kept_logits,
            explained.removed_logits,
        )
        assert {tensor.dtype for tensor in logits} == {torch.float32}
        masks[-1].append(explained.explanation.mask)

    for precision in ("fp32", "bf16"):
        tables.append(FaithfulnessTable(n_resamples=50))
        masks.append([])
        evaluate(
            tables[-1],
            "in_domain",
            {**methods, **attributions, "l2i": make("l2i")[0].eval()},
            make_dataloader(dataset, batch_size=3),
            spectral,
            frozen,
            on_batch=keep,
            progress=False,
            precision=precision,
        )
        check_invariants(tables[-1])
    single, half = tables
    assert single.rows.keys() == half.rows.keys()
    for row, scores in single.rows.items():
        assert half.rows[row]["p_x"].tolist() == scores["p_x"].tolist()
    assert all(not torch.equal(*pair) for pair in zip(*masks, strict=True))


def test_autocast_does_not_change_scores(make_lmac_td, spectral, frozen, wavs):
    """For the same explanation and the same logits."""

    with torch.no_grad():
        sources = 0.7 * wavs, 0.3 * wavs
        decided = decided_batch(wavs, spectral, frozen, sources)
        explained = explained_batch(make_lmac_td(), decided)
        assert explained.kept_logits.dtype == torch.float32
        equal_size = at_equal_size(explained, spectral)
        table = FaithfulnessTable()
        for row, enabled in (("plain", False), ("half", True)):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
                score(table, "white_noise", row, decided, explained, equal_size)
    plain, half = (table.row("white_noise", row) for row in ("plain", "half"))
    pd.testing.assert_frame_equal(plain, half, check_exact=True)
