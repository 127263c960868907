"""A function from waveforms to scores is a classifier without gradients."""

import functools

import numpy as np
import pytest
import torch

from lmac_td.classifiers.black_box import BlackBoxClassifier
from lmac_td.errors import SettingError
from tests.networks import noise


def levels(wavs):
    """Three logits from a waveform's level, peak and mean."""
    return np.stack([wavs.std(axis=1), np.abs(wavs).max(axis=1), wavs.mean(axis=1)], 1)


def ask(function, **settings):
    settings = {"labels": 3} | settings
    return BlackBoxClassifier(function, 16000, **settings).freeze()


def test_logits_are_those_of_the_function():
    wavs = noise()
    decision = ask(levels).decide(wavs)
    np.testing.assert_array_equal(decision.logits.numpy(), levels(wavs.numpy()))
    assert decision.logits.dtype == torch.float32
    assert decision.target.tolist() == [1, 1]


def test_it_has_neither_gradients_nor_representations():
    classifier = ask(levels)
    assert not classifier.differentiable
    assert classifier.geometry == ()
    assert not classifier.takes_spectrograms
    decision = classifier.decide(noise().requires_grad_())
    assert decision.representations == ()
    assert not decision.logits.requires_grad


def test_it_takes_a_copy_in_float32_on_the_cpu():
    seen = []

    def overwriting(wavs):
        seen.append((type(wavs), wavs.dtype, wavs.flags.c_contiguous))
        scores = levels(wavs)
        wavs[:] = 0
        return scores

    wavs = noise(4).to(torch.bfloat16).mT.contiguous().mT
    before = wavs.clone()
    ask(overwriting).decide(wavs)
    assert seen == [(np.ndarray, np.float32, True)]
    assert torch.equal(wavs, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_logits_are_on_the_device_of_the_sounds():
    assert ask(levels).decide(noise().cuda()).logits.device.type == "cuda"


def test_several_batches_are_one_call():
    calls = []

    def counted(wavs):
        calls.append(len(wavs))
        return levels(wavs)

    wavs = noise(3)
    with torch.no_grad():
        first, rest = ask(counted).classify(wavs[:1], wavs[1:])
    assert calls == [3]
    np.testing.assert_array_equal(torch.cat([first, rest]), levels(wavs.numpy()))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_out_are_returned_unchanged(activation):
    given = [[0.2, 0.5, 0.3], [0.1, 0.8, 0.1]]
    classifier = ask(lambda _: given, activation=activation, probabilities_out=True)
    torch.testing.assert_close(
        classifier.decide(noise()).probabilities, torch.tensor(given)
    )


@pytest.mark.parametrize(
    ("scores", "settings", "reason"),
    [
        (np.zeros((2, 4)), {}, r"returns \(2, 4\) for 2 clips and 3 labels"),
        (np.zeros(3), {}, r"returns \(3,\) for 2 clips"),
        (np.full((2, 3), np.nan), {}, "are not finite"),
        ({"scores": 1}, {}, "returns a dict: return an array"),
        ([[1, 2, 3], [1, 2]], {}, "returns a list: return an array"),
        (np.full((2, 3), 1.5), {"probabilities_out": True}, "below 0 or above 1"),
    ],
)
def test_other_outputs_are_refused_by_name(scores, settings, reason):
    def tagger(wavs):
        return scores

    with pytest.raises(SettingError, match=f"tagger .*{reason}"):
        ask(tagger, **settings).decide(noise())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"function": "tagger.onnx"}, "function is a str: give a callable"),
        ({"activation": "relu"}, "activation is 'relu'"),
        ({"threshold": 0}, "tag_threshold is 0"),
        ({"labels": 0}, "labels is 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, reason):
    with pytest.raises(SettingError, match=reason):
        ask(**({"function": levels} | settings))


def test_a_function_of_a_recipe_keeps_its_name():
    assert ask(functools.partial(levels)).name == "levels"
