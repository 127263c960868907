"""The loop from clips to a table: the rows that explain nothing, and batch size."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from speechbrain.dataio.dataloader import make_dataloader

from lmac_td.data.prepare import prepare
from lmac_td.evaluation import decide, evaluate, explain
from lmac_td.evaluation import score as score_batch
from lmac_td.interpreters.baselines import reference_interpreters
from lmac_td.metrics.table import FaithfulnessTable, check_invariants
from tests.conftest import N_CLASSES, SAMPLE_RATE, with_constant_mask


@pytest.fixture
def data(data_settings):
    return prepare(["test"], **data_settings)


@pytest.fixture
def models(make_lmac_td, make_lmac):
    """Untrained interpreters."""
    return {
        "lmac_td": make_lmac_td().eval(),
        "lmac": make_lmac().eval(),
        "lmac_log1p": make_lmac(mask_domain="log1p").eval(),
        "lmac_mel": make_lmac("mel").eval(),
    }


@pytest.fixture
def score(data, spectral, frozen, models):
    """Score the untrained interpreters beside the baselines."""

    def run(batch_size=8, on_heard=None):
        table = FaithfulnessTable(n_resamples=50)
        for condition in ("clean", "in_domain"):
            evaluate(
                table,
                condition,
                {**models, **reference_interpreters(spectral)},
                make_dataloader(data.dataset("test", condition), batch_size=batch_size),
                spectral,
                frozen,
                on_heard=on_heard,
                progress=False,
            )
        return table

    return run


def test_mixtures_keep_their_sources(data):
    for condition in ("clean", "in_domain"):
        for batch in make_dataloader(data.dataset("test", condition), batch_size=4):
            both = batch.target.data + batch.interference.data
            torch.testing.assert_close(batch.mixture.data, both, atol=1e-6, rtol=0)


def test_rows_that_explain_nothing(score):
    table = score()
    check_invariants(table)
    for condition in ("clean", "in_domain"):
        identity = table.means(condition, "identity")
        assert identity["AI"] == identity["AD"] == identity["AG"] == 0
        assert identity["Fid-In"] == 1
        assert identity["FF"] > 0
        assert table.means(condition, "zeros")["FF"] == 0
        assert table.means(condition, "half gain")["AD"] > 0


@pytest.mark.parametrize(("value", "row"), [(1.0, "identity"), (0.0, "zeros")])
def test_a_constant_mask_gives_exactly_that_row(score, models, value, row):
    for model in models.values():
        with_constant_mask(model, value)
    table = score()
    methods = list(dict.fromkeys(method for _, method in table.rows))
    assert "lmac, as audio" in methods
    for condition in ("clean", "in_domain"):
        for method in methods:
            if not method.startswith("lmac"):
                continue  # the other baselines
            ours = table.means(condition, method)
            for metric, expected in table.means(condition, row).items():
                if metric not in ours:  # of a mask on the STFT
                    continue
                exact = metric in ("AI", "AD", "AG", "Fid-In")
                tolerance = 0 if exact else 1e-5
                np.testing.assert_allclose(
                    ours[metric],
                    expected,
                    atol=tolerance,
                    rtol=tolerance,
                    err_msg=f"{method} {metric}",
                )


def test_masks_on_the_stft_have_columns_of_their_own(score, spectral, frozen, models):
    means = {}

    def keep(condition, method, batch, heard):
        mask = heard.explanation.mask.mean(dim=(1, 2))
        means.setdefault((condition, method), []).append(mask)

    table = score(on_heard=keep)
    for method in ("lmac", "lmac, as audio", "lmac_log1p", "random mask"):
        expected = torch.cat(means["clean", method.removesuffix(", as audio")]).mean()
        mean = table.means("clean", method)["MM"]
        assert mean == pytest.approx(float(expected), rel=1e-4), method
    for method in ("lmac_td", "lmac_mel"):
        assert "MM" not in table.means("clean", method)


def test_a_spectrogram_mask_is_also_scored_as_the_sound_it_makes(
    data, spectral, frozen, models
):
    """The row "as audio" is that of the same method with heard: audio."""
    as_heard = models["lmac"]
    table = FaithfulnessTable(n_resamples=50)
    loader = make_dataloader(data.dataset("test", "in_domain"), batch_size=8)
    arguments = loader, spectral, frozen
    evaluate(table, "x", {"lmac": as_heard}, *arguments, progress=False)
    as_heard.heard = "audio"
    evaluate(table, "x", {"audio": as_heard}, *arguments, progress=False)
    ours = table.means("x", "lmac, as audio")
    for metric, expected in table.means("x", "audio").items():
        assert ours[metric] == pytest.approx(expected, rel=1e-4, abs=1e-5), metric
    assert table.means("x", "lmac")["FF"] != ours["FF"]


def test_scores_do_not_depend_on_the_batch_size(score):
    whole = score(batch_size=8)
    for batch_size in (1, 3):
        other = score(batch_size=batch_size)
        for key, scores in whole.rows.items():
            assert other.rows[key].columns["clip_id"] == scores.columns["clip_id"]
            for metric in ("p_x", "AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP"):
                np.testing.assert_allclose(
                    other.rows[key].values(metric),
                    scores.values(metric),
                    atol=1e-4 if metric in ("AD", "AG") else 1e-6,
                    rtol=1e-5,
                    err_msg=f"{key} {metric}",
                )


def test_every_method_hears_the_same_mixtures_every_time(score):
    heard = []

    def keep(condition, method, batch, result):
        wavs = result.wavs.numpy().tobytes()
        heard.append((condition, method, tuple(batch.id), wavs))

    score(on_heard=keep)
    first = set(heard)
    mixtures = {(c, ids, wavs) for c, _, ids, wavs in heard}
    assert len({method for _, method, _, _ in heard}) == 8
    assert len(mixtures) == 2 * 2  # two conditions, two batches
    heard.clear()
    score(on_heard=keep)
    assert set(heard) == first


def test_rounding_is_no_increase(spectral, frozen):
    """PROTOCOL decision 10: what differs by float jitter is a tie, not AI 100."""
    wavs = 0.1 * torch.randn(3, SAMPLE_RATE)
    features, decision = decide(wavs, spectral, frozen)
    identity = reference_interpreters(spectral)["identity"]
    heard = explain(wavs, features, decision, identity, frozen)
    jitter = 2e-7 * torch.nn.functional.one_hot(decision.predicted, N_CLASSES)
    for factor, increase in ((1, 0.0), (1e5, 100.0)):
        louder = (decision.logits.double() + factor * jitter).float()
        answers = SimpleNamespace(classify=lambda *_, y=louder: (y, y))
        table = FaithfulnessTable()
        batch = SimpleNamespace(id=["a", "b", "c"], class_index=torch.zeros(3))
        score_batch(table, "x", "m", batch, replace(heard, classifier=answers))
        assert table.means("x", "m")["AI"] == increase
