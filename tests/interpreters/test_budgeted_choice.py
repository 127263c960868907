"""Scores are cut to a size, and the classifier chooses among candidates."""

import pytest
import torch

from lmac_td.contracts import Classifier
from lmac_td.evaluation.batches import decide
from lmac_td.interpreters.budgeted import (
    BinGains,
    Budgeted,
    BudgetedExplanation,
    Scores,
    share_kept,
    soft_threshold,
)
from lmac_td.metrics.signal import completeness_db
from lmac_td.targets import TargetChoice, margin
from tests.conftest import SAMPLE_RATE
from tests.interpreters.attribution.helpers import bursts, of_waveforms
from tests.networks import spectrogram_classifier

KERNELS = [[15, 144], [265, 270], [2015, 530]]
TRIED = (0.05, 0.2, 0.5, 0.8)


class RandomScores(Scores):
    """Scores of their own for every clip, whatever the batch is."""

    def __init__(self, n_candidates=3):
        super().__init__()
        self.n_candidates = n_candidates
        self.calls = 0

    def candidates(self, wavs, features, decision):
        self.calls += 1
        scores = []
        for wav in wavs:
            seed = int(wav.abs().sum() * 1000)
            generator = torch.Generator().manual_seed(seed)
            shape = (self.n_candidates, *features.magnitude.shape[1:])
            scores.append(4 * torch.randn(shape, generator=generator))
        return torch.stack(scores)


def classifiers(spectral, frozen):
    image = spectrogram_classifier()
    return {
        "cnn14": (frozen, spectral),
        "images": (image, image.spectrogram),
        "waveforms": (of_waveforms(), spectral),
        "tags": (of_waveforms(activation="sigmoid"), spectral),
    }


KINDS = ("cnn14", "images", "waveforms", "tags")


@pytest.fixture(params=KINDS)
def explained(request, spectral, frozen):
    """A classifier, clips with their decision, and a builder of interpreters."""
    classifier, stft = classifiers(spectral, frozen)[request.param]
    wavs = bursts(3)
    decided = wavs, *decide(wavs, stft, classifier)

    def build(source=None, **settings):
        return Budgeted(stft, source or RandomScores(), **settings)

    return classifier, decided, build


def explain(interpreter, decided):
    with torch.no_grad():
        return interpreter(*decided)


def one(decided, clip):
    wavs, features, decision = decided
    row = torch.tensor([clip])
    return wavs[row], features.select(row), decision.select(row)


def literal(interpreter, decided, clip, size):
    """One candidate of one clip at a time: (quality, margin, p, decided class)."""
    wavs, features, decision = one(decided, clip)
    classifier, target = decision.classifier, decision.target
    candidates = interpreter.source.candidates(wavs, features, decision)[0]
    found = []
    for scores in candidates:
        mask = soft_threshold(
            scores[None], features.magnitude, torch.tensor([size]), interpreter.keep_by
        )
        made = interpreter.explain_mask(mask, wavs, features, decision)
        kept, removed = (
            classifier.run(x)[0] for x in (made.kept_input, made.removed_input)
        )
        p_kept, p_removed = (
            classifier.probabilities(x)[0, target].item() for x in (kept, removed)
        )
        odds = margin(kept, target, classifier.activation).item()
        quality = odds if interpreter.choose == "kept" else p_kept - p_removed
        found.append((quality, odds, p_kept, kept.argmax().item(), mask[0]))
    return found


@pytest.mark.parametrize(
    ("choose", "keep_by"), [("kept", "energy"), ("kept_and_removed", "amplitude")]
)
def test_the_best_candidate_is_that_of_a_loop(explained, choose, keep_by):
    _, decided, build = explained
    interpreter = build(keep=0.3, keep_by=keep_by, choose=choose)
    explanation = explain(interpreter, decided)
    assert isinstance(explanation, BudgetedExplanation)
    chosen = explanation.candidate.tolist()
    for clip, k in enumerate(chosen):
        loop = literal(interpreter, decided, clip, 0.3)
        assert loop[k][0] == pytest.approx(max(q for q, *_ in loop), abs=1e-5)
        torch.testing.assert_close(explanation.mask[clip], loop[k][-1])
    assert (explanation.size == 0.3).all()
    share = share_kept(explanation.mask, decided[1].magnitude, keep_by)
    torch.testing.assert_close(share, torch.full((3,), 0.3), atol=1e-4, rtol=0)


def test_the_two_choices_differ(spectral, frozen):
    wavs = bursts(6)
    decided = wavs, *decide(wavs, spectral, frozen)
    source = RandomScores(4)
    chosen = [
        explain(Budgeted(spectral, source, keep=0.4, choose=choose), decided).candidate
        for choose in ("kept", "kept_and_removed")
    ]
    assert not torch.equal(*chosen)
    assert len(set(chosen[0].tolist())) > 1


def smallest_by_a_loop(interpreter, decided, clip):
    """Return size, candidate, mask and whether the part convinces."""
    decision = decided[2]
    classifier, target = decision.classifier, decision.target[clip]
    before = decision.probabilities[clip, target].item()
    best = None
    for share in TRIED:
        loop = literal(interpreter, decided, clip, share)
        k = max(range(len(loop)), key=lambda k: loop[k][0])
        _, odds, p_kept, decided_class, mask = loop[k]
        convinces = p_kept >= before - 1e-6
        if classifier.activation == "softmax":
            convinces = convinces and decided_class == target
        if convinces:
            return share, k, mask, True
        if best is None or odds > best[0]:
            best = odds, share, k, mask
    return *best[1:], False


def check_smallest(interpreter, decided):
    """Compare with a loop; return the sizes and whether the parts convince."""
    explanation, sizes, convinced = explain(interpreter, decided), [], []
    for clip in range(len(decided[0])):
        size, k, mask, convinces = smallest_by_a_loop(interpreter, decided, clip)
        assert explanation.size[clip].item() == pytest.approx(size)
        assert explanation.candidate[clip].item() == k
        torch.testing.assert_close(explanation.mask[clip], mask)
        sizes.append(size)
        convinced.append(convinces)
    return sizes, convinced


@pytest.mark.parametrize(
    ("n_candidates", "choose"), [(1, "kept"), (3, "kept"), (2, "kept_and_removed")]
)
def test_the_smallest_convincing_part_is_that_of_a_loop(
    explained, choose, n_candidates
):
    _, decided, build = explained
    interpreter = build(
        RandomScores(n_candidates), keep="smallest", tried=TRIED[::-1], choose=choose
    )
    decision = decided[2]
    for target in ("decided", 1):
        of_target = *decided[:2], TargetChoice(target).choose(decision)[1]
        check_smallest(interpreter, of_target)


class OfOneLevel(Classifier):
    """The first class has a level of its own: more or less sound speaks against it."""

    def __init__(self, activation):
        super().__init__()
        self.sample_rate, self.labels = SAMPLE_RATE, ("near", "far")
        self.activation = activation

    def inputs(self, wavs):
        return wavs

    def run(self, inputs):
        level = 10 * torch.log10(inputs.square().mean(dim=1) + 1e-9)
        near = 1 - ((level + 40) / 5).square()
        return torch.stack([near, -near], dim=1), ()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_all_sizes_are_found_and_if_nothing_convinces_the_most_sure(
    spectral, activation
):
    classifier = OfOneLevel(activation).freeze()
    wavs = 0.01 * torch.tensor([0.5, 1.05, 2, 3, 4, 8, 20])[:, None]
    wavs = wavs * torch.randn(7, SAMPLE_RATE // 4)
    features, decision = decide(wavs, spectral, classifier)
    decision = TargetChoice(0).choose(decision)[1]
    for n_candidates in (1, 2):
        interpreter = Budgeted(
            spectral, RandomScores(n_candidates), keep="smallest", tried=TRIED
        )
        sizes, convinced = check_smallest(interpreter, (wavs, features, decision))
        assert set(sizes) == set(TRIED)
        assert 0 < sum(convinced) < len(convinced)


@pytest.mark.parametrize("keep", [0.04, 0.5, "smallest"])
def test_the_two_parts_add_up_to_the_clip(explained, keep):
    _, decided, build = explained
    explanation = explain(build(keep=keep, tried=TRIED), decided)
    found = completeness_db(
        decided[0], explanation.interpretation, explanation.residual
    )
    assert found.min() >= 60


def test_keeping_everything_keeps_the_clip(explained):
    _, decided, build = explained
    explanation = explain(build(keep=1), decided)
    assert (explanation.mask == 1).all()
    torch.testing.assert_close(
        explanation.interpretation, decided[0], atol=1e-6, rtol=0
    )
    assert explanation.residual.abs().max() < 1e-6


@pytest.mark.parametrize("keep", [0.3, "smallest"])
def test_an_explanation_does_not_depend_on_its_batch(explained, keep):
    classifier, decided, build = explained
    source = BinGains(build().features, KERNELS, gains=[1.0], draws=1)
    interpreter = build(source, keep=keep, tried=TRIED)
    batch = explain(interpreter, decided)
    for clip in range(3):
        wav = decided[0][clip : clip + 1]
        alone = explain(
            interpreter, (wav, *decide(wav, interpreter.features, classifier))
        )
        assert alone.candidate[0] == batch.candidate[clip]
        assert alone.size[0] == batch.size[clip]
        for name in ("mask", "interpretation", "residual", "kept_input", "magnitude"):
            torch.testing.assert_close(
                getattr(alone, name)[0],
                getattr(batch, name)[clip],
                atol=2e-3,
                rtol=1e-3,
            )


def test_the_dial_is_monotone(explained):
    """A larger share keeps no bin less, if the candidate is the same."""
    _, decided, build = explained
    before = 0
    for keep in (0.1, 0.25, 0.5, 0.75, 1):
        mask = explain(build(RandomScores(1), keep=keep), decided).mask
        assert (mask >= before).all()
        before = mask


def test_of_one_candidate_nothing_is_asked(explained):
    classifier, decided, build = explained
    interpreter = build(RandomScores(1), keep=0.5)
    assert not interpreter.asks_classifier
    classifier.run = None  # a call would fail
    explanation = explain(interpreter, decided)
    assert (explanation.candidate == 0).all()


def test_what_asks_the_classifier(spectral):
    for n_candidates, keep, asks in [
        (1, 0.5, False),
        (2, 0.5, True),
        (1, "smallest", True),
        (2, "smallest", True),
    ]:
        interpreter = Budgeted(spectral, RandomScores(n_candidates), keep=keep)
        assert interpreter.asks_classifier == asks


@pytest.mark.parametrize(
    ("choose", "keep"), [("kept", "smallest"), ("kept_and_removed", 0.3)]
)
def test_the_classifier_chooses_in_float32(explained, keep, choose):
    """Half precision has two or three digits; the choice compares probabilities."""
    _, decided, build = explained
    interpreter = build(keep=keep, tried=TRIED, choose=choose)
    expected = explain(interpreter, decided)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = explain(interpreter, decided)
    for name, value in vars(expected).items():
        assert getattr(found, name).dtype == value.dtype
        torch.testing.assert_close(getattr(found, name), value)


@pytest.mark.parametrize("keep", [0.5, "smallest"])
def test_digital_silence(frozen, spectral, keep):
    wavs = bursts(3)
    wavs[1] = 0
    decided = wavs, *decide(wavs, spectral, frozen)
    interpreter = Budgeted(
        spectral, BinGains(spectral, KERNELS, draws=1), keep=keep, tried=TRIED
    )
    explanation = explain(interpreter, decided)
    for value in vars(explanation).values():
        assert value.isfinite().all()
    assert (explanation.interpretation[1] == 0).all()
    assert (explanation.residual[1] == 0).all()
    if keep == 0.5:
        torch.testing.assert_close(
            explanation.mask[1].mean(), torch.tensor(0.5), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("n_samples", [100, 1500, 3000])
def test_clips_that_are_shorter_than_a_kernel(n_samples):
    """One frame, and fewer frames than 530 ms."""
    torch.manual_seed(0)
    classifier = spectrogram_classifier()
    stft = classifier.spectrogram
    wavs = 0.1 * torch.randn(2, n_samples)
    decided = wavs, *decide(wavs, stft, classifier)
    assert decided[1].magnitude.shape[1] == n_samples // 256 + 1
    explanation = explain(
        Budgeted(stft, BinGains(stft, KERNELS, draws=1), keep=0.3), decided
    )
    share = share_kept(explanation.mask, decided[1].magnitude)
    torch.testing.assert_close(share, torch.full((2,), 0.3), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        explanation.interpretation + explanation.residual, wavs, atol=1e-5, rtol=0
    )


def test_spectrograms_are_given_to_the_classifier_if_asked(frozen, spectral):
    wavs = bursts(2)
    decided = wavs, *decide(wavs, spectral, frozen)
    interpreter = Budgeted(
        spectral, RandomScores(), keep=0.3, classifier_input="spectrogram"
    )
    explanation = explain(interpreter, decided)
    kept = frozen.inputs_of(magnitude=explanation.mask * decided[1].magnitude)
    torch.testing.assert_close(explanation.kept_input, kept, atol=1e-5, rtol=1e-4)
    assert wavs.shape == (2, SAMPLE_RATE)
