"""Any PyTorch network is a classifier: its inputs, outputs, settings and weights."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from torch import nn

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.classifiers.logits import logits_of_probabilities, mean_of_top_frames
from lmac_td.classifiers.modules import ModuleClassifier
from lmac_td.classifiers.weights import load_weights
from lmac_td.errors import CheckpointError, SettingError
from lmac_td.features import SpectralFeatures
from lmac_td.sanity.cascade import cascade
from tests.classifiers.module_helpers import Sequence, classify
from tests.networks import (
    SAMPLE_RATE,
    ImageCnn,
    SquareRootImage,
    WaveformCnn,
    noise,
    spectrogram_classifier,
    square_root_features,
    waveform_classifier,
)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Returns(nn.Module):
    """A network that applies a function to the waveforms."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, wavs):
        return self.function(wavs)


class Mean(nn.Module):
    """The mean over time."""

    def forward(self, x):
        return x.mean(dim=2)


class Scaled(nn.Module):
    """A network with a parameter of its own beside a layer."""

    def __init__(self, inner):
        super().__init__()
        self.scale = nn.Parameter(torch.arange(1.0, 801.0))
        self.inner = inner

    def forward(self, wavs):
        return self.inner(self.scale * wavs)


class TestDecision:
    def test_logits_are_those_of_the_network(self):
        classifier, wavs = waveform_classifier(), noise()
        torch.testing.assert_close(
            classifier.decide(wavs).logits, classifier.network(wavs), rtol=0, atol=0
        )

    def test_representations_are_what_the_modules_return_deepest_first(self):
        classifier, wavs = waveform_classifier(), noise()
        network = classifier.network
        relu2 = network.relu2(
            network.conv2(network.relu1(network.conv1(wavs.unsqueeze(1))))
        )
        relu3 = network.relu3(network.conv3(relu2))
        deep, shallow = classifier.decide(wavs).representations
        torch.testing.assert_close(deep.values[..., 0], relu3, rtol=0, atol=0)
        torch.testing.assert_close(shallow.values[..., 0], relu2, rtol=0, atol=0)

    def test_images_come_in_the_order_time_frequency(self):
        classifier = spectrogram_classifier()
        images = classifier.inputs(noise())
        network = classifier.network
        x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
        shallow = classifier(images).representations[1]
        torch.testing.assert_close(
            shallow.values, network.layer1(x).transpose(2, 3), rtol=0, atol=0
        )
        assert shallow.values.shape[2:] == (16, 65)  # frames, bins by four

    def test_classify_answers_several_batches_in_one_pass(self):
        classifier, wavs = waveform_classifier(), noise(3)
        first, rest = classifier.classify(wavs[:1], wavs[1:])
        torch.testing.assert_close(
            torch.cat([first, rest]), classifier.network(wavs), rtol=0, atol=0
        )

    def test_gradients_reach_the_waveform_but_no_weights(self):
        for classifier in (waveform_classifier(), spectrogram_classifier()):
            wavs = noise().requires_grad_()
            classifier.decide(wavs).logits[:, 0].sum().backward()
            assert wavs.grad.isfinite().all()
            assert (wavs.grad != 0).any(dim=1).all()
            assert all(p.grad is None for p in classifier.parameters())

    @pytest.mark.parametrize("names", [[1, 0], {1: None, 0: None}, ["1", "0"]])
    def test_modules_of_a_sequential_are_named_by_numbers(self, names):
        network = nn.Sequential(
            nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 2, 8, stride=4), Mean()
        )
        classifier = classify(network, 2, representations=names)
        assert [place.name for place in classifier.geometry] == ["1", "0"]

    def test_no_hook_is_left(self):
        classifier = waveform_classifier()
        classifier.decide(noise())
        assert not any(m._forward_hooks for m in classifier.modules())

    def test_a_copy_uses_its_own_weights(self):
        classifier, wavs = waveform_classifier(), noise()
        duplicate = copy.deepcopy(classifier)
        nn.init.zeros_(duplicate.network.conv2.weight)
        nn.init.zeros_(duplicate.network.conv2.bias)
        assert duplicate.decide(wavs).representations[1].values.abs().max() == 0
        assert classifier.decide(wavs).representations[1].values.abs().max() > 0

    def test_tags_have_probabilities_of_their_own(self):
        classifier = waveform_classifier(activation="sigmoid", threshold=0.3)
        decision = classifier.decide(noise())
        torch.testing.assert_close(decision.probabilities, decision.logits.sigmoid())
        assert classifier.threshold == 0.3

    @pytest.mark.parametrize(
        ("network", "names"),
        [
            (nn.Linear(800, 2), ["network"]),
            (nn.Sequential(nn.Sequential(nn.Linear(800, 2))), ["0"]),
            (Scaled(nn.Linear(800, 2)), ["inner", "parameters"]),
            (nn.Sequential(Scaled(nn.Linear(800, 2))), ["inner", "parameters"]),
        ],
    )
    def test_stages_of_one_layer_and_of_parameters_beside_it(self, network, names):
        classifier = classify(network, 2)
        before = {name: p.clone() for name, p in classifier.named_parameters()}
        reached = []
        for stage in cascade(classifier):
            reached.append(stage)
            after = dict(classifier.named_parameters())
        assert reached == names
        held = {
            id(p)
            for group in classifier.stages().values()
            for module in group
            for p in module.parameters()
        }
        assert held == {id(p) for p in classifier.parameters()}
        for name, parameter in after.items():
            assert torch.equal(parameter, before[name])  # restored

    def test_stages_hold_every_parameter_from_the_logits_to_the_input(self):
        classifier = waveform_classifier()
        stages = classifier.stages()
        assert list(stages) == ["head", "conv3", "conv2", "conv1"]
        held = {
            id(p) for group in stages.values() for m in group for p in m.parameters()
        }
        assert held == {id(p) for p in classifier.parameters()}


class Cnn14AndHead(nn.Module):
    """CNN14 as a network that returns only logits."""

    def __init__(self, classifier):
        super().__init__()
        self.body = classifier.embedding_model
        self.head = classifier.classifier

    def forward(self, log_mel):
        embedding, _ = self.body(log_mel)
        return self.head(embedding)


def test_cnn14_by_its_modules_is_cnn14_by_its_own_adapter():
    features = SpectralFeatures(SAMPLE_RATE, 1024, 23.2199, 11.6099)
    own = Cnn14Classifier(features, 80, (2, 4, 4, 8, 8), 8, 3).freeze()
    layers = ["conv_block6", "conv_block5", "conv_block4", "conv_block3"]
    hooked = classify(
        Cnn14AndHead(own), front_end=own.mel, features=features,
        representations=[f"body.{layer}" for layer in layers],
    )  # fmt: skip
    wavs = noise()
    expected, found = own.decide(wavs), hooked.decide(wavs)
    assert torch.equal(found.logits, expected.logits)
    for mine, theirs in zip(
        found.representations, expected.representations, strict=True
    ):
        assert torch.equal(mine.values, theirs.values)
        assert mine.geometry.name == f"body.{theirs.geometry.name}"
        assert replace(mine.geometry, name="") == replace(theirs.geometry, name="")
        assert mine.geometry.bands.shape == theirs.geometry.bands.shape
    assert hooked.mel is own.mel


class TestFrontEnd:
    def test_a_spectrogram_front_end_takes_the_magnitude_of_the_features(self):
        classifier, wavs = spectrogram_classifier(), noise()
        magnitude = square_root_features()(wavs).magnitude
        assert classifier.takes_spectrograms
        torch.testing.assert_close(
            classifier.inputs_of(magnitude=magnitude), classifier.inputs_of(wavs)
        )
        torch.testing.assert_close(
            classifier.inputs(wavs)[:, 0], magnitude.clamp(min=1e-8).sqrt().mT
        )

    def test_the_gradient_of_digital_silence_is_finite(self):
        wavs = torch.zeros(2, SAMPLE_RATE, requires_grad=True)
        spectrogram_classifier().decide(wavs).logits.sum().backward()
        assert wavs.grad.isfinite().all()

    def test_without_features_it_takes_waveforms(self):
        classifier = waveform_classifier(front_end=lambda wavs: wavs / 2)
        wavs = noise()
        assert not classifier.takes_spectrograms
        torch.testing.assert_close(classifier.inputs(wavs), wavs / 2)
        with pytest.raises(SettingError, match="WaveformCnn takes waveforms, not"):
            classifier.inputs_of_spectrogram(torch.rand(2, 10, 257))

    def test_features_without_a_front_end_are_refused(self):
        with pytest.raises(SettingError, match=r"features is given, but no front_end"):
            classify(ImageCnn(3), features=square_root_features())

    def test_features_at_another_rate_are_refused(self):
        with pytest.raises(SettingError, match="features is at 16000 Hz"):
            ModuleClassifier(
                ImageCnn(3), 8000, 3,
                front_end=SquareRootImage(), features=square_root_features(),
            )  # fmt: skip

    def test_clips_shorter_than_the_networks_are_followed_by_silence(self):
        classifier = classify(nn.Linear(800, 3), clip_samples=800)
        wavs = noise(n_samples=500)
        torch.testing.assert_close(
            classifier.decide(wavs).logits,
            classifier.network(torch.cat([wavs, torch.zeros(2, 300)], dim=1)),
        )
        with pytest.raises(SettingError, match=r"clips of 800 samples .* not of 801"):
            classifier.decide(noise(n_samples=801))

    def test_spectrograms_shorter_than_the_networks_are_followed_by_silence(self):
        network = nn.Sequential(nn.Flatten(), nn.Linear(257 * 11, 3))
        classifier = classify(
            network, clip_samples=2560, front_end=nn.Identity(),
            features=square_root_features(),
        )  # fmt: skip
        wavs = noise(n_samples=2000)
        magnitude = square_root_features()(wavs).magnitude
        inputs = classifier.inputs(wavs)
        assert inputs.shape == (2, 11, 257)
        torch.testing.assert_close(inputs[:, :8], magnitude)
        assert inputs[:, 8:].abs().max() == 0
        torch.testing.assert_close(classifier.inputs_of(magnitude=magnitude), inputs)
        with pytest.raises(SettingError, match=r"clips of 11 frames .* not of 12"):
            classifier.decide(noise(n_samples=2816))


class TestOutput:
    def test_a_key_or_an_index_says_where_the_logits_are(self):
        logits = torch.rand(2, 3)
        for output, where in (
            ((torch.rand(2, 9), logits), 1),
            ({"embedding": torch.rand(2, 9), "logits": logits}, "logits"),
            (SimpleNamespace(logits=logits), "logits"),
        ):
            classifier = classify(Returns(lambda _, o=output: o), output=where)
            assert torch.equal(classifier.decide(noise()).logits, logits)

    @pytest.mark.parametrize(
        ("output", "settings", "reason"),
        [
            (
                (torch.rand(2, 3),) * 2,
                {},
                r"a tuple of 2: \(2, 3\); \(2, 3\): give the",
            ),
            ({"a": 1, "b": 2}, {}, "a dict with 'a', 'b': give the key"),
            ({"a": 1, "b": 2}, {"output": "c"}, "output is 'c', but Returns returns a"),
            ({"a": 1, "b": 2}, {"output": "a"}, "output is 'a', but Returns returns a"),
            (
                torch.rand(2, 2, 3),
                {"output": 0},
                "returns one tensor .*leave output out",
            ),
            (None, {}, "returns a NoneType: give the key"),
            (torch.rand(2, 4), {}, r"\(2, 4\) for 2 clips, not \(B, 3\) for its 3 lab"),
            (torch.rand(3, 3), {}, r"\(3, 3\) for 2 clips"),
            (torch.rand(2, 5, 3), {}, "if it scores frames, give top_frames"),
            (torch.rand(2, 3), {"top_frames": 2}, "leave top_frames out"),
            (torch.rand(2, 5, 4), {"top_frames": 2}, r"not \(B, frames, 3\)"),
        ],
    )
    def test_anything_else_is_refused(self, output, settings, reason):
        classifier = classify(Returns(lambda _: output), **settings)
        with pytest.raises(SettingError, match=reason):
            classifier.decide(noise())

    def test_a_tuple_is_not_taken_along_its_batch(self):
        """A batch of two clips must not be unpacked as two values."""
        classifier = classify(Returns(lambda wavs: (wavs[:, :3], wavs[:, :3])))
        with pytest.raises(SettingError, match="a tuple of 2"):
            classifier.decide(noise(2))

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_probabilities_out_are_returned_unchanged(self, activation):
        given = torch.tensor([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]])
        classifier = classify(
            Returns(lambda _: given), activation=activation, probabilities_out=True
        )
        decision = classifier.decide(noise())
        assert decision.logits.isfinite().all()
        torch.testing.assert_close(decision.probabilities, given, rtol=0, atol=3e-6)


class TestFrames:
    @pytest.mark.parametrize("top_frames", [1, 3, 50])
    def test_the_mean_of_the_top_frames_literally(self, top_frames):
        logits = torch.randn(4, 7, 3)
        pooled = mean_of_top_frames(logits, top_frames)
        for clip in range(4):
            for label in range(3):
                scores = sorted(logits[clip, :, label].tolist(), reverse=True)
                highest = scores[:top_frames]
                expected = sum(highest) / len(highest)
                assert pooled[clip, label].item() == pytest.approx(expected, abs=1e-6)

    def test_gradients_reach_only_the_top_frames(self):
        logits = torch.tensor([[[1.0], [5.0], [3.0]]], requires_grad=True)
        mean_of_top_frames(logits, 2).sum().backward()
        assert logits.grad[0, :, 0].tolist() == [0, 0.5, 0.5]

    def test_the_top_frames_decide(self):
        classifier, wavs = classify(Sequence(frames=True), top_frames=4), noise()
        frames = classifier.network(wavs)
        torch.testing.assert_close(
            classifier.decide(wavs).logits, mean_of_top_frames(frames, 4)
        )

    def test_logits_of_sigmoids_are_taken_before_the_mean(self):
        frames = torch.rand(2, 9, 3)
        classifier = classify(
            Returns(lambda _: frames), activation="sigmoid", top_frames=2,
            probabilities_out=True,
        )  # fmt: skip
        torch.testing.assert_close(
            classifier.decide(noise()).logits, mean_of_top_frames(frames.logit(), 2)
        )


def test_logits_of_probabilities_literally():
    p = torch.tensor([0.0, 0.25, 1.0])
    clamped = [1e-6, 0.25, 1 - 1e-6]
    sigmoid = torch.tensor([q / (1 - q) for q in clamped]).log()
    torch.testing.assert_close(
        logits_of_probabilities(p, "sigmoid"), sigmoid, rtol=0, atol=0.1
    )
    torch.testing.assert_close(
        logits_of_probabilities(p, "softmax"), torch.tensor(clamped).log()
    )


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "reason"),
        [
            ({"activation": "tanh"}, "activation is 'tanh'"),
            ({"threshold": 1.5}, "tag_threshold is 1.5"),
            ({"top_frames": 0}, "top_frames is 0: give a whole number above 0"),
            ({"top_frames": 2.5}, "top_frames is 2.5"),
            ({"labels": []}, r"labels is \[\]"),
            ({"labels": ["dog", "dog"]}, "labels has 'dog' twice"),
            ({"labels": 2.5}, "labels is 2.5"),
            ({"labels": "missing.txt"}, r"missing.txt cannot be read \(FileNotFound"),
        ],
    )
    def test_a_value_that_cannot_work(self, settings, reason):
        with pytest.raises(SettingError, match=reason):
            classify(WaveformCnn(3), **settings)

    def test_a_function_is_pointed_to_the_black_box(self):
        with pytest.raises(SettingError, match="BlackBoxClassifier for a function"):
            classify(lambda wavs: wavs)

    def test_labels_of_a_file(self, tmp_path):
        (tmp_path / "labels.txt").write_text("dog\nsea waves\n\nrain\n")
        classifier = classify(WaveformCnn(3), labels=tmp_path / "labels.txt")
        assert classifier.labels == ("dog", "sea waves", "rain")


class TestWeights:
    @pytest.fixture(params=["weights.pt", "weights.safetensors"])
    def path(self, request, tmp_path):
        path = tmp_path / request.param
        state = WaveformCnn(3).state_dict()
        if path.suffix == ".pt":
            torch.save(state, path)
        else:
            safetensors.torch.save_file(state, path)
        return path

    def test_they_are_loaded_by_either_way(self, path):
        first = classify(WaveformCnn(3), weights=path)
        second = classify(WaveformCnn(3))
        second.load(str(path), "downloads")
        assert torch.equal(first.network.conv1.weight, second.network.conv1.weight)
        assert not first.network.conv1.weight.requires_grad

    def test_none_are_loaded_where_none_are_named(self):
        classifier = classify(WaveformCnn(3))
        before = classifier.network.conv1.weight.clone()
        classifier.load(None, "downloads")
        assert torch.equal(classifier.network.conv1.weight, before)

    def test_those_of_another_network_are_refused(self, path):
        with pytest.raises(
            CheckpointError, match=r"its conv1.weight is .*as it was tr"
        ):
            classify(WaveformCnn(3, channels=(5, 6, 8)), weights=path)

    def test_a_damaged_file_is_refused_and_kept(self, path):
        path.write_bytes(b"damaged")
        with pytest.raises(CheckpointError, match="is corrupt or is not a checkpoint"):
            classify(WaveformCnn(3), weights=path)
        assert path.exists()

    def test_a_missing_file_is_named_with_its_setting(self, tmp_path):
        with pytest.raises(
            CheckpointError, match=r"weights: .*missing.pt is not a file"
        ):
            classify(WaveformCnn(3), weights=tmp_path / "missing.pt")
        with pytest.raises(CheckpointError, match=r"pretrained_classifier: missing.pt"):
            classify(WaveformCnn(3)).load("missing.pt", "downloads")

    @pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", None])
    @pytest.mark.parametrize(
        "prefix", ["", "module.", "_orig_mod.", "module._orig_mod."]
    )
    def test_a_checkpoint_that_wraps_the_state_dict_loads(self, tmp_path, key, prefix):
        network = WaveformCnn(3)
        saved = {f"{prefix}{k}": v for k, v in network.state_dict().items()}
        if key is not None:
            saved = {"epoch": 3, key: saved, "optimizer": {"state": {}}}
        torch.save(saved, tmp_path / "a.pt")
        other = WaveformCnn(3)
        classify(other, weights=tmp_path / "a.pt")
        for name, value in other.state_dict().items():
            assert torch.equal(value, network.state_dict()[name])

    def test_a_network_below_a_wrapper_of_its_own_loads(self, tmp_path):
        network = torch.nn.ModuleDict({"module": WaveformCnn(3)})
        torch.save(network.state_dict(), tmp_path / "a.pt")
        load_weights(network, tmp_path / "a.pt", tmp_path)

    def test_a_checkpoint_of_two_networks_is_refused(self, tmp_path):
        both = {"generator": WaveformCnn(3).state_dict(), "critic": {}}
        torch.save(both, tmp_path / "a.pt")
        with pytest.raises(CheckpointError, match="weights below 'generator'"):
            classify(WaveformCnn(3), weights=tmp_path / "a.pt")
