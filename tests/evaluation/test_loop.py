"""The loop from clips to a table: the reference rows, and batch size."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from speechbrain.dataio.dataloader import make_dataloader

from lmac_td.data.mixing import make_mixtures
from lmac_td.data.prepare import prepare
from lmac_td.evaluation import loop
from lmac_td.evaluation.columns import metrics_of, rows_of
from lmac_td.evaluation.equal_size import at_equal_size
from lmac_td.evaluation.explaining import explain, stft_mask
from lmac_td.evaluation.invariants import check_invariants
from lmac_td.evaluation.loop import evaluate
from lmac_td.evaluation.loop import score as score_batch
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.interpreters.attribution import build_attributions
from lmac_td.interpreters.baselines import reference_interpreters
from lmac_td.metrics.curves import P_KEPT, P_REMOVED, SIZES
from tests.batches import decided_batch, explained_batch
from tests.conftest import CONDITIONS, N_CLASSES, SAMPLE_RATE, with_constant_mask


@pytest.fixture
def data(data_settings):
    return prepare(["test"], conditions=CONDITIONS, **data_settings)


@pytest.fixture
def models(make_lmac_td, make_lmac):
    """Untrained interpreters."""
    return {
        "lmac_td": make_lmac_td().eval(),
        "lmac": make_lmac().eval(),
        "lmac_log1p": make_lmac(mask_domain="log1p").eval(),
        "lmac_mel": make_lmac("mel").eval(),
    }


def clips_of(data, condition, n_clips=10, batch_size=8):
    """A loader of the first test clips."""
    dataset = data.dataset("test", condition)
    dataset.data_ids = dataset.data_ids[:n_clips]
    return make_dataloader(dataset, batch_size=batch_size)


@pytest.fixture
def score(data, spectral, frozen):
    """Score some methods in a condition with interference and in one without."""

    def run(methods, n_clips=10, on_batch=None):
        table = FaithfulnessTable(n_resamples=50)
        for condition in ("clean", "in_domain"):
            evaluate(
                table,
                condition,
                methods,
                clips_of(data, condition, n_clips),
                spectral,
                frozen,
                on_batch=on_batch,
                progress=False,
            )
        return table

    return run


@pytest.fixture(scope="module")
def scored_once():
    return []


@pytest.fixture
def scored(scored_once, score, models, spectral):
    """The untrained interpreters beside the baselines: a table, and means of masks.

    Every test starts from the same seed, so that one evaluation serves all.
    """
    if not scored_once:
        means = {}

        def keep(condition, method, decided, explained):
            mask = explained.explanation.mask.mean(dim=(1, 2))
            means.setdefault((condition, method), []).append(mask)

        methods = {**models, **reference_interpreters(spectral)}
        scored_once.append((score(methods, 6, keep), means))
    return scored_once[0]


def test_mixtures_keep_their_sources(data):
    for condition in CONDITIONS:
        for batch in make_dataloader(data.dataset("test", condition), batch_size=4):
            mixture, target, interference, _ = make_mixtures(batch, "cpu")
            torch.testing.assert_close(
                mixture, target + interference, atol=1e-6, rtol=0
            )


def test_reference_rows(scored):
    table, _ = scored
    check_invariants(table)
    for condition in ("clean", "in_domain"):
        identity = table.means(condition, "identity")
        assert identity["AI"] == identity["AD"] == identity["AG"] == 0
        assert identity["Fid-In"] == 1
        assert identity["FF"] > 0
        assert table.means(condition, "zeros")["FF"] == 0
        assert table.means(condition, "half gain")["AD"] > 0


@pytest.mark.parametrize(("value", "row"), [(1.0, "identity"), (0.0, "zeros")])
def test_a_constant_mask_gives_exactly_that_row(score, models, spectral, value, row):
    for model in models.values():
        with_constant_mask(model, value)
    table = score({**models, row: reference_interpreters(spectral)[row]}, n_clips=4)
    methods = list(dict.fromkeys(method for _, method in table.rows))
    assert "lmac, as audio" in methods
    for condition in ("clean", "in_domain"):
        for method in methods:
            ours = table.means(condition, method)
            for metric, expected in table.means(condition, row).items():
                if metric not in ours:  # of a mask on the STFT
                    continue
                exact = metric in ("AI", "AD", "AG", "Fid-In")
                tolerance = 0 if exact else 1e-5
                if metric in (*P_KEPT, *P_REMOVED, "insertion", "deletion"):
                    # |I| / |X| of bins that hold nothing is 1 but for rounding.
                    tolerance = 1e-4
                np.testing.assert_allclose(
                    ours[metric],
                    expected,
                    atol=tolerance,
                    rtol=tolerance,
                    err_msg=f"{method} {metric}",
                )


def test_masks_on_the_stft_have_columns_of_their_own(scored):
    table, means = scored
    for method in ("lmac", "lmac, as audio", "lmac_log1p", "random mask"):
        expected = torch.cat(means["clean", method.removesuffix(", as audio")]).mean()
        mean = table.means("clean", method)["MM"]
        assert mean == pytest.approx(float(expected), rel=1e-4), method
    for method in ("lmac_td", "lmac_mel"):
        assert "MM" not in table.means("clean", method)


def test_a_spectrogram_mask_is_also_scored_as_the_sound_it_makes(
    data, spectral, frozen, models
):
    """The row "as audio" is that of the same method with classifier_input: audio."""
    model = models["lmac"]
    table = FaithfulnessTable(n_resamples=50)
    arguments = clips_of(data, "in_domain", 4), spectral, frozen
    evaluate(table, "x", {"lmac": model}, *arguments, progress=False)
    model.classifier_input = "audio"
    evaluate(table, "x", {"audio": model}, *arguments, progress=False)
    ours = table.means("x", "lmac, as audio")
    for metric, expected in table.means("x", "audio").items():
        assert ours[metric] == pytest.approx(expected, rel=1e-4, abs=1e-5), metric
    assert table.means("x", "lmac")["FF"] != ours["FF"]


def test_scores_do_not_depend_on_the_batch_size(data, models, spectral, frozen):
    """To 1e-6, of percentages and decibels to 1e-6 of what a hundred of them are."""
    attributions = build_attributions(["saliency", "gradcam"], features=spectral)
    methods = {**models, **attributions, **reference_interpreters(spectral)}
    without_truth = {name: methods[name] for name in ("lmac_td", "lmac", "oracle")}
    tables = {}
    for batch_size in (1, 3, 4):
        tables[batch_size] = FaithfulnessTable(n_resamples=10)
        for condition, some in (("mixtures", methods), ("clean", without_truth)):
            evaluate(
                tables[batch_size],
                condition,
                some,
                clips_of(data, condition, 4, batch_size),
                spectral,
                frozen,
                progress=False,
            )
    for key, scores in tables[4].rows.items():
        for other in (tables[1].rows[key], tables[3].rows[key]):
            assert other["clip_id"].tolist() == scores["clip_id"].tolist()
            for metric in metrics_of(scores):
                hundreds = metric[:2] in ("AD", "AG") or metric.endswith("(dB)")
                np.testing.assert_allclose(
                    other[metric],
                    scores[metric],
                    atol=1e-4 if hundreds else 1e-6,
                    rtol=1e-6,
                    err_msg=f"{key} {metric}",
                )


def digests_of(data, interpreters, spectral, frozen, batch_size, reverse=False):
    """Hashes of the mixtures, by condition and clip, that each method was given."""
    digests = {}

    def keep(condition, method, decided, explained):
        for clip_id, wav in zip(decided.clip_ids, explained.wavs, strict=True):
            key = condition, clip_id
            digest = hashlib.sha256(wav.numpy().tobytes()).hexdigest()
            digests.setdefault(key, set()).add(digest)
            methods.setdefault(key, []).append(method)

    methods = {}
    for condition in reversed(CONDITIONS) if reverse else CONDITIONS:
        dataset = data.dataset("test", condition)
        if reverse:
            dataset.data_ids.reverse()
        evaluate(
            FaithfulnessTable(n_resamples=10),
            condition,
            interpreters,
            make_dataloader(dataset, batch_size=batch_size),
            spectral,
            frozen,
            on_batch=keep,
            progress=False,
        )
    assert all(given == list(interpreters) for given in methods.values())
    return digests


def test_every_method_is_given_bit_identical_mixtures(
    data, models, spectral, frozen, monkeypatch
):
    """Across methods, orders of methods, clips and conditions, and batch sizes."""
    # What is measured of them does not count here.
    monkeypatch.setattr(loop, "score", lambda *_: None)
    monkeypatch.setattr(loop, "at_equal_size", lambda *_: None)
    methods = {"lmac_td": models["lmac_td"], **reference_interpreters(spectral)}
    backwards = dict(reversed(methods.items()))
    first = digests_of(data, methods, spectral, frozen, 8)
    assert len(first) == 10 * len(CONDITIONS)
    assert all(len(digests) == 1 for digests in first.values())
    # Ten clips in five conditions are fifty mixtures.
    assert len(set().union(*first.values())) == len(first)
    assert digests_of(data, backwards, spectral, frozen, 3, reverse=True) == first
    assert digests_of(data, {"zeros": methods["zeros"]}, spectral, frozen, 1) == first


def test_the_truth_is_known_where_something_was_mixed_in(scored):
    table, _ = scored
    for (condition, method), scores in table.rows.items():
        assert ("eta (99)" in scores) == (condition == "in_domain"), method
        assert "insertion" in scores
    means = {
        method: table.means("in_domain", method) for method in ("oracle", "identity")
    }
    assert means["identity"]["SI-SDRi (dB)"] == 0
    assert means["identity"]["target kept (dB)"] == pytest.approx(0, abs=1e-4)
    assert means["oracle"]["SI-SDRi (dB)"] > 5
    for metric, higher in (("eta (98)", 1), ("interference kept (dB)", -1)):
        better = means["oracle"][metric] - means["identity"][metric]
        assert higher * better > 0, metric


def test_the_oracle_keeps_everything_of_a_clip_alone(scored):
    table, _ = scored
    oracle, identity = (table.means("clean", m) for m in ("oracle", "identity"))
    for metric in ("AI", "AD", "Fid-In", "SI-SDR (dB)", "kept (dB)"):
        assert oracle.get(metric) == identity.get(metric), metric


@pytest.fixture
def explained(models, spectral, frozen, wavs):
    """Batches that LMAC-TD and L-MAC explained."""
    decided = decided_batch(wavs, spectral, frozen)
    with torch.no_grad():
        return {
            name: explained_batch(models[name], decided)
            for name in ("lmac_td", "lmac", "lmac_mel")
        }


def test_masks_on_the_stft(explained, spectral):
    """A mask of the STFT itself; otherwise what is left of each bin, at most all."""
    lmac = explained["lmac"]
    assert stft_mask(lmac) is lmac.explanation.mask
    for name in ("lmac_td", "lmac_mel"):
        result = explained[name]
        left = spectral(result.explanation.interpretation).magnitude
        expected = (left / result.features.magnitude).clamp(max=1)
        loud = result.features.magnitude > 1e-3
        difference = (stft_mask(result) - expected)[loud].abs().max()
        assert difference < 2e-3, name


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("method", ["lmac_td", "lmac"])
@pytest.mark.parametrize(
    ("by", "exponent", "suffix"), [("energy", 2, ""), ("amplitude", 1, "_amplitude")]
)
def test_equal_size_as_one_would_do_it_by_hand(
    explained, spectral, frozen, method, activation, by, exponent, suffix
):
    frozen.activation = activation
    result = explained[method]
    ours = at_equal_size(result, spectral, ("energy", "amplitude"))
    of_sound = spectral(result.explanation.interpretation).magnitude
    magnitude = result.features.magnitude
    for clip in range(len(magnitude)):
        c = int(result.decision.target[clip])
        rank = of_sound[clip].flatten()
        energy = (magnitude[clip].double() ** exponent).flatten()
        for i, size in enumerate(SIZES):
            kept = [ours[f"p_{part}{suffix}"][clip, i] for part in ("kept", "removed")]
            order = rank.argsort(descending=True, stable=True)
            n = int((energy[order].cumsum(0) < size * energy.sum()).sum()) + 1
            top = torch.zeros_like(rank)
            top[order[:n]] = 1
            top = top.view_as(magnitude[clip])
            for ours_p, part in zip(kept, (top, 1 - top), strict=True):
                logits = frozen(frozen.mel((magnitude[clip] * part)[None])).logits
                p = logits.sigmoid() if activation == "sigmoid" else logits.softmax(-1)
                expected = p[0, c]
                torch.testing.assert_close(ours_p, expected, atol=2e-5, rtol=0)


def test_a_large_mask_cannot_win_by_keeping_everything(explained, spectral, frozen):
    """Half of an interpretation is cut as the whole; identity takes the loudest."""
    result = explained["lmac"]
    explanation = result.explanation
    quieter = replace(explanation, magnitude=explanation.magnitude / 2)
    half = replace(result, explanation=quieter)
    for name, p in at_equal_size(result, spectral).items():
        torch.testing.assert_close(
            at_equal_size(half, spectral)[name], p, atol=1e-4, rtol=0
        )
    magnitude = result.features.magnitude
    whole = replace(explanation, magnitude=magnitude)
    identity = replace(result, explanation=whole)
    ours = at_equal_size(identity, spectral)["p_kept"][:, 0]
    for clip, x in enumerate(magnitude):
        energy = x.double().square().flatten().sort(descending=True).values
        n = int((energy.cumsum(0) < SIZES[0] * energy.sum()).sum())
        kept = x * (x.double().square() >= energy[n])
        p = frozen(frozen.mel(kept[None])).probabilities
        c = result.decision.target[clip]
        torch.testing.assert_close(ours[clip], p[0, c], atol=1e-5, rtol=0)


def test_only_the_oracle_sees_the_sources(models, spectral, frozen, wavs):
    decided = decided_batch(wavs, spectral, frozen, (0.5 * wavs, 0.5 * wavs))
    interpreters = {**models, **reference_interpreters(spectral)}
    assert [n for n, i in interpreters.items() if i.needs_sources] == ["oracle"]
    for interpreter in interpreters.values():
        assert explain(decided, interpreter).sources is decided.sources


def test_names_of_rows(models, spectral):
    names = rows_of({"a": models["lmac_td"], "b": models["lmac"]})
    assert names == ["a", "b", "b, as audio"]


def test_rounding_is_no_increase(spectral, frozen):
    """PROTOCOL decision 10: what differs by float jitter is a tie, not AI 100."""
    decided = decided_batch(0.1 * torch.randn(3, SAMPLE_RATE), spectral, frozen)
    identity = reference_interpreters(spectral)["identity"]
    explained = explained_batch(identity, decided)
    decision = decided.decision
    jitter = 2e-7 * torch.nn.functional.one_hot(decision.target, N_CLASSES)
    for factor, increase in ((1, 0.0), (1e5, 100.0)):
        louder = (decision.logits.double() + factor * jitter).float()
        answered = replace(explained, kept_logits=louder, removed_logits=louder)
        table = FaithfulnessTable()
        score_batch(table, "x", "m", decided, answered)
        assert table.means("x", "m")["AI"] == increase


def test_every_signal_is_analysed_once(data, models, spectral, frozen, monkeypatch):
    """Mixture, target, interference; then of each method what it keeps and removes."""
    stft, signals = type(spectral).stft, []

    def counting(self, wavs):
        signals.extend(wavs.unbind())
        return stft(self, wavs)

    monkeypatch.setattr(type(spectral), "stft", counting)
    loader = clips_of(data, "in_domain", n_clips=4, batch_size=4)
    evaluate(
        FaithfulnessTable(), "in_domain", models, loader, spectral, frozen,
        progress=False,
    )  # fmt: skip
    assert len(signals) == 4 * (3 + 2 * len(models))
