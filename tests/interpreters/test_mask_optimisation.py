"""Mask optimisation: it finds what decides, at the sizes that it is given."""

import io

import pytest
import torch

from lmac_td.classifiers.black_box import BlackBoxClassifier
from lmac_td.contracts import Classifier
from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import decide
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.budgeted import (
    BinGains,
    Budgeted,
    share_kept,
    soft_threshold,
)
from lmac_td.interpreters.mask_optimisation import Clip, MaskOptimisation, on_bins
from tests.interpreters.attribution.helpers import SquareRoot
from tests.networks import noise, spectrogram_classifier, waveform_classifier

RATE = 16000
STFT = SpectralFeatures(RATE, n_fft=512, win_length=32, hop_length=16)
COARSE = {"grid": (1000, 200), "steps": 10}


class Tile(Classifier):
    """It decides by the level of a tile, 0.4 to 0.6 s and 2 to 3 kHz, in a spectrum."""

    name = "Tile"

    def __init__(self):
        super().__init__()
        self.sample_rate = RATE
        self.labels = ("event", "nothing")
        self.true = torch.zeros(63, 257, dtype=torch.bool)
        self.true[25:38, 64:96] = True

    def inputs(self, wavs):
        return wavs

    def run(self, inputs):
        level = STFT(inputs).magnitude[:, self.true].mean(dim=1)
        event = 10 * level - 3
        return torch.stack([event, -event], dim=1), ()


def decided(classifier, wavs, stft=STFT):
    return wavs, *decide(wavs, stft, classifier)


@pytest.mark.parametrize("context", [None, "noise", "shifted"])
def test_what_decides_is_found(context):
    classifier = Tile().freeze()
    source = MaskOptimisation(
        STFT, (500, 100), steps=40, context=context, level_db=3, shares=[0.1, 0.3]
    )
    source.check(classifier)
    with torch.no_grad():
        scores = source(*decided(classifier, noise(1)))[0, 0]
    best = scores.flatten().topk(int(classifier.true.sum())).indices
    assert classifier.true.flatten()[best].double().mean() > 0.7


def test_the_size_holds_exactly_and_the_decision_improves():
    classifier = waveform_classifier()
    wavs = noise(2)
    batch = decided(classifier, wavs)
    flat = MaskOptimisation(STFT, steps=1, step_size=1e-9)
    found = MaskOptimisation(STFT, steps=30)
    losses = []
    for source in (flat, found):
        explain = Budgeted(STFT, source, keep=[0.1, 0.3])
        loss = 0
        for share, row in zip((0.1, 0.3), explain.rows("row").values(), strict=True):
            explanation = row(*batch)
            size = share_kept(explanation.mask, batch[1].magnitude)
            torch.testing.assert_close(size, torch.full((2,), share), atol=1e-4, rtol=0)
            for inputs, sign in (
                (explanation.kept_input, -1),
                (explanation.removed_input, 1),
            ):
                p = classifier.probabilities(classifier.classify(inputs)[0])
                p = p.gather(1, batch[2].target[:, None])[:, 0]
                loss += (-p.log() if sign < 0 else -(1 - p).log()).sum()
        losses.append(float(loss))
    assert losses[1] < losses[0] - 0.01


def literal_loss(source, scores, share, wav, target, classifier):
    """-log p(kept) - w log(1 - p(removed)), from the sounds themselves."""
    spectra = STFT(wav)
    mask = soft_threshold(scores, spectra.magnitude, torch.tensor([share]))
    p = []
    for gains in (mask, 1 - mask):
        sound = STFT.istft(gains * spectra.stft, wav.shape[1])
        logits = classifier.decide(sound).logits.double()
        p.append(classifier.probabilities(logits)[0, target].double())
    return -p[0].log() - source.removed_w * (1 - p[1]).log()


def clip_of(wav, classifier):
    _, features, decision = decided(classifier, wav)
    return Clip(
        features.stft, features.magnitude, wav.shape[1], decision.target, classifier
    )


@pytest.mark.parametrize("removed_w", [0.0, 0.5])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_the_loss_is_that_of_its_formula(activation, removed_w):
    classifier = waveform_classifier(activation=activation)
    source = MaskOptimisation(STFT, removed_w=removed_w)
    wav = noise(1)
    clip = clip_of(wav, classifier)
    scores = torch.randn(clip.magnitude.shape)
    generator = torch.Generator().manual_seed(0)
    found = source.loss(scores, 0.2, clip, generator)
    target = int(clip.target[0])
    expected = literal_loss(source, scores, 0.2, wav, target, classifier)
    assert float(found) == pytest.approx(float(expected), abs=1e-4)


def test_a_context_stands_beside_the_kept_part():
    classifier = waveform_classifier()
    clip = clip_of(noise(1), classifier)
    mask = torch.rand(clip.magnitude.shape)
    removed = (1 - mask) * clip.stft
    white = torch.randn(clip.n_samples)
    shifted = MaskOptimisation(STFT, context="shifted")
    beside = shifted.beside(mask, removed, clip, 0.5, white)
    half = removed.shape[1] // 2
    assert torch.equal(beside[:, half:], removed[:, :-half])
    other = MaskOptimisation(STFT, context="noise")
    beside = other.beside(torch.zeros_like(mask), removed, clip, 0.5, white)
    # Without anything kept, it has the mean spectrum of the clip.
    of_noise, of_clip = (
        x.abs().square().mean(dim=1).sqrt().mean() for x in (beside, clip.stft)
    )
    assert float(of_noise / of_clip) == pytest.approx(1, abs=0.05)
    assert (other.beside(torch.ones_like(mask), removed, clip, 0, white) == 0).all()


def test_context_and_level_change_the_optimum():
    batch = decided(waveform_classifier(), noise(1))
    plain, noisy, shifted, louder = (
        MaskOptimisation(STFT, **COARSE, **settings)(*batch)
        for settings in (
            {},
            {"context": "noise", "context_share": 1},
            {"context": "shifted", "context_share": 1},
            {"level_db": 10},
        )
    )
    for other in (noisy, shifted, louder):
        assert (other - plain).abs().max() > 0.01
    never = MaskOptimisation(STFT, **COARSE, context="noise", context_share=0)
    assert torch.equal(never(*batch), plain)


def test_a_clip_s_scores_do_not_depend_on_its_batch():
    classifier = spectrogram_classifier()
    stft = classifier.spectrogram
    source = MaskOptimisation(stft, **COARSE, context="noise", level_db=6)
    wavs = noise(3) * torch.tensor([[1.0], [0.1], [3.0]])
    state = torch.get_rng_state()
    together = source(*decided(classifier, wavs, stft))
    for row in (2, 0, 1):
        alone = source(*decided(classifier, wavs[row : row + 1], stft))
        torch.testing.assert_close(alone[0], together[row], atol=1e-3, rtol=1e-3)
    assert torch.equal(torch.get_rng_state(), state)


def test_evidence_is_where_the_search_can_start():
    classifier = Tile().freeze()
    evidence = BinGains(STFT, [[265, 270]], draws=1)
    source = MaskOptimisation(
        STFT, (500, 100), steps=1, step_size=1e-6, start="evidence", evidence=evidence
    )
    scores = source(*decided(classifier, noise(1)))[0, 0]
    assert scores[classifier.true].mean() > 5 * scores[~classifier.true].mean().abs()


def test_a_grid_coarser_than_the_clip_keeps_everything_alike():
    batch = decided(waveform_classifier(), noise(1))
    source = MaskOptimisation(STFT, (9000, 9000), steps=2)
    scores = source(*batch)
    assert scores.abs().max() > 0
    assert scores.max() - scores.min() < 1e-6


def test_values_of_the_grid_are_interpolated():
    grid = torch.tensor([[[0.0, 4.0], [8.0, 12.0]]])
    found = on_bins(grid, torch.Size([4, 4]))
    assert found[0, 0].tolist() == [0, 1, 3, 4]
    assert found[0, :, 0].tolist() == [0, 2, 6, 8]


def test_silence_is_explained_with_dither():
    """The gradient of this classifier at silence is not finite."""
    classifier = SquareRoot().freeze()
    wavs = noise(2)
    wavs[0] = 0
    source = MaskOptimisation(STFT, **COARSE)
    explain = Budgeted(STFT, source, keep=0.25)
    with torch.no_grad():
        explanation = explain(*decided(classifier, wavs))
    assert explanation.scores.isfinite().all()
    assert torch.equal(explanation.interpretation[0], torch.zeros(RATE))
    assert source.n_dithered == 1
    assert "1 gradients were computed with dither" in explain.remark


def test_a_clip_of_one_frame():
    classifier = Tile()
    classifier.true = torch.ones(1, 257, dtype=torch.bool)
    batch = decided(classifier.freeze(), noise(1, n_samples=100))
    assert batch[1].magnitude.shape[1] == 1
    for context in (None, "noise", "shifted"):
        scores = MaskOptimisation(STFT, **COARSE, context=context)(*batch)
        assert scores.shape == (1, 1, 1, 257)
        assert scores.isfinite().all()


def test_half_precision_does_not_change_it():
    batch = decided(waveform_classifier(), noise(1))
    expected = MaskOptimisation(STFT, **COARSE)(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = MaskOptimisation(STFT, **COARSE)(*batch)
    assert torch.equal(found, expected)


def test_the_row_says_that_it_searches():
    row = Budgeted(STFT, MaskOptimisation(STFT), keep=0.25)
    assert row.asks_classifier
    assert "searched for by gradient steps" in row.remark
    assert "can be adversarial" in row.remark
    assert not Budgeted(STFT, BinGains(STFT, [[80, 80]])).asks_classifier


def test_the_classifier_gets_no_gradients():
    classifier = waveform_classifier()
    MaskOptimisation(STFT, **COARSE)(*decided(classifier, noise(1)))
    assert all(p.grad is None for p in classifier.parameters())


def test_a_terminal_shows_the_steps(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    batch = decided(waveform_classifier(), noise(1))
    shown = {}
    for progress in (True, False):
        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        MaskOptimisation(STFT, **COARSE, progress=progress)(*batch)
        shown[progress] = terminal.getvalue()
    assert "mask optimisation" in shown[True]
    assert "/10" in shown[True]
    assert shown[False] == ""


def test_a_black_box_is_refused():
    classifier = BlackBoxClassifier(lambda wavs: wavs[:, :2], RATE, 2).freeze()
    with pytest.raises(SettingError, match="mask optimisation needs gradients"):
        Budgeted(STFT, MaskOptimisation(STFT)).check(classifier)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "--steps a whole number from 1"),
        ({"step_size": 0}, "--step_size a number above 0"),
        ({"shares": []}, "--shares"),
        ({"shares": [0]}, "--shares a number above 0"),
        ({"shares": [1.2]}, "--shares"),
        ({"grid": [250]}, "--grid a pair of numbers"),
        ({"grid": [0, 100]}, "--grid a pair of numbers"),
        ({"context": "speech"}, "--context noise, shifted or null"),
        ({"context_share": 2}, "--context_share"),
        ({"level_db": -1}, "--level_db a number from 0"),
        ({"removed_w": -1}, "--removed_w a number from 0"),
        ({"keep_by": "bins"}, "--keep_by amplitude or energy"),
        ({"start": "random"}, "--start flat or evidence"),
        ({"start": "evidence"}, "give the setting evidence"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(settings, words):
    with pytest.raises(SettingError, match=words) as refused:
        MaskOptimisation(STFT, **settings)
    assert "\n" not in str(refused.value)
