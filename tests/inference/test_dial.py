"""The dial: sounds of several shares of the energy, their probabilities and files."""

import itertools

import soundfile
import torch
from matplotlib.image import imread

from lmac_td.evaluation.batches import decide
from lmac_td.inference.dial import SHARES, dial, dial_of, first_step, write_clip
from lmac_td.interpreters.attribution import build_attributions
from lmac_td.interpreters.baselines import HalfGain, Oracle
from lmac_td.interpreters.budgeted import BinGains, Budgeted, share_kept
from lmac_td.report.page.content import DialStep, Segment
from tests.batches import decided_batch
from tests.conftest import SAMPLE_RATE


def evidence(spectral):
    kernels = [[515, 270], [80, 80]]
    return Budgeted(spectral, BinGains(spectral, kernels, draws=1), keep=0.25)


def test_each_share_of_the_energy_is_kept(wavs, spectral, frozen):
    batch = decided_batch(wavs, spectral, frozen)
    for interpreter in (evidence(spectral), HalfGain(spectral)):
        settings = dial(batch, interpreter, spectral)
        assert [setting.share for setting in settings] == list(SHARES)
        for setting in settings:
            kept = share_kept(
                setting.explanation.mask, batch.features.magnitude, "energy"
            )
            torch.testing.assert_close(
                kept, torch.full((4,), setting.share), atol=1e-4, rtol=0
            )


def test_a_larger_share_keeps_all_of_a_smaller_one(wavs, spectral, frozen):
    batch = decided_batch(wavs, spectral, frozen)
    masks = [s.explanation.mask for s in dial(batch, evidence(spectral), spectral)]
    for small, large in itertools.pairwise(masks):
        assert (large >= small - 1e-5).all()


def test_kept_and_removed_add_up_and_the_last_share_is_the_clip(wavs, spectral, frozen):
    batch = decided_batch(wavs, spectral, frozen)
    settings = dial(batch, evidence(spectral), spectral)
    for setting in settings:
        parts = setting.explanation.interpretation + setting.explanation.residual
        torch.testing.assert_close(parts, wavs, atol=1e-5, rtol=0)
    torch.testing.assert_close(settings[-1].explanation.interpretation, wavs)


def test_probabilities_are_those_of_the_sounds(wavs, spectral, frozen):
    batch = decided_batch(wavs, spectral, frozen)
    for method in ("occlusion", "saliency"):
        (interpreter,) = build_attributions([method], features=spectral).values()
        (setting,) = dial(batch, interpreter, spectral, [0.3])
        sounds = setting.explanation.interpretation, setting.explanation.residual
        answers = setting.probability, setting.probability_removed
        for wav, found in zip(sounds, answers, strict=True):
            _, decision = decide(wav, spectral, frozen)
            rows = torch.arange(4)
            p = decision.probabilities[rows, batch.decision.target]
            torch.testing.assert_close(found, p, atol=1e-4, rtol=1e-3)


def test_all_of_the_sound_is_not_decided_again(wavs, spectral, frozen, monkeypatch):
    batch = decided_batch(wavs, spectral, frozen)
    scores, sizes = torch.rand_like(batch.features.magnitude), []
    run = frozen.run
    monkeypatch.setattr(
        frozen, "run", lambda inputs: sizes.append(len(inputs)) or run(inputs)
    )
    half, whole = dial_of(batch, scores, spectral, [0.5, 1.0])
    assert sizes == [8, 4]  # kept and removed, and then removed alone
    for setting in (half, whole):
        inputs = setting.explanation.kept_input, setting.explanation.removed_input
        answers = setting.probability, setting.probability_removed
        for logits, found in zip(frozen.classify(*inputs), answers, strict=True):
            p = frozen.probabilities(logits)[torch.arange(4), batch.decision.target]
            torch.testing.assert_close(found, p, atol=1e-5, rtol=0)


def test_the_oracle_gets_its_sources(wavs, spectral, frozen):
    batch = decided_batch(wavs, spectral, frozen, (0.75 * wavs, 0.25 * wavs))
    (setting,) = dial(batch, Oracle(spectral), spectral, [0.5])
    assert setting.explanation.mask.shape == batch.features.magnitude.shape


def test_a_clip_is_written_as_the_page_shows_it(wavs, spectral, frozen, tmp_path):
    batch = decided_batch(wavs, spectral, frozen)
    settings = dial(batch, evidence(spectral), spectral, [0.1, 0.5])
    timeline = [Segment(0.0, 1.0, "3", 0.5, 0.25)]
    clip = write_clip(
        tmp_path / "dog", "dog.wav", "evidence", batch, settings, spectral, row=1,
        timeline=timeline, metrics={"AI": 1.0}, label="dog", condition="clean",
    )  # fmt: skip
    files = {"input.wav", "input.png", *(
        f"{name}_{percent}.{kind}"
        for percent in (10, 50)
        for name, kind in (("kept", "wav"), ("removed", "wav"), ("mask", "png"))
    )}  # fmt: skip
    assert {path.name for path in (tmp_path / "dog").iterdir()} == files
    assert clip.sound == tmp_path / "dog" / "input.wav"
    assert clip.target == frozen.labels[int(batch.decision.target[1])]
    assert clip.before[0][0] == clip.target
    assert len(clip.before) == 5
    assert (clip.timeline, clip.metrics) == (tuple(timeline), {"AI": 1.0})
    for step, setting in zip(clip.steps, settings, strict=True):
        kept, rate = soundfile.read(step.kept, dtype="float32")
        assert rate == SAMPLE_RATE
        expected = setting.explanation.interpretation[1]
        torch.testing.assert_close(torch.from_numpy(kept), expected, atol=1e-5, rtol=0)
        assert step.probability == float(setting.probability[1])
    # A picture's edges are those of the sound: one column a frame.
    frames = spectral.n_frames(SAMPLE_RATE)
    assert imread(clip.picture).shape[1] == frames


def test_padding_is_not_written(wavs, spectral, frozen, tmp_path):
    batch = decided_batch(wavs, spectral, frozen)
    batch = type(batch)(**{**vars(batch), "n_samples": torch.tensor([8000] * 4)})
    clip = write_clip(
        tmp_path, "a", "half", batch, dial(batch, HalfGain(spectral), spectral),
        spectral,
    )  # fmt: skip
    for path in (clip.sound, clip.steps[0].kept, clip.steps[0].removed):
        assert soundfile.info(path).frames == 8000


def test_the_first_step_is_the_smallest_that_convinces():
    steps = [DialStep(0.1 * p, "", "", p, 0.0, "") for p in (0.2, 0.7, 0.6)]
    assert first_step(steps, 0.5) == 1
    assert first_step(steps, 0.9) == 1
