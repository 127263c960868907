"""Values of metrics equal literal twins, and no argument is changed."""

import copy
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from lmac_td.contracts import ExplainedBatch, Sources
from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import decide
from lmac_td.evaluation.quantus import (
    METRICS,
    REFUSED,
    QuantusModel,
    as_channels,
    explain_func,
    run_quantus,
)
from lmac_td.interpreters.baselines import Oracle
from lmac_td.metrics import complexity, sparseness
from tests.evaluation.quantus.conftest import T
from tests.evaluation.quantus.interpreters import Heatmap

RUNNABLE = sorted(set(METRICS) - set(REFUSED))


def test_sparseness_and_complexity_are_ours(explained, spectral, trained):
    batch = explained(trained)
    theirs = run_quantus(["Sparseness", "Complexity"], spectral, batch, trained)
    maps = batch.explanation.attribution.double()
    np.testing.assert_allclose(theirs["Sparseness"], sparseness(maps), rtol=1e-5)
    np.testing.assert_allclose(theirs["Complexity"], complexity(maps), rtol=1e-5)


def test_explained_by_quantus_itself_the_scores_are_the_same(
    explained, spectral, classifier, sources, trained
):
    batch = explained(trained)
    model = QuantusModel(spectral, classifier)
    truth = sources.target_magnitude > sources.interference_magnitude
    names = ["Sparseness", "Complexity", "RelevanceMassAccuracy"]
    ours = run_quantus(names, spectral, batch, trained)
    for name in names:
        for clip in range(2):
            theirs = METRICS[name](disable_warnings=True)(
                model=model,
                x_batch=as_channels(batch.features.stft)[clip, None],
                y_batch=batch.decision.target.numpy()[clip, None],
                s_batch=truth[clip, None, None].int().numpy(),
                explain_func=explain_func(trained, T),
                channel_first=True,
            )
            assert theirs == pytest.approx([ours[name][clip]], rel=1e-4)


def test_relevance_rank_accuracy_by_hand(explained, spectral, sources):
    attribution = torch.rand(sources.target_magnitude.shape)
    interpreter = Heatmap(spectral, attribution)
    name = "RelevanceRankAccuracy"
    (got,) = run_quantus([name], spectral, explained(interpreter), interpreter).values()
    for clip in range(2):
        target = sources.target_magnitude[clip].flatten().tolist()
        other = sources.interference_magnitude[clip].flatten().tolist()
        ideal = {i for i, (t, o) in enumerate(zip(target, other, strict=True)) if t > o}
        ranking = attribution[clip].flatten().tolist()
        ranking = sorted(range(len(ranking)), key=lambda i: -ranking[i])
        hits = sum(i in ideal for i in ranking[: len(ideal)])
        assert got[clip] == pytest.approx(hits / len(ideal), abs=1e-12)


def test_pixel_flipping_by_hand(explained, spectral, classifier, sources):
    attribution = torch.rand(sources.target_magnitude.shape)
    interpreter = Heatmap(spectral, attribution)
    batch = explained(interpreter)
    (got,) = run_quantus(["PixelFlipping"], spectral, batch, interpreter).values()
    n_bins = attribution[0].numel()
    steps = max(n for n in range(1, 33) if n_bins % n == 0)
    assert steps > 10
    for clip in range(2):
        ranking = attribution[clip].flatten().argsort(descending=True)
        curve = []
        for step in range(1, 2 * steps + 1):
            magnitude = batch.features.magnitude[clip].flatten().clone()
            gone = math.ceil(step * n_bins / (2 * steps))
            magnitude[ranking[:gone]] = 0
            log_mel = classifier.mel(magnitude.reshape_as(attribution[clip]))
            p = classifier(log_mel.unsqueeze(0)).probabilities[0]
            curve.append(p[batch.decision.target[clip]].item())
        assert max(curve) - min(curve) > 0.01
        assert got[clip] == pytest.approx(sum(curve) / len(curve), abs=1e-5)


def tensors_of(part):
    """The tensors of a part of an explained batch, its representations' among them."""
    values = [part] if torch.is_tensor(part) else list(vars(part).values())
    values += [rep.values for v in values if isinstance(v, tuple) for rep in v]
    tensors = [value for value in values if torch.is_tensor(value)]
    assert tensors
    return tensors


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_metric_runs_and_changes_nothing(name, explained, spectral, make_lmac):
    interpreter = make_lmac().eval()
    batch = explained(interpreter)
    before = {
        part: copy.deepcopy(tensors_of(getattr(batch, part)))
        for part in ("wavs", "features", "decision", "explanation", "sources")
    }
    np.random.seed(5)
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (values,) = run_quantus([name], spectral, batch, interpreter).values()
    after = np.random.rand(), torch.rand(1).item()
    np.random.seed(5)
    torch.manual_seed(5)
    assert after == (np.random.rand(), torch.rand(1).item())
    assert len(values) == 2
    assert np.isfinite(values).all()
    for part, then in before.items():
        for a, b in zip(tensors_of(getattr(batch, part)), then, strict=True):
            assert torch.equal(a, b), part
    # The same alone: no draw and no maximum is shared with the clip before it.
    alone = ExplainedBatch(
        batch.wavs[1:],
        *decide(batch.wavs[1:], spectral, batch.classifier),
        replace(batch.explanation, magnitude=batch.explanation.magnitude[1:]),
        sources=Sources(*(part[1:] for part in vars(batch.sources).values())),
    )
    (value,) = run_quantus([name], spectral, alone, interpreter)[name]
    assert value == pytest.approx(values[1], rel=1e-2, abs=1e-5)


def test_the_truth_points_at_the_truth(explained, spectral, sources):
    louder = sources.target_magnitude - sources.interference_magnitude
    k = louder[0].numel() // 20
    share = (louder > 0).flatten(1).sum(dim=1).clamp(max=k) / k
    for sign, value in ((1, 1.0), (-1, 0.0)):
        interpreter = Heatmap(spectral, (sign * louder).exp())
        names = ["AUC", "PointingGame", "TopKIntersection"]
        scores = run_quantus(names, spectral, explained(interpreter), interpreter)
        assert scores["AUC"] == pytest.approx([value] * 2, abs=1e-6)
        assert scores["PointingGame"] == [value] * 2
        assert scores["TopKIntersection"] == pytest.approx((value * share).tolist())


def test_regions_are_the_patches_of_selectivity(explained, spectral, make_lmac):
    """The one says how far the probability drops, the other what is left of it."""
    interpreter = make_lmac().eval()
    batch = explained(interpreter)
    scores = run_quantus(
        ["RegionPerturbation", "Selectivity"], spectral, batch, interpreter
    )
    p = batch.decision.probabilities.max(dim=1).values
    left = p.numpy() - scores["RegionPerturbation"]
    np.testing.assert_allclose(left, scores["Selectivity"], atol=1e-5)
    assert np.abs(scores["RegionPerturbation"]).max() > 1e-3


def test_the_oracle_explains_again_only_with_its_sources(
    explained, spectral, classifier
):
    oracle = Oracle(spectral)
    batch = explained(oracle)
    with pytest.raises(SettingError, match="Oracle needs the sources of a mixture"):
        explain_func(oracle)
    names = ["MPRT", "Sparseness"]
    with_them = run_quantus(names, spectral, batch, oracle)
    assert with_them["MPRT"] == pytest.approx([1, 1])  # it reads no classifier
    without = run_quantus(names, spectral, replace(batch, sources=None), oracle)
    assert np.isnan(without["MPRT"]).all()
    assert without["Sparseness"] == with_them["Sparseness"]
