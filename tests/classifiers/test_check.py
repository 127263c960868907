"""The check at loading: good classifiers pass silently, broken ones are named."""

import pytest
import torch
from torch import nn

from lmac_td.classifiers.black_box import BlackBoxClassifier
from lmac_td.classifiers.check import check_classifier
from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.contracts import Classifier, Geometry
from lmac_td.errors import CheckpointError, SettingError, UserError
from lmac_td.features import SpectralFeatures
from tests.networks import spectrogram_classifier, waveform_classifier

RATE = 8000
N_SAMPLES = 4000
N_FFT, WIN_MS, HOP_MS = 256, 32, 16
FEATURES = SpectralFeatures(RATE, N_FFT, WIN_MS, HOP_MS)


class SmallCnn(Classifier):
    """On waveforms; what the tests break."""

    name = "SmallCnn"

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv = nn.Conv1d(1, 4, 64, stride=32)
            self.norm = nn.BatchNorm1d(4)
            self.dropout = nn.Dropout(0.5)
            self.head = nn.Linear(4, 3)
        self.sample_rate = RATE
        self.labels = ("dog", "rain", "siren")
        self.geometry = (Geometry("conv", 4, 1, 32, 31.5),)

    def inputs(self, wavs):
        return wavs.unsqueeze(1)

    def run(self, inputs):
        x = self.dropout(self.norm(self.conv(inputs)).relu())
        return self.head(x.mean(dim=2)), (x.unsqueeze(3),)


class OnMagnitude(SmallCnn):
    """On the square root of |STFT|."""

    name = "OnMagnitude"

    def __init__(self, features=FEATURES):
        super().__init__()
        self.spectrogram = features
        self.conv = nn.Conv1d(features.n_bins, 4, 1)

    def inputs(self, wavs):
        return self.inputs_of_spectrogram(self.spectrogram(wavs).magnitude)

    def inputs_of_spectrogram(self, magnitude):
        return (magnitude + 1e-6).sqrt().transpose(1, 2)


def check(classifier, frozen=True):
    return check_classifier(
        classifier.freeze() if frozen else classifier, FEATURES, N_SAMPLES
    )


def refusal(classifier, frozen=True, error=SettingError):
    """Return the message of the refusal; it names the classifier."""
    with pytest.raises(UserError) as caught:
        check(classifier, frozen)
    assert type(caught.value) is error
    sentence = str(caught.value)
    assert sentence.startswith(classifier.name)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("kind", [SmallCnn, OnMagnitude])
def test_a_good_classifier_passes_without_a_note(kind):
    classifier = kind()
    assert check(classifier) == []
    assert classifier.dither_db is None


def test_cnn14_passes_without_a_note():
    features = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    classifier = Cnn14Classifier(features, 80, (2, 4, 4, 8, 8), 8, 10).freeze()
    assert check_classifier(classifier, features, 16000) == []


def test_the_adapters_of_modules_and_black_boxes_pass_without_a_note():
    waveform, spectrogram = waveform_classifier(), spectrogram_classifier()
    black_box = BlackBoxClassifier(lambda wavs: wavs[:, :3], 16000, ["a", "b", "c"])
    for classifier in (waveform, spectrogram, black_box):
        features = spectrogram.spectrogram
        assert check_classifier(classifier.freeze(), features, 16000) == []


def test_nothing_is_changed_or_left_behind():
    classifier = SmallCnn().freeze()
    weights = {k: v.clone() for k, v in classifier.state_dict().items()}
    modes = [module.training for module in classifier.modules()]
    rng = torch.get_rng_state()
    check(classifier)
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(v, weights[k]) for k, v in classifier.state_dict().items())
    assert [module.training for module in classifier.modules()] == modes
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_it_works_for_callers_without_gradients():
    with torch.no_grad():
        assert check(SmallCnn()) == []


def test_a_classifier_without_representations_passes():
    class Plain(SmallCnn):
        def run(self, inputs):
            return super().run(inputs)[0], ()

    classifier = Plain()
    classifier.geometry = ()
    assert check(classifier) == []


def test_a_black_box_needs_no_gradients():
    class BlackBox(SmallCnn):
        differentiable = False

        @torch.no_grad()
        def run(self, inputs):
            return super().run(torch.from_numpy(inputs.numpy().copy()))

    assert check(BlackBox()) == []


# The attributes of a classifier.


def test_another_sample_rate_is_refused():
    classifier = SmallCnn()
    classifier.sample_rate = 32000
    assert "give --sample_rate 32000" in refusal(classifier)


@pytest.mark.parametrize(
    ("stft", "remedy"),
    [
        ((512, WIN_MS, HOP_MS), "give --n_fft 512"),
        ((N_FFT, 16, HOP_MS), "give --win_length 16.0000"),
        ((N_FFT, WIN_MS, 8), "give --hop_length 8.0000"),
    ],
)
def test_spectrograms_of_another_stft_are_refused(stft, remedy):
    assert remedy in refusal(OnMagnitude(SpectralFeatures(RATE, *stft)))


def test_spectrograms_of_another_window_are_refused():
    features = SpectralFeatures(RATE, N_FFT, WIN_MS, HOP_MS)
    features.window.copy_(torch.hann_window(len(features.window)))
    assert "another window" in refusal(OnMagnitude(features))


def test_inputs_of_a_spectrogram_that_are_not_those_of_the_sound_are_refused():
    class Power(OnMagnitude):
        def inputs(self, wavs):
            return super().inputs_of_spectrogram(self.spectrogram(wavs).magnitude ** 2)

    assert "inputs_of_spectrogram() of |STFT| differs from inputs()" in refusal(Power())


@pytest.mark.parametrize(
    ("attribute", "value", "part"),
    [
        ("activation", "relu", "give softmax or sigmoid"),
        ("threshold", 0.0, "a number between 0 and 1"),
        ("threshold", 1.0, "a number between 0 and 1"),
        ("threshold", None, "a number between 0 and 1"),
        ("labels", (), "has no labels"),
        ("labels", ("dog",), "has one class and the activation softmax"),
        ("labels", ("dog", "", "rain"), "class 1 has an empty label"),
        ("labels", ("dog", "rain", "dog"), "2 classes are labelled 'dog'"),
        ("labels", ("dog", "rain"), "not (2, 2)"),
        ("geometry", (), "geometry describes 0"),
        ("geometry", (Geometry("conv", 5, 1, 32, 0),), "not (2, 5, time, 1)"),
        ("geometry", (Geometry("conv", 4, 2, 32, 0),), "not (2, 4, time, 2)"),
    ],
)
def test_a_wrong_attribute_is_refused(attribute, value, part):
    classifier = SmallCnn()
    setattr(classifier, attribute, value)
    assert part in refusal(classifier)


# Frozen.


def test_a_parameter_that_takes_gradients_is_refused():
    sentence = refusal(SmallCnn(), frozen=False)
    assert "its parameter conv.weight takes gradients; call freeze()" in sentence


def test_a_classifier_that_train_puts_into_training_is_refused():
    classifier = SmallCnn()
    classifier.requires_grad_(False).eval()
    modes = [module.training for module in classifier.modules()]
    assert "train() puts it into training mode" in refusal(classifier, frozen=False)
    assert [module.training for module in classifier.modules()] == modes


def test_a_module_that_is_left_in_training_mode_is_refused():
    class Forgetful(SmallCnn):
        def train(self, mode=True):
            super().train(mode)
            self.norm.training = True
            return self

    assert "train() puts its norm into training mode" in refusal(Forgetful())


# What it returns.


def broken_run(run):
    """A classifier whose ``run`` is a function of what the good one returns."""

    class Broken(SmallCnn):
        name = "Broken"

        def run(self, inputs):
            return run(*super().run(inputs))

    return Broken()


@pytest.mark.parametrize(
    ("run", "part"),
    [
        (lambda logits, values: logits, "run() returns a Tensor"),
        (lambda logits, values: (logits, values[0]), "returns (Tensor, Tensor)"),
        (lambda logits, values: [logits, values], "run() returns a list"),
        (lambda logits, values: (logits[:1], values), "are (1, 3), not (2, 3)"),
        (lambda logits, values: (logits[0], values), "are (3,), not (2, 3)"),
        (lambda logits, values: (logits, (values[0][..., 0],)), "(2, 4, time, 1)"),
        (lambda logits, values: (logits, (values[0][:, :3],)), "(2, 4, time, 1)"),
        (lambda logits, values: (logits, values * 2), "returns 2 representations"),
        (lambda logits, values: (logits, (None,)), "representation conv is"),
    ],
)
def test_outputs_of_another_shape_are_refused(run, part):
    assert part in refusal(broken_run(run))


def test_a_batch_axis_that_is_squeezed_away_is_refused():
    sentence = refusal(broken_run(lambda logits, values: (logits.squeeze(), values)))
    assert "its logits for 1 clips are (3,)" in sentence


def test_an_error_of_the_network_is_one_sentence():
    class FixedLength(SmallCnn):
        def run(self, inputs):
            return super().run(inputs.reshape(-1, 1, 16000))

    sentence = refusal(FixedLength())
    assert "cannot take 4000 samples of 2 clips (RuntimeError: " in sentence
    assert "check signal_length_s" in sentence


def test_logits_that_are_not_finite_are_refused():
    classifier = SmallCnn()
    classifier.head.weight.data[0, 0] = torch.nan
    sentence = refusal(classifier, error=CheckpointError)
    assert "its logits for noise or silence are not finite" in sentence
    assert classifier.dither_db is None


# Each clip for itself, twice the same.


def over_batch(x):
    return x - x.mean(dim=0)


def running_over_batch(x):
    return x.cumsum(dim=0)


def first_of_batch(x):
    return x[:1].expand_as(x) * 1.0


def last_of_batch(x):
    return x[-1:].expand_as(x) * 1.0


@pytest.mark.parametrize(
    "mix", [over_batch, running_over_batch, first_of_batch, last_of_batch]
)
def test_a_classifier_that_mixes_clips_is_refused(mix):
    sentence = refusal(broken_run(lambda logits, values: (mix(logits), values)))
    assert "the same clip alone have different outputs (logits)" in sentence


def test_representations_that_mix_clips_are_refused():
    sentence = refusal(
        broken_run(lambda logits, values: (logits, (over_batch(values[0]),)))
    )
    assert "different outputs (representation conv)" in sentence


class EmbeddingAndHead(SmallCnn):
    """A classifier that expects two values of its embedding model, as of CNN14."""

    name = "EmbeddingAndHead"

    def __init__(self, embedding_model):
        super().__init__()
        self.embedding_model = embedding_model.eval()
        self.head = nn.LazyLinear(3)
        self.head(self.embedding_model(torch.randn(1, 30, 16))[0])
        self.geometry = ()

    def inputs(self, wavs):
        return FEATURES(wavs).magnitude.clamp(min=1e-3).log()[..., :16]

    def run(self, inputs):
        embedding, representations = self.embedding_model(inputs)
        logits = self.head(embedding).expand(len(inputs), -1)
        return logits, tuple(representations.split(1))[:0]


def test_an_embedding_that_is_unpacked_along_the_batch_axis_is_refused():
    """One tensor of two clips unpacks into two values without an error."""
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

    ecapa = ECAPA_TDNN(
        16, channels=[8] * 5, lin_neurons=6, attention_channels=4, se_channels=4,
        res2net_scale=2,
    )  # fmt: skip
    classifier = EmbeddingAndHead(ecapa).freeze()
    wavs = torch.randn(2, N_SAMPLES)
    logits = classifier.decide(wavs).logits
    assert logits.shape == (2, 3)  # silently wrong: both are the first clip's
    assert torch.equal(logits[0], logits[1])
    sentence = refusal(classifier)
    assert "can take two clips but not one (ValueError: not enough values" in sentence
    assert "do not unpack, squeeze or reshape the batch axis" in sentence


def test_dropout_that_stays_on_is_refused():
    class Noisy(SmallCnn):
        def run(self, inputs):
            return super().run(nn.functional.dropout(inputs, 0.1, training=True))

    assert "two calls with the same clip give different outputs" in refusal(Noisy())


def test_a_tiny_difference_between_two_calls_is_refused():
    class Stateful(SmallCnn):
        calls = 0

        def run(self, inputs):
            self.calls += 1
            logits, values = super().run(inputs)
            return logits + 1e-6 * self.calls, values

    assert "evaluation mode, without dropout, random crops" in refusal(Stateful())


# Gradients.


@pytest.mark.parametrize(
    "inputs",
    [
        lambda wavs: wavs.detach().unsqueeze(1),
        lambda wavs: torch.from_numpy(wavs.detach().numpy().copy()).unsqueeze(1),
    ],
)
def test_gradients_that_do_not_reach_the_waveform_are_refused(inputs):
    classifier = SmallCnn()
    classifier.inputs = inputs
    sentence = refusal(classifier)
    assert "its gradients do not reach the waveform" in sentence
    assert "differentiable = False" in sentence


def test_gradients_that_are_all_zero_are_refused():
    classifier = SmallCnn()
    classifier.inputs = lambda wavs: wavs.round(decimals=3).unsqueeze(1)
    assert "gradients with respect to noise are all zero" in refusal(classifier)


def test_a_backward_pass_that_fails_is_one_sentence():
    class NoBackward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise RuntimeError("only in training mode")

    classifier = SmallCnn()
    classifier.inputs = lambda wavs: NoBackward.apply(wavs.unsqueeze(1))
    sentence = refusal(classifier)
    assert "gives no gradients (RuntimeError: only in training mode)" in sentence
    assert "a backward pass in evaluation mode" in sentence


@pytest.mark.parametrize(
    "inputs",
    [
        lambda wavs: wavs.square().unfold(1, 32, 32).sum(2).sqrt(),  # at any silence
        lambda wavs: (
            wavs / wavs.square().sum(1, keepdim=True).sqrt()
        ),  # at an empty one
    ],
    ids=["a pause", "an empty clip"],
)
def test_gradients_at_silence_are_fixed_by_dither_that_is_reported(inputs):
    class Level(SmallCnn):
        name = "Level"

        def inputs(self, wavs):
            x = inputs(wavs)
            return nn.functional.interpolate(x.unsqueeze(1), size=N_SAMPLES)

    classifier = Level()
    (note,) = check(classifier)
    assert classifier.dither_db == -100
    assert note.startswith("Level: its ")
    assert "at digital silence are not finite" in note
    assert "-100 dB" in note
    silence = torch.zeros(1, N_SAMPLES, requires_grad=True)
    classifier.decide(silence).logits.sum().backward()
    assert silence.grad.isfinite().all()
    assert check(classifier) == []  # with its dither it is a good classifier


def test_gradients_that_dither_does_not_help_are_refused():
    classifier = SmallCnn()
    # The threshold turns dither of -100 dB into silence again.
    classifier.inputs = lambda wavs: (
        (wavs.square() * (wavs.abs() > 1e-3)).sqrt().unsqueeze(1)
    )
    assert "dither of -100 dB does not change that" in refusal(classifier)
    assert classifier.dither_db is None
