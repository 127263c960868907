"""Recordings of any kind and length, explained for the labels that are asked for."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from lmac_td import AudioInterpreter
from lmac_td.classifiers.black_box import BlackBoxClassifier
from lmac_td.errors import CheckpointError, DataError, LoadAudioError, SettingError
from lmac_td.evaluation.batches import decide
from lmac_td.inference.dial import SHARES
from lmac_td.inference.methods import SCORES, accepted_options, builders
from lmac_td.interpreters.attribution import METHODS as ATTRIBUTIONS
from lmac_td.interpreters.budgeted import share_kept
from tests.classifiers.huggingface.models import AST, config_of
from tests.classifiers.huggingface.models import save as save_huggingface
from tests.networks import SAMPLE_RATE, noise, waveform_classifier

QUICK = {"kernels": [[515, 270]], "draws": 1, "gains": [0.5, 1.0], "device": "cpu"}


def narrow(classifier=None, **options):
    """Evidence of a narrow CNN with windows of one second."""
    classifier = classifier or waveform_classifier()
    return AudioInterpreter.from_classifier(
        classifier, **{"window_s": 1.0, **QUICK} | options
    )


def as_written(path, wav, rate):
    soundfile.write(path, wav.T.numpy(), rate)
    return path


def counted(interpreter):
    """Record the sizes of the batches that the interpreter explains."""
    sizes = []

    def record(module, inputs):
        sizes.append(tuple(inputs[0].shape))

    interpreter.explainer.interpreter.register_forward_pre_hook(record)
    return sizes


@pytest.mark.parametrize("kind", ["wav", "ogg", "mp3"])
def test_a_stereo_file_of_another_rate_is_explained(tmp_path, kind):
    path = as_written(tmp_path / f"dog.{kind}", noise(2, 44100), 44100)
    result = narrow().interpret_file(path)
    assert result.name == f"dog.{kind}"
    assert result.sample_rate == SAMPLE_RATE
    assert result.interpretation.shape == result.residual.shape == (SAMPLE_RATE,)
    torch.testing.assert_close(
        result.interpretation + result.residual, result.sound, atol=1e-6, rtol=0
    )


def test_probabilities_are_those_of_the_sounds():
    interpreter = narrow()
    result = interpreter.interpret_file(noise(1)[0], sample_rate=SAMPLE_RATE)
    explainer = interpreter.explainer
    for wav, p in (
        (result.sound, result.probability),
        (result.interpretation, result.probability_kept),
        (result.residual, result.probability_removed),
    ):
        _, decision = decide(wav[None], explainer.features, explainer.classifier)
        label = interpreter.labels.index(result.target)
        assert float(decision.probabilities[0, label]) == pytest.approx(p, abs=1e-5)
    assert list(result.labels.values()) == sorted(result.labels.values(), reverse=True)
    assert next(iter(result.labels)) == result.target  # the decided one
    assert result.probability == result.labels[result.target]


def test_the_interpretation_keeps_the_share_that_was_asked_for():
    interpreter = narrow(keep=0.3)
    result = interpreter.interpret_file(noise(1)[0], sample_rate=SAMPLE_RATE)
    magnitude = interpreter.explainer.features(result.sound[None]).magnitude
    assert result.mask.shape == magnitude[0].shape
    kept = share_kept(result.mask[None], magnitude, "energy")
    assert float(kept) == pytest.approx(0.3, abs=1e-3)
    assert result.share_kept == pytest.approx(float(kept))


def test_the_share_of_a_long_recording_is_that_of_its_windows():
    wav = noise(1, 4 * SAMPLE_RATE)[0]
    wav[:SAMPLE_RATE] *= 0.01
    result = narrow(keep=0.2, window_s=1).interpret_file(wav, sample_rate=SAMPLE_RATE)
    assert result.share_kept == pytest.approx(0.2, abs=1e-3)
    assert result.describe()["share_kept"] == result.share_kept


@pytest.mark.parametrize("target", ["2", 2, "decided", None])
def test_the_target_is_a_label_a_number_or_the_decided_one(target):
    interpreter = narrow()
    result = interpreter.interpret_file(noise(1)[0], target, SAMPLE_RATE)
    decided = next(iter(result.labels))
    assert result.target == ("2" if target in ("2", 2) else decided)
    assert result.probability == result.labels[result.target]


@pytest.mark.parametrize(
    ("target", "says"),
    [("dgo", "dog"), (7, "a number below 3"), ("-1", "'-1'"), (True, "True")],
)
def test_an_unknown_label_is_refused_with_the_nearest_ones(target, says):
    classifier = waveform_classifier()
    classifier.labels = ("cat", "rain", "dog")
    with pytest.raises(SettingError, match=says):
        narrow(classifier).interpret_file(noise(1)[0], target, SAMPLE_RATE)


@pytest.mark.parametrize("threshold", [0, 1, -1, float("nan")])
def test_a_threshold_is_a_probability(threshold):
    tagger = waveform_classifier(activation="sigmoid")
    with pytest.raises(SettingError, match="give --threshold a number between"):
        AudioInterpreter.from_classifier(tagger, threshold=threshold)
    AudioInterpreter.from_classifier(tagger, threshold=0.9)
    assert tagger.threshold == 0.9


def test_each_tag_above_the_threshold_is_explained():
    classifier = waveform_classifier(activation="sigmoid", threshold=0.4)
    torch.nn.init.constant_(classifier.network.head.bias, 0.1)
    with torch.no_grad():
        classifier.network.head.bias[1] = -20
        classifier.network.head.bias[2] = 5
    interpreter = narrow(classifier)
    results = interpreter.interpret_file(noise(1)[0], sample_rate=SAMPLE_RATE)
    assert [result.target for result in results] == ["2", "0"]
    assert interpreter.interpret_file(noise(1)[0], "1", SAMPLE_RATE).target == "1"
    assert interpreter.interpret_file(noise(1)[0], "decided", SAMPLE_RATE).target == "2"
    classifier.threshold = 0.9999999
    assert interpreter.interpret_file(noise(1)[0], None, SAMPLE_RATE) == []


def test_a_long_recording_is_explained_in_batches_of_windows(tmp_path):
    rate, seconds = 8000, 120
    path = as_written(tmp_path / "long.flac", noise(2, rate * seconds), rate)
    interpreter = narrow(batch_size=4)
    sizes = counted(interpreter)
    result = interpreter.interpret_file(path, target="0")
    assert max(sizes) == (4, SAMPLE_RATE)  # of whatever length the recording is
    assert sum(n for n, _ in sizes) == len(result.timeline) == 2 * seconds - 1
    assert result.interpretation.shape == (SAMPLE_RATE * seconds,)
    torch.testing.assert_close(
        result.interpretation + result.residual, result.sound, atol=1e-5, rtol=0
    )
    times = [(part.start_s, part.end_s) for part in result.timeline]
    assert times[0][0] == 0
    assert times[-1][1] == seconds
    assert all(a[1] == b[0] for a, b in itertools.pairwise(times))
    assert all(0 <= part.relevance <= 1 for part in result.timeline)


def test_one_window_gives_what_no_windows_give():
    wav = noise(1)[0]
    classifier = waveform_classifier()
    results = [
        narrow(classifier, window_s=window_s).interpret_file(wav, None, SAMPLE_RATE)
        for window_s in (1.0, 30.0)
    ]
    for name in ("interpretation", "residual", "mask", "sound"):
        assert torch.equal(*(getattr(result, name) for result in results))
    assert results[0].describe() == results[1].describe()


def test_the_timeline_shows_where_the_decision_is_from():
    """The network answers by level; only the middle of the recording is loud."""
    classifier = waveform_classifier(2)
    network = LevelDetector()
    classifier = replace_network(classifier, network)
    wav = 1e-3 * noise(1, 6 * SAMPLE_RATE)[0]
    wav[2 * SAMPLE_RATE : 4 * SAMPLE_RATE] *= 1000
    result = narrow(classifier).interpret_file(wav, "1", SAMPLE_RATE)
    best = max(result.timeline, key=lambda part: part.relevance)
    assert 1.5 < best.start_s < 4
    assert result.timeline[0].label == "0"
    assert result.timeline[0].relevance < 0.5 * best.relevance


class LevelDetector(torch.nn.Module):
    """Logits of silence and of sound, by the level."""

    def forward(self, wavs):
        level = wavs.square().mean(dim=1, keepdim=True)
        return torch.cat([0.0025 - level, level - 0.0025], dim=1) * 2000


def replace_network(classifier, network):
    from lmac_td.classifiers.modules import ModuleClassifier

    labels = [str(n) for n in range(classifier.n_classes)]
    return ModuleClassifier(network, SAMPLE_RATE, labels).freeze()


def test_silent_windows_are_skipped_and_a_silent_recording_is_refused():
    interpreter = narrow()
    wav = torch.zeros(4 * SAMPLE_RATE)
    wav[:SAMPLE_RATE] = noise(1)[0]
    sizes = counted(interpreter)
    result = interpreter.interpret_file(wav, sample_rate=SAMPLE_RATE)
    assert sum(n for n, _ in sizes) == 2  # from 0 s and from 0.5 s
    assert not result.interpretation[round(1.5 * SAMPLE_RATE) :].any()
    with pytest.raises(LoadAudioError, match="is silent"):
        interpreter.interpret_file(torch.zeros(16000), sample_rate=SAMPLE_RATE)


def test_a_decision_that_is_not_finite_is_refused():
    interpreter = narrow()
    parameters = list(interpreter.explainer.classifier.parameters())
    parameters[-1].data.fill_(torch.nan)
    with pytest.raises(DataError, match="decision of the classifier is not finite"):
        interpreter.interpret_file(noise(1)[0], sample_rate=SAMPLE_RATE)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_an_explanation_that_is_not_finite_is_refused(value):
    interpreter = narrow()

    def spoil(module, inputs, explanation):
        sound = explanation.interpretation.clone()
        sound[:, 100] = value
        return replace(explanation, interpretation=sound)

    interpreter.explainer.interpreter.register_forward_hook(spoil)
    with pytest.raises(DataError, match="explanation is not finite"):
        interpreter.interpret_file(noise(1)[0], sample_rate=SAMPLE_RATE)


def test_a_clip_that_is_a_little_longer_than_a_window_is_one_window(tmp_path):
    clip, rest = noise(1)[0], 0.1 * torch.ones(round(0.02 * SAMPLE_RATE))
    classifier = waveform_classifier()
    interpreter = narrow(classifier)
    sizes = counted(interpreter)
    longer = interpreter.interpret_file(
        torch.cat([clip, rest]), "1", SAMPLE_RATE, shares=[0.5]
    )
    assert sizes == [(1, SAMPLE_RATE)]
    alone = narrow(classifier).interpret_file(clip, "1", SAMPLE_RATE, shares=[0.5])
    assert longer.labels == alone.labels
    for name, end in (
        ("sound", rest),
        ("residual", rest),
        ("interpretation", 0 * rest),
    ):
        expected = torch.cat([getattr(alone, name), end])
        torch.testing.assert_close(getattr(longer, name), expected)
    assert longer.dial[0].probability == alone.dial[0].probability
    assert len(longer.dial[0].kept.tensor()) == len(longer.sound)
    assert [(part.start_s, part.end_s) for part in longer.timeline] == [(0, 1.02)]
    # The mask has the frames of the whole recording.
    n_frames = interpreter.explainer.features.n_frames(len(longer.sound))
    assert len(longer.mask) == n_frames > len(alone.mask)
    assert longer.page_clip(tmp_path).timeline == ()


def test_a_clip_that_is_clearly_longer_than_a_window_is_two_windows():
    interpreter = narrow()
    result = interpreter.interpret_file(
        noise(1, round(1.03 * SAMPLE_RATE))[0], "1", SAMPLE_RATE
    )
    assert len(result.timeline) == 2
    assert result.timeline[-1].end_s == pytest.approx(1.03)


def test_the_rest_behind_many_windows_is_removed():
    n_samples = 3 * SAMPLE_RATE + 100
    result = narrow(batch_size=2).interpret_file(
        noise(1, n_samples)[0], "1", SAMPLE_RATE
    )
    assert len(result.timeline) == 5
    assert result.timeline[-1].end_s == n_samples / SAMPLE_RATE
    assert torch.equal(result.residual[-100:], result.sound[-100:])
    torch.testing.assert_close(
        result.interpretation + result.residual, result.sound, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("n_samples", [800, 3000])
def test_a_recording_shorter_than_a_window_keeps_its_length(n_samples):
    result = narrow().interpret_file(noise(1, n_samples)[0], sample_rate=SAMPLE_RATE)
    assert len(result.interpretation) == len(result.residual) == n_samples


def test_clips_of_recipes_are_padded_and_have_a_peak_of_one(frozen):
    seen = []
    frozen.register_forward_hook(lambda module, inputs, output: seen.append(output))
    interpreter = AudioInterpreter.from_classifier(frozen, **QUICK, window_s=1.0)
    framing = replace(interpreter.explainer.framing, pad=True, normalise=True)
    explainer = replace(interpreter.explainer, framing=framing)
    interpreter.explainer = explainer
    quiet = 1e-3 * noise(1, 8000)[0]
    result = interpreter.interpret_file(quiet, sample_rate=SAMPLE_RATE)
    as_trained = torch.nn.functional.pad(quiet / quiet.abs().max(), (0, 8000))
    _, decision = decide(as_trained[None], explainer.features, frozen)
    expected = decision.probabilities.sort(descending=True).values[0]
    torch.testing.assert_close(torch.tensor(list(result.labels.values())), expected)
    torch.testing.assert_close(result.sound, quiet)
    torch.testing.assert_close(result.interpretation + result.residual, quiet)


def test_a_batch_is_explained_clip_by_clip():
    interpreter = narrow()
    wavs = noise(2)
    results = interpreter.interpret_batch(wavs, torch.tensor([1.0, 0.5]), target="1")
    assert [len(result.sound) for result in results] == [SAMPLE_RATE, SAMPLE_RATE // 2]
    alone = interpreter.interpret_file(wavs[0], "1", SAMPLE_RATE)
    torch.testing.assert_close(results[0].interpretation, alone.interpretation)
    with pytest.raises(SettingError, match="lengths has 1 entries for 2 clips"):
        interpreter.interpret_batch(wavs, [1.0])


def test_the_result_is_saved_as_sounds_a_figure_and_a_description(tmp_path):
    result = narrow().interpret_file(
        noise(1, 3 * SAMPLE_RATE)[0], sample_rate=SAMPLE_RATE, shares=[0.1, 1.0]
    )
    folder = result.save(tmp_path / "new" / "dog")
    assert {path.name for path in folder.iterdir()} == {
        "interpretation.wav", "residual.wav", "figure.png", "explanation.json"
    }  # fmt: skip
    for name in ("interpretation", "residual"):
        wav, rate = soundfile.read(folder / f"{name}.wav", dtype="float32")
        assert rate == SAMPLE_RATE
        torch.testing.assert_close(
            torch.from_numpy(wav), getattr(result, name), atol=1e-6, rtol=0
        )
    described = json.loads((folder / "explanation.json").read_text("utf-8"))
    assert described["target"] == result.target
    assert described["probability_kept"] == result.probability_kept
    assert [part["share"] for part in described["dial"]] == [0.1, 1.0]
    assert len(described["timeline"]) == 5


def test_the_page_gets_the_dial_of_a_long_recording(tmp_path):
    result = narrow().interpret_file(
        noise(1, 2 * SAMPLE_RATE)[0], sample_rate=SAMPLE_RATE, shares=SHARES
    )
    clip = result.page_clip(tmp_path)
    assert [step.share for step in clip.steps] == list(SHARES)
    assert clip.before[0][0] == clip.target
    assert len(clip.timeline) == 3
    whole, _ = soundfile.read(clip.sound, dtype="float32")
    assert len(whole) == 2 * SAMPLE_RATE
    for step in clip.steps:
        kept, removed = (
            soundfile.read(path, dtype="float32")[0]
            for path in (step.kept, step.removed)
        )
        np.testing.assert_allclose(kept + removed, whole, atol=1e-6)
        assert step.picture.is_file()
    np.testing.assert_allclose(kept, whole, atol=1e-6)  # all of the energy


def test_without_shares_the_page_shows_the_interpretation(tmp_path):
    result = narrow().interpret_file(noise(1)[0], sample_rate=SAMPLE_RATE)
    clip = result.page_clip(tmp_path)
    (step,) = clip.steps
    assert 0 < step.share < 1
    assert step.probability == result.probability_kept


def test_a_hugging_face_folder_is_opened(tmp_path):
    save_huggingface(tmp_path / "ast", config_of(AST))
    interpreter = AudioInterpreter.from_classifier(tmp_path / "ast", **QUICK)
    assert interpreter.explainer.framing.window_s < 2  # what the model takes
    result = interpreter.interpret_file(noise(1, 8000)[0], sample_rate=SAMPLE_RATE)
    assert result.target in interpreter.labels
    assert interpreter.explainer.classifier.frozen


def test_a_black_box_needs_a_method_that_perturbs():
    def loudness(wavs):
        level = np.sqrt((wavs**2).mean(axis=1))
        return np.stack([0.01 - level, level - 0.01], axis=1)

    classifier = BlackBoxClassifier(loudness, SAMPLE_RATE, ["quiet", "loud"])
    with pytest.raises(SettingError, match="is a black box: use a method"):
        AudioInterpreter.from_classifier(classifier, device="cpu")
    for method, options in (("occlusion", {}), ("rise", {"n_calls": 20})):
        interpreter = AudioInterpreter.from_classifier(
            classifier, method=method, device="cpu", **options
        )
        result = interpreter.interpret_file(noise(1)[0], "loud", SAMPLE_RATE, [0.5])
        assert result.method == method
        assert len(result.dial) == 1


def test_the_reference_classifier_is_the_default():
    interpreter = AudioInterpreter.from_classifier(**QUICK)
    assert interpreter.labels[:3] == ("dog", "rooster", "rain")
    framing = interpreter.explainer.framing
    assert (framing.window_s, framing.pad, framing.normalise) == (5, True, True)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"method": "evidense"}, SettingError, "method is 'evidense'.*evidence"),
        ({"kernals": 1}, SettingError, "no option 'kernals'.*kernels"),
        ({"keep": 2}, SettingError, "keep is 2"),
        ({"window_s": 0}, SettingError, "window_s"),
        ({"threshold": 0.3}, SettingError, "one label .*leave --threshold out"),
        ({"classifier": "no/such/folder"}, CheckpointError, "does not exist"),
    ],
)
def test_a_mistake_is_refused_with_a_sentence(options, error, says):
    options = {"classifier": waveform_classifier(), "device": "cpu", **options}
    with pytest.raises(error, match=says):
        AudioInterpreter.from_classifier(**options)


def test_a_folder_without_a_classifier_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no classifier"):
        AudioInterpreter.from_classifier(tmp_path)


def test_the_dial_goes_through_the_interpretation():
    interpreter = narrow(keep=0.3, kernels=[[515, 270], [80, 80]])
    result = interpreter.interpret_file(
        noise(1)[0], sample_rate=SAMPLE_RATE, shares=[0.1, 0.3]
    )
    kept = result.dial[1].kept.tensor()
    torch.testing.assert_close(kept, result.interpretation, atol=1e-5, rtol=0)
    assert result.dial[1].probability == pytest.approx(
        result.probability_kept, abs=1e-5
    )


@pytest.mark.parametrize("method", list(builders()))
def test_every_method_explains_a_recording(method):
    few = {"n_calls": 40, "steps": 2, "n_steps": 2, "n_samples": 2, "draws": 1}
    given = {name: n for name, n in few.items() if name in options_of(method)}
    interpreter = narrow_of(method, given)
    result = interpreter.interpret_file(noise(1)[0], "1", SAMPLE_RATE)
    kept = result.interpretation.square().sum() / result.sound.square().sum()
    assert 0.2 < float(kept) < 0.9  # half of the STFT's energy
    torch.testing.assert_close(
        result.interpretation + result.residual, result.sound, atol=1e-5, rtol=0
    )


def test_every_method_tells_what_it_does():
    for method in builders():
        about = narrow_of(method, {}).explainer.interpreter.about()
        assert about.startswith("A method without training: it "), about
        assert about.endswith(".")
        assert len(about) < 140
    trained = AudioInterpreter.from_hparams(run_opts={"device": "cpu"})
    result = trained.interpret_file(noise(1)[0], sample_rate=SAMPLE_RATE)
    assert result.about.startswith("A trained network: it scores how much each part")


def options_of(method):
    kind = SCORES.get(method) or ATTRIBUTIONS[method]
    return accepted_options(kind)


def narrow_of(method, options):
    return AudioInterpreter.from_classifier(
        waveform_classifier(), method=method, device="cpu", window_s=1.0, **options
    )
