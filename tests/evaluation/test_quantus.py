"""The bridge to Quantus: the same numbers as by hand, nothing of the caller's lost."""

import copy
import csv
import math
import re
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
import quantus
import torch

from lmac_td.classifiers.black_box import BlackBoxClassifier
from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.contracts import ExplainedBatch, Explanation, Sources
from lmac_td.errors import SettingError
from lmac_td.evaluation.loop import DecidedBatch, decide, explain
from lmac_td.evaluation.quantus import bridge
from lmac_td.evaluation.quantus.bridge import (
    METRICS,
    REFUSED,
    QuantusModel,
    QuantusScores,
    as_channels,
    explain_func,
    faint_noise,
    find_metrics,
    impute,
    run_quantus,
    silence,
)
from lmac_td.interpreters.attribution import Saliency
from lmac_td.interpreters.base import Interpreter
from lmac_td.interpreters.baselines import Identity, Oracle, Zeros
from lmac_td.metrics import complexity, sparseness
from tests.networks import waveform_classifier

T = 4800
RUNNABLE = sorted(set(METRICS) - set(REFUSED))


@dataclass(frozen=True)
class WithMap(Explanation):
    """An explanation whose map is not that of its sound."""

    own: torch.Tensor

    @property
    def attribution(self):
        return self.own


def with_map(explanation, attribution):
    return WithMap(**vars(explanation), own=attribution)


class Heatmap(Interpreter):
    """What a test says, whatever the sound."""

    def __init__(self, features, attribution):
        super().__init__(features)
        self.attribution = attribution

    def forward(self, wavs, features, decision):
        explanation = Identity(self.features)(wavs, features, decision)
        return with_map(explanation, self.attribution[: len(wavs)])


class Gradient(Interpreter):
    """|dS_c/d|X|| of the classifier that decided, as the attributions of Captum are."""

    def forward(self, wavs, features, decision):
        classifier = decision.classifier
        with torch.enable_grad():
            magnitude = features.magnitude.detach().requires_grad_()
            logits = classifier(classifier.inputs_of(magnitude=magnitude)).logits
            of_class = logits.gather(1, decision.target.unsqueeze(1)).sum()
            (gradient,) = torch.autograd.grad(of_class, magnitude)
        explanation = Identity(self.features)(wavs, features, decision)
        return with_map(explanation, gradient.abs())


@pytest.fixture
def classifier(spectral):
    """Narrow, frozen, and with statistics of something: its decisions depend on x."""
    classifier = Cnn14Classifier(spectral, 80, (2, 4, 4, 8, 8), 8, 10)
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    classifier(torch.rand(8, 64, 80))
    torch.nn.init.normal_(classifier.classifier.weight, std=1.0)
    return classifier.freeze()


@pytest.fixture
def sources(spectral):
    """Two clips of 0.3 s: a tone, then a hiss, each under noise."""
    time = torch.arange(T) / 16000
    tone = 0.3 * torch.sin(2 * math.pi * 1000 * time)
    target = torch.stack([tone, 0.1 * torch.randn(T)])
    interference = 0.05 * torch.randn(2, T)
    magnitudes = (spectral(part).magnitude for part in (target, interference))
    return Sources(target, interference, *magnitudes)


@pytest.fixture
def explained(spectral, classifier, sources):
    """Explain the two mixtures -> ExplainedBatch."""

    def explained(interpreter, sources=sources, classifier=classifier):
        wavs = sources.target + sources.interference
        decided = DecidedBatch(
            ["a", "b"],
            torch.arange(2),
            wavs,
            *decide(wavs, spectral, classifier),
            sources,
        )
        with torch.no_grad():
            return explain(decided, interpreter)

    return explained


@pytest.fixture(params=["lmac", "lmac_td"])
def trained(request, make_lmac, make_lmac_td):
    """A decoder that reads the classifier's representations, as trained ones do."""
    torch.manual_seed(4)
    make = {"lmac": make_lmac, "lmac_td": make_lmac_td}[request.param]
    interpreter = make().eval()
    decoder = interpreter.unet if request.param == "lmac_td" else interpreter.decoder
    with torch.no_grad():  # as initialised, hardly a signal comes through
        for weight in decoder.parameters():
            if weight.dim() > 1:
                weight *= 3
    return interpreter


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


def test_the_model_decides_as_the_classifier(explained, spectral, classifier):
    batch = explained(Identity(spectral))
    x = torch.from_numpy(as_channels(batch.features.stft)).requires_grad_()
    logits = QuantusModel(spectral, classifier).train()(x)
    torch.testing.assert_close(logits, batch.decision.logits, rtol=1e-5, atol=1e-5)
    logits.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() > 0


def test_the_class_explained_is_the_one_that_quantus_gives(
    spectral, classifier, explained
):
    seen = []

    class Noting(Identity):
        def forward(self, wavs, features, decision):
            seen.append((wavs, decision))
            assert not torch.is_grad_enabled()
            return super().forward(wavs, features, decision)

    batch = explained(Identity(spectral))
    maps = explain_func(Noting(spectral), T)(
        QuantusModel(spectral, classifier),
        as_channels(batch.features.stft),
        np.array([7, 2]),
        device="cpu",
    )
    wavs, decision = seen.pop()
    assert decision.target.tolist() == [7, 2]
    torch.testing.assert_close(wavs, batch.wavs, rtol=0, atol=1e-5)
    want = batch.explanation.attribution.unsqueeze(1).double()
    np.testing.assert_allclose(maps, want, atol=1e-5)
    for mine, theirs in zip(
        decision.representations, batch.decision.representations, strict=True
    ):
        torch.testing.assert_close(mine.values, theirs.values)


def randomised(model):
    other = copy.deepcopy(model)
    for module in other.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return other


def test_another_model_changes_the_explanation(
    explained, spectral, classifier, trained
):
    model = QuantusModel(spectral, classifier)
    x = as_channels(explained(trained).features.stft)
    ask = explain_func(trained, T)
    first, again, other = (
        ask(one, x, np.array([0, 1])) for one in (model, model, randomised(model))
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


def test_a_method_that_asks_the_classifier_asks_that_of_the_model(
    explained, spectral, classifier
):
    interpreter = Gradient(spectral)
    model = QuantusModel(spectral, classifier)
    other = randomised(model)
    x, y = as_channels(explained(interpreter).features.stft), np.array([0, 1])
    state = copy.deepcopy(classifier.state_dict())
    first, followed, after = (
        explain_func(interpreter, T)(m, x, y) for m in (model, other, model)
    )
    magnitude = torch.from_numpy(x).square().sum(dim=1).sqrt().requires_grad_()
    logits = other.classifier(other.classifier.mel(magnitude)).logits
    logits[torch.arange(2), torch.from_numpy(y)].sum().backward()
    want = magnitude.grad.abs().unsqueeze(1)
    np.testing.assert_allclose(followed, want, rtol=1e-3, atol=1e-6 * want.max())
    assert np.abs(first - followed).max() > 1e-3 * np.abs(first).max()
    np.testing.assert_array_equal(first, after)
    assert all(torch.equal(state[k], v) for k, v in classifier.state_dict().items())


def test_weights_stay_when_the_interpreter_fails(explained, spectral, classifier):
    interpreter = Gradient(spectral)
    x = as_channels(explained(interpreter).features.stft)
    other = randomised(QuantusModel(spectral, classifier))
    state = copy.deepcopy(classifier.state_dict())
    with pytest.raises(RuntimeError):
        explain_func(interpreter, T)(other, x, np.array([0, 99]))
    assert all(torch.equal(state[k], v) for k, v in classifier.state_dict().items())


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


def test_silence_takes_both_parts_of_a_bin_from_a_copy():
    arr = np.arange(1.0, 13.0).reshape(2, 6)
    kept = arr.copy()
    got = silence(arr, np.array([[0, 5], [4, 4]]), perturb_baseline=0.0)
    want = [[0, 2, 0, 0, 5, 0], [7, 0, 9, 10, 0, 12]]
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(arr, kept)


def test_noise_is_20_db_below_each_clip():
    np.random.seed(0)
    arr = np.random.randn(2, 20000).astype(np.float32) * np.array([[1], [100]])
    noise = faint_noise(arr.astype(np.float32), None) - arr
    level = 10 * np.log10(np.square(noise).mean(1) / np.square(arr).mean(1))
    np.testing.assert_allclose(level, -20, atol=0.2)


def test_imputing_leaves_other_bins_alone():
    arr = np.random.default_rng(0).normal(size=(2, 6, 7))
    got = impute(arr, np.array([10, 42 + 10, 42 + 20]), noise=0.0)
    changed = np.argwhere((got != arr).all(axis=0)).tolist()
    assert changed == [[10 // 7, 10 % 7], [20 // 7, 20 % 7]]
    assert ((got != arr).any(axis=0)).sum() == 2
    # Noiseless, an imputed bin is the weighted mean of its neighbours.
    patch = arr[:, 0:3, 2:5].copy()
    weights = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12
    np.testing.assert_allclose(got[:, 1, 3], (patch * weights).sum(axis=(1, 2)))


def test_road_imputes_shares_of_the_bins(explained, spectral, monkeypatch):
    shares = []

    def noting(arr, indices, **kwargs):
        got = impute(arr, indices, **kwargs)
        shares.append((got != arr).any(axis=0).mean())
        return got

    monkeypatch.setattr(bridge, "impute", noting)
    interpreter = Heatmap(spectral, torch.rand(2, 26, 513))
    run_quantus(["ROAD"], spectral, explained(interpreter), interpreter)
    assert shares == pytest.approx(2 * [0.05, 0.1, 0.2, 0.4], abs=1e-3)


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
    assert np.isnan(scores.rows["noisy", "zeros"].values("Sparseness")).all()
    sps = scores.rows["noisy", "half"].values("Sparseness")
    assert np.isnan(sps[0])
    assert sps[1] == pytest.approx(1 / 3, abs=0.01)
    # Heatmap gives the first map, a constant one, whatever Quantus asks of one clip.
    assert np.isnan(scores.rows["noisy", "half"].values("MPRT")).all()
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
        scores.rows["noisy", "identity"].values("RelevanceRankAccuracy"),
    )


def test_the_oracle_is_asked_again_only_with_its_sources(
    explained, spectral, classifier
):
    oracle = Oracle(spectral)
    batch = explained(oracle)
    with pytest.raises(SettingError, match="Oracle is told what a mixture is made of"):
        explain_func(oracle)
    names = ["MPRT", "Sparseness"]
    with_them = run_quantus(names, spectral, batch, oracle)
    assert with_them["MPRT"] == pytest.approx([1, 1])  # it reads no classifier
    without = run_quantus(names, spectral, replace(batch, sources=None), oracle)
    assert np.isnan(without["MPRT"]).all()
    assert without["Sparseness"] == with_them["Sparseness"]


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
    values = scores.rows["noisy", "identity"].values("Sparseness")
    assert [float(line["Sparseness"]) for line in lines] == values.tolist()
    text = scores.to_markdown()
    assert f"{values.mean():.4g}" in text
    low, high = sorted(values)
    assert f"[{low:.4g}, {high:.4g}]" in text
    assert text.startswith(f"### noisy, Quantus {quantus.__version__}\n")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["Sparseness", "sparseness"], ["Sparseness"]),
        (["Attribution Localisation"], ["AttributionLocalisation"]),
        (["Pixel-Flipping", "AUC"], ["PixelFlipping", "AUC"]),
        (["Region Segmentation"], ["RegionPerturbation"]),
        (["ModelParameterRandomisation"], ["MPRT"]),
        (["Monotonicity-Nguyen"], ["MonotonicityCorrelation"]),
    ],
)  # fmt: skip
def test_names_as_quantus_has_them(given, found):
    assert find_metrics(given) == found


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Sparsness", "give --quantus Sparseness"),
        ("RelevanceRank", "RelevanceRankAccuracy"),
        ("qqqq", "AUC, AttributionLocalisation, .* or TopKIntersection"),
        ("", "AUC, AttributionLocalisation, .* or TopKIntersection"),
    ],
)
def test_unknown_names_list_near_ones(name, near, spectral):
    with pytest.raises(SettingError, match=near) as error:
        QuantusScores([name], spectral)
    assert "\n" not in str(error.value)
    assert not set(re.findall(r"\w+", str(error.value))) & set(REFUSED)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_run_is_refused_in_one_sentence(name, spectral):
    with pytest.raises(SettingError, match=f"{name} cannot be run on sounds") as error:
        QuantusScores(["Sparseness", name], spectral)
    assert "\n" not in str(error.value)
    assert "give " in str(error.value) or "leave it out" in str(error.value)


def test_every_metric_of_quantus_is_known():
    assert set(METRICS) >= set(REFUSED)
    assert set(METRICS) >= set(bridge._SETTINGS)
    assert set(METRICS) >= bridge._ASKS_AGAIN
    listed = [
        metric for group in quantus.AVAILABLE_METRICS.values() for metric in group
    ]
    assert len(METRICS) == len(listed)


def test_quantus_finds_every_map_monotonous(explained, spectral, classifier):
    """Why Monotonicity is refused."""
    batch = explained(Identity(spectral))
    for attribution in (torch.rand(2, 1, 26, 513), -torch.rand(2, 1, 26, 513)):
        scores = quantus.Monotonicity(
            features_in_step=513 * 13, disable_warnings=True, perturb_baseline=0.0
        )(
            model=QuantusModel(spectral, classifier),
            x_batch=as_channels(batch.features.stft),
            y_batch=batch.decision.target.numpy(),
            a_batch=attribution.abs().numpy(),
            channel_first=True,
        )
        assert scores == [True, True]


def test_a_classifier_of_waveforms_is_given_the_sound(explained, spectral):
    torch.manual_seed(0)
    classifier = waveform_classifier(n_classes=4)
    interpreter = Saliency(spectral, classifier_input="audio")
    batch = explained(interpreter, classifier=classifier)
    x = torch.from_numpy(as_channels(batch.features.stft)).requires_grad_()
    model = QuantusModel(spectral, classifier)
    logits = model(x)
    length = spectral.hop_samples * (batch.features.stft.shape[1] - 1)
    expected = classifier.decide(spectral.istft(batch.features.stft, length)).logits
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    logits.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() > 0
    names = ["Sparseness", "PixelFlipping", "MPRT", "RelevanceRankAccuracy"]
    for name, values in run_quantus(names, spectral, batch, interpreter).items():
        assert np.isfinite(values).all(), name


def test_sigmoids_are_refused(explained, spectral):
    """Quantus takes a softmax of logits."""
    classifier = waveform_classifier(n_classes=4, activation="sigmoid")
    interpreter = Identity(spectral)
    batch = explained(interpreter, classifier=classifier)
    with pytest.raises(SettingError, match="sigmoids: leave --quantus out"):
        run_quantus(["Sparseness"], spectral, batch, interpreter)


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("MPRT", "randomises weights, and <lambda> has none"),
        ("EfficientMPRT", "randomises weights, and <lambda> has none"),
        ("RelativeRepresentationStability", "representations, and <lambda> gives none"),
    ],
)
def test_what_a_metric_needs_of_a_classifier_is_named(
    explained, spectral, metric, words
):
    black_box = BlackBoxClassifier(lambda wavs: wavs[:, :4], 16000, 4).freeze()
    interpreter = Identity(spectral)
    batch = explained(interpreter, classifier=black_box)
    for refused in (
        lambda: run_quantus([metric], spectral, batch, interpreter),
        lambda: QuantusScores([metric], spectral).check(black_box),
    ):
        with pytest.raises(SettingError, match=f"{words}: leave it out of --quantus"):
            refused()
    QuantusScores(["Sparseness"], spectral).check(black_box)
