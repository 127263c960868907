"""What DeepLIFT and Guided Backprop would silently miss is found and named."""

import warnings

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmac_td.classifiers.activations import (
    RULES,
    functional_activations,
    require_module_activations,
)
from lmac_td.classifiers.cnn14 import Cnn14Classifier, MaxPlusMean
from lmac_td.classifiers.modules import ModuleClassifier
from lmac_td.contracts import Classifier
from lmac_td.errors import SettingError
from lmac_td.features import Log1p, SpectralFeatures

FEATURES = SpectralFeatures(8000, 256, 32, 16)
DEEPLIFT, GUIDED = "deeplift_shap", "guided_backprop"


class Network(Classifier):
    """A convolution, the step under test, and a head, on waveforms."""

    name = "Network"

    def __init__(self, step):
        super().__init__()
        self.conv = nn.Conv1d(1, 8, 64, stride=32)
        self.step = step if isinstance(step, nn.Module) else Step(step)
        self.head = nn.LazyLinear(3)
        self.sample_rate = 8000
        self.labels = ("dog", "rain", "siren")
        self.decide(torch.randn(2, 8000))
        self.freeze()

    def inputs(self, wavs):
        return wavs.unsqueeze(1)

    def run(self, inputs):
        x = self.step(self.conv(inputs))  # (B, 8, t)
        return self.head(x.flatten(1)), ()


class Step(nn.Module):
    """A function in a module that has no rule."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def missed(step, method, rules=()):
    return functional_activations(Network(step), FEATURES, method, rules)


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize(
    "function",
    [
        F.relu, torch.relu, torch.Tensor.relu, F.relu_, torch.Tensor.relu_,
        lambda x: F.relu(x, inplace=True), F.gelu, torch.sigmoid, torch.Tensor.sigmoid_,
        torch.tanh, lambda x: F.softmax(x, dim=1), lambda x: x.softmax(dim=1),
        lambda x: x.log_softmax(dim=1), F.leaky_relu, F.elu, F.selu, F.celu, F.silu,
        F.mish, F.softplus, F.hardtanh, F.relu6, F.hardswish, F.hardsigmoid,
        F.logsigmoid, F.tanhshrink, F.softsign, lambda x: F.glu(x, dim=1),
        lambda x: F.threshold(x, 0.0, 0.0),
        lambda x: F.scaled_dot_product_attention(x, x, x),
    ],
)  # fmt: skip
def test_a_functional_activation_is_found(method, function):
    (name,) = missed(function, method)
    assert name == "step"


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x**2, lambda x: 2**x, lambda x: 1 / (9 + x), lambda x: x * x,
        lambda x: x / (9 + x.abs()), torch.log1p, torch.exp, torch.abs,
        lambda x: x.abs().sqrt(), lambda x: x.clamp(min=0), lambda x: x.amax(dim=1),
        lambda x: x.max(dim=1).values, lambda x: torch.maximum(x, -x),
        lambda x: x @ x.transpose(1, 2), lambda x: F.max_pool1d(x, 2),
        lambda x: F.adaptive_max_pool1d(x, 2), lambda x: F.normalize(x),
        lambda x: x.std(2),
    ],
)  # fmt: skip
def test_deeplift_needs_rules_for_everything_that_is_not_linear(function):
    assert list(missed(function, DEEPLIFT)) == ["step"]
    assert missed(function, GUIDED) == {}  # its gradient is right: no activation


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize(
    "function",
    [
        lambda x: 2 * x + 1, lambda x: x / 3, lambda x: x.mean(dim=2),
        lambda x: x - x.sum(), lambda x: F.avg_pool1d(x, 2),
        lambda x: x * torch.linspace(0, 1, 8)[:, None].sigmoid(),
        lambda x: torch.cat([x, x], dim=1), lambda x: F.dropout(x, 0.5, training=False),
        lambda x: F.pad(x, (1, 1)), lambda x: x.detach().relu() + x,
    ],
)  # fmt: skip
def test_linear_steps_and_functions_of_constants_are_no_activations(method, function):
    assert missed(function, method) == {}


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize(
    "step", [nn.ReLU(), nn.Sequential(nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))]
)
def test_modules_with_rules_pass(method, step):
    assert missed(step, method) == {}


@pytest.mark.parametrize("step", [nn.ELU(), nn.Sigmoid(), nn.Tanh(), nn.LeakyReLU()])
def test_guided_backprop_has_a_rule_for_relu_alone(step):
    assert missed(step, DEEPLIFT) == {}
    assert list(missed(step, GUIDED)) == ["step"]


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize(
    "step", [nn.GELU(), nn.SiLU(), nn.ReLU6(), nn.Hardswish(), nn.PReLU(), nn.GLU(1)]
)
def test_an_activation_module_without_a_rule_is_found(method, step):
    assert list(missed(step, method)) == ["step"]


@pytest.mark.parametrize(
    "step",
    [nn.LayerNorm(249), nn.GroupNorm(2, 8), nn.InstanceNorm1d(8), nn.RMSNorm(249)],
)
def test_norms_of_the_clip_itself_are_not_linear(step):
    assert list(missed(step, DEEPLIFT)) == ["step"]
    assert missed(step, GUIDED) == {}


def test_norms_with_statistics_of_their_own_are_linear():
    assert missed(nn.InstanceNorm1d(8, track_running_stats=True), DEEPLIFT) == {}


@pytest.mark.parametrize("method", RULES)
def test_a_module_that_works_in_place_is_found(method):
    found = missed(nn.Sequential(nn.Identity(), nn.ReLU(inplace=True)), method)
    assert found == {"step.1": "ReLU that works in place"}


@pytest.mark.parametrize("method", RULES)
def test_a_module_that_is_used_twice_is_found(method):
    relu = nn.ReLU()
    found = missed(nn.Sequential(relu, nn.Conv1d(8, 8, 3), relu), method)
    assert found == {"step.0": "relu by a module that is used 2 times"}


@pytest.mark.parametrize("method", RULES)
def test_transformers_and_recurrent_networks_are_refused_by_name(method):
    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.lstm = nn.LSTM(8, 4, batch_first=True)

        def forward(self, x):
            return self.lstm(self.layer(x.transpose(1, 2)))[0]

    found = missed(Transformer(), method)
    assert "step.layer.self_attn" in found
    assert found["step.lstm"] == "lstm in a LSTM"
    assert ("step.layer.norm1" in found) == (method == DEEPLIFT)


@pytest.mark.parametrize("method", RULES)
def test_torchscript_is_found(method):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        step = torch.jit.trace(nn.Sequential(nn.ReLU()), torch.rand(2, 8, 249))
    assert missed(step, method)["step"].startswith("TorchScript")


@pytest.mark.parametrize("method", RULES)
def test_cnn14_passes_with_the_rules_for_its_own_modules(method):
    features = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    classifier = Cnn14Classifier(features, 80, (2, 4, 4, 8, 8), 8, 10).freeze()
    require_module_activations(classifier, features, method, [Log1p, MaxPlusMean])


def test_a_subclass_of_a_module_has_no_rule_of_deeplift():
    class Rectifier(nn.ReLU):
        """Captum's DeepLIFT looks rules up by the exact type."""

    assert missed(Rectifier(), DEEPLIFT) == {"step": "relu in a Rectifier"}
    assert missed(Rectifier(), GUIDED) == {}
    assert missed(Rectifier(), DEEPLIFT, [Rectifier]) == {}


@pytest.mark.filterwarnings("ignore::UserWarning:captum")  # of its hooks
def test_what_is_found_is_what_captum_misses():
    """Guided Backprop of a functional ReLU is the plain gradient; of a module not."""
    wavs = torch.randn(1, 1, 8000)
    functional, module = Network(F.relu), Network(nn.ReLU())
    module.load_state_dict(functional.state_dict())
    maps = {}
    for classifier in (functional, module):
        logits = Logits(classifier)
        plain = captum.attr.Saliency(logits).attribute(wavs.clone(), 0, abs=False)
        guided = captum.attr.GuidedBackprop(logits).attribute(wavs.clone(), 0)
        maps[classifier] = torch.equal(plain, guided)
    assert maps == {functional: True, module: False}


class Logits(nn.Module):
    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, inputs):
        return self.classifier.run(inputs)[0]


def test_the_refusal_names_method_classifier_places_and_remedy():
    classifier = Network(nn.Sequential(*[Step(F.relu) for _ in range(5)]))
    with pytest.raises(SettingError) as caught:
        require_module_activations(classifier, FEATURES, GUIDED)
    assert str(caught.value) == (
        "guided_backprop would silently miss 5 non-linear steps of Network: relu in a "
        "Step (step.0), relu in a Step (step.1), relu in a Step (step.2) and 2 more; "
        "replace them by modules for which it has rules, each used once and not in "
        "place, or leave guided_backprop out of --methods"
    )


def test_a_black_box_is_refused():
    classifier = Network(nn.ReLU())
    classifier.differentiable = False
    with pytest.raises(
        SettingError, match="deeplift_shap needs gradients, and Network"
    ):
        require_module_activations(classifier, FEATURES, DEEPLIFT)


def test_an_unknown_method_is_refused():
    with pytest.raises(SettingError, match="method is 'lime'"):
        functional_activations(Network(nn.ReLU()), FEATURES, "lime")


def test_no_hook_stays_even_if_the_network_fails():
    classifier = Network(nn.ReLU())
    classifier.head.weight.data = torch.zeros(3, 5)
    with pytest.raises(SettingError, match="RuntimeError"):
        functional_activations(classifier, FEATURES, GUIDED)
    assert not any(
        m._forward_hooks or m._forward_pre_hooks for m in classifier.modules()
    )


def test_the_probe_has_the_length_that_the_network_takes():
    layers = nn.Linear(4000, 4), nn.ReLU(), nn.Linear(4, 2)
    network = nn.Sequential(*layers)
    classifier = ModuleClassifier(network, 8000, 2, clip_samples=4000).freeze()
    assert functional_activations(classifier, FEATURES, GUIDED) == {}
    classifier = ModuleClassifier(network, 8000, 2).freeze()
    assert functional_activations(classifier, FEATURES, GUIDED, n_samples=4000) == {}
    with pytest.raises(SettingError, match=r"cannot take 8000 samples.*clip_samples"):
        functional_activations(classifier, FEATURES, GUIDED)
    assert not any(module._forward_hooks for module in classifier.modules())
