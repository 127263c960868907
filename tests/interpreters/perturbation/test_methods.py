"""Each method finds what a black box decides by, whatever else is in the batch."""

import io

import pytest
import torch

from lmac_td.contracts import Decision
from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import decide
from lmac_td.interpreters.budgeted import Budgeted
from lmac_td.interpreters.perturbation import (
    METHODS,
    Bands,
    FeatureAblation,
    HarmonicPercussive,
    KernelShap,
    Lime,
    MaskedClip,
    RandomForest,
    Rise,
    Tiles,
    Windows,
    build_perturbations,
)
from lmac_td.metrics.curves import top_bins
from lmac_td.targets import margin
from tests.interpreters.perturbation.helpers import (
    STFT,
    TRUTHS,
    black_box,
    decided,
    few_calls,
    method_for,
    segments_of,
    true_bins,
)
from tests.networks import noise, spectrogram_classifier, waveform_classifier

ALL = [(name, truth) for name in METHODS for truth in TRUTHS]


@pytest.mark.parametrize(("name", "truth"), ALL)
def test_what_decides_is_found(name, truth):
    """The best bins, as many as the true ones, are nearly all true."""
    source = method_for(name, truth)
    classifier = black_box(truth)
    wavs, features, decision = decided(classifier, noise(1, seed=5))
    assert decision.target.tolist() == [0]
    source.check(classifier)
    relevance = source.relevance(wavs, features, decision)[0]
    true = true_bins(truth, relevance.shape)
    best = relevance.flatten().topk(int(true.sum())).indices
    hit = true.flatten()[best].double().mean()
    assert hit > 0.8


def test_feature_ablation_is_that_of_a_loop():
    classifier = black_box("tile")
    source = FeatureAblation(STFT, segments_of("tile"), calls_at_once=7)
    wavs, features, decision = decided(classifier, noise(2))
    found = source.relevance(wavs, features, decision)
    for clip in range(2):
        X = features.stft[clip]  # noqa: N806
        segments = segments_of("tile")(wavs[clip], X.abs())

        def log_odds(spectrum):
            sound = STFT.istft(spectrum.unsqueeze(0), wavs.shape[1])
            logits = classifier.decide(sound).logits
            p = classifier.probabilities(logits.double())[0, 0]
            return torch.log(p / (1 - p))

        whole = log_odds(X)
        for segment in segments.unique():
            without = X.clone()
            without[segments == segment] = 0
            expected = float(whole - log_odds(without))
            values = found[clip][segments == segment]
            assert values.unique().numel() == 1
            assert float(values[0]) == pytest.approx(expected, abs=1e-4)


def test_shapley_values_add_up():
    """To the log-odds of the clip, minus those of silence."""
    classifier = black_box("band")
    segments = segments_of("band")
    source = KernelShap(STFT, segments, n_calls=100)
    wavs, features, decision = decided(classifier, noise(1))
    found = source.relevance(wavs, features, decision)[0]
    numbers = segments(wavs[0], features.magnitude[0])
    values = [found[numbers == number][0] for number in numbers.unique()]
    ends = classifier.decide(torch.cat([wavs, torch.zeros_like(wavs)])).logits
    odds = margin(ends, torch.zeros(2, dtype=torch.int64), "softmax")
    torch.testing.assert_close(sum(values), odds[0] - odds[1], atol=1e-3, rtol=1e-3)


def test_rise_is_the_covariance_of_gains_and_answers():
    classifier = black_box("tile")
    source = Rise(STFT, n_calls=30, calls_at_once=7)
    wavs, features, decision = decided(classifier, noise(1))
    found = source.relevance(wavs, features, decision)[0]
    generator = torch.Generator().manual_seed(0)
    masks = torch.stack([source.mask(found.shape, generator) for _ in range(30)])
    assert 0 <= masks.min() < masks.max() <= 1
    assert float(masks.mean()) == pytest.approx(0.5, abs=0.05)
    clip = MaskedClip(classifier, STFT, wavs[0], features.stft[0], target=0)
    masks, answers = masks.double(), clip(masks).double()
    deviations = masks - masks.mean(dim=0)
    expected = ((answers - answers.mean())[:, None, None] * deviations).mean(dim=0)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-3)


def test_variants_of_the_forest_remove_runs_of_windows():
    kept = RandomForest(STFT, n_calls=400).variants(50)
    assert kept.shape == (400, 50)
    assert kept[0].all()
    removed = 1 - kept[1:].mean(dim=1)
    assert 0.1 < removed.min() < removed.max() <= 0.45
    assert (kept.mean(dim=0) < 0.95).all()


@pytest.mark.parametrize("name", METHODS)
def test_a_clip_s_scores_do_not_depend_on_its_batch(name):
    source = few_calls(name)()
    classifier = black_box("tile")
    wavs = noise(3) * torch.tensor([[1.0], [0.1], [3.0]])
    together = source.relevance(*decided(classifier, wavs))
    state = torch.get_rng_state()
    for row in (2, 0, 1):
        alone = source.relevance(*decided(classifier, wavs[row : row + 1]))[0]
        torch.testing.assert_close(
            alone, together[row], atol=1e-5, rtol=1e-3, msg=f"{name}, clip {row}"
        )
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", METHODS)
def test_silence_has_equal_scores(name):
    source = few_calls(name)()
    explain = Budgeted(STFT, source, keep=0.25)
    explanation = explain(*decided(black_box("tile"), torch.zeros(1, 16000)))
    assert explanation.scores.unique().tolist() == [0]
    assert torch.equal(explanation.interpretation, torch.zeros(1, 16000))


@pytest.mark.parametrize("replace_by", ["silence", "noise"])
@pytest.mark.parametrize("name", METHODS)
def test_a_clip_of_one_frame(name, replace_by):
    source = few_calls(name)(replace_by=replace_by)
    batch = decided(black_box("band"), noise(1, n_samples=100))
    assert batch[1].magnitude.shape[1] == 1
    relevance = source.relevance(*batch)
    assert relevance.shape == batch[1].magnitude.shape
    assert relevance.isfinite().all()


def test_one_segment_gains_all():
    classifier = black_box("band")
    source = KernelShap(STFT, Tiles(STFT, 9000, 9000), n_calls=3)
    wavs, features, decision = decided(classifier, noise(1))
    found = source.relevance(wavs, features, decision)[0]
    ends = classifier.decide(torch.cat([wavs, torch.zeros_like(wavs)])).logits[:, 0]
    assert found.unique().numel() == 1
    assert float(found[0, 0]) == pytest.approx(float(ends[0] - ends[1]), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("feature_ablation", 1 + 4),
        ("kernel_shap", 50),
        ("lime", 50),
        ("rise", 50),
        ("random_forest", 50),
    ],
)
def test_the_classifier_is_called_as_often_as_the_settings_say(name, calls):
    seen = []
    source = few_calls(name, n_calls=50)(calls_at_once=4)
    batch = decided(black_box("tile", seen), noise(1))
    seen.clear()
    source.relevance(*batch)
    assert sum(seen) == calls
    assert max(seen) <= 4


@pytest.mark.parametrize("kind", [spectrogram_classifier, waveform_classifier])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_classifiers_with_gradients_are_explained_too(kind, activation):
    classifier = kind(activation=activation)
    stft = classifier.spectrogram or STFT
    methods = build_perturbations(
        list(METHODS),
        stft,
        {name: {"n_calls": 70} for name in METHODS if name != "feature_ablation"},
    )
    wavs = noise(2)
    batch = wavs, *decide(wavs, stft, classifier)
    for name, method in methods.items():
        method.check(classifier)
        scores = method(*batch).scores
        assert scores.isfinite().all(), name
        assert scores.std() > 0, name


@pytest.mark.parametrize(
    ("name", "segments"),
    [
        ("slime_time", Windows(STFT)),
        ("slime_frequency", Bands(STFT)),
        ("slime_time_frequency", Tiles(STFT)),
        ("audiolime", HarmonicPercussive(STFT)),
    ],
)
def test_slime_and_audiolime_are_lime_over_their_segments(name, segments):
    batch = decided(black_box("tile"), noise(1))
    found = METHODS[name](STFT, n_calls=40).relevance(*batch)
    expected = Lime(STFT, segments, n_calls=40).relevance(*batch)
    assert torch.equal(found, expected)
    numbers = segments(batch[0][0], batch[1].magnitude[0])
    assert found.unique().numel() <= numbers.unique().numel()


def test_noise_in_place_of_a_removed_part():
    classifier = black_box("band")
    source = FeatureAblation(STFT, replace_by="noise", noise_db=-20)
    wavs, features, _ = decided(classifier, noise(1))
    noise_of = source.replacement(wavs[0])
    ratio = noise_of.abs().square().sum() / features.magnitude[0].square().sum()
    assert float(10 * ratio.log10()) == pytest.approx(-20, abs=0.5)
    clip = MaskedClip(
        classifier, STFT, wavs[0], features.stft[0], 0, replacement=noise_of
    )
    empty, full = clip(torch.stack([torch.zeros(clip.shape), torch.ones(clip.shape)]))
    quiet = classifier.decide(STFT.istft(noise_of.unsqueeze(0), 16000)).logits
    assert float(empty) == pytest.approx(float(quiet[0, 0] - quiet[0, 1]), abs=1e-3)
    assert full > empty


def test_the_target_is_explained():
    classifier = black_box("tile")
    wavs, features, decision = decided(classifier, noise(1))
    source = few_calls("lime")()
    other = Decision(
        decision.logits, 1 - decision.target, (), decision.inputs, classifier
    )
    for_it = source.relevance(wavs, features, decision)
    against = source.relevance(wavs, features, other)
    torch.testing.assert_close(for_it, -against, atol=1e-4, rtol=1e-3)


def test_larger_parts_contain_smaller_ones():
    """The dial: one ranking for every size."""
    methods = build_perturbations(["feature_ablation"], STFT, keep=[0.1, 0.3])
    rows = methods["feature_ablation"].rows("ablation")
    assert list(rows) == ["ablation 0.1", "ablation 0.3"]
    seen = []
    batch = decided(black_box("tile", seen), noise(1))
    small, large = (row(*batch).mask for row in rows.values())
    assert (small <= large + 1e-5).all()
    # The second size takes the scores of the first.
    assert sum(seen) < 2 * 41
    best = top_bins(large, batch[1].magnitude, 0.05)
    assert best.any()


def test_the_controls_are_there_once():
    methods = build_perturbations(["lime", "rise"], STFT, controls=True)
    rows = {}
    for name, method in methods.items():
        rows |= method.rows(name)
    assert list(rows) == ["lime", "loudness", "random field", "rise"]


def test_a_terminal_shows_the_progress(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    batch = decided(black_box("tile"), noise(2))
    shown = {}
    for progress in (True, False):
        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        few_calls("rise")(progress=progress).relevance(*batch)
        shown[progress] = terminal.getvalue()
    assert "Rise" in shown[True]
    assert "/2" in shown[True]
    assert shown[False] == ""


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: build_perturbations([], STFT), "--methods a list"),
        (lambda: build_perturbations(["shap"], STFT), "methods names 'shap'"),
        (lambda: Rise(STFT, n_calls=0), "--n_calls a whole number from 1"),
        (lambda: Rise(STFT, kept_share=1), "--kept_share a number below 1"),
        (lambda: Rise(STFT, kept_share=0), "--kept_share a number above 0"),
        (lambda: Rise(STFT, rise_grid=[3]), "--rise_grid a pair of numbers"),
        (lambda: Rise(STFT, replace_by="zeros"), "--replace_by silence or noise"),
        (lambda: Rise(STFT, calls_at_once=0), "--calls_at_once"),
        (lambda: Rise(STFT, replace_by="noise", noise_db="low"), "--noise_db"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(build, words):
    with pytest.raises(SettingError, match=words) as refused:
        build()
    assert "\n" not in str(refused.value)


def test_too_few_calls_for_shapley_values_are_refused():
    source = KernelShap(STFT, Tiles(STFT, 1000, 200), n_calls=20)
    batch = decided(black_box("tile"), noise(1))
    with pytest.raises(SettingError, match="at least 42 for 40 segments") as refused:
        source.relevance(*batch)
    assert "\n" not in str(refused.value)
