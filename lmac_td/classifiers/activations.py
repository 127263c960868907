"""Find the non-linear steps that DeepLIFT and Guided Backprop would silently miss.

Captum replaces the gradients of modules by hooks: ReLU modules for Guided Backprop, a
table of modules for DeepLIFT (:mod:`lmac_td.classifiers.deeplift_rules`). A function
that is called outside such a module keeps its plain gradient without a warning. A
module that works in place, or is used twice in a pass, gives errors or wrong values.
The check runs the classifier once on a short sound: a
:class:`torch.overrides.TorchFunctionMode` records every function that is called, and
hooks record the module in which it is called.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lmac_td.classifiers.deeplift_rules import register_deeplift_rules
from lmac_td.contracts import Classifier
from lmac_td.errors import SettingError
from lmac_td.features import SpectralFeatures
from lmac_td.validation import as_setting_error, require_choice


def _names(text):
    return frozenset(text.split())


# Names of functions, without the underscore of in-place functions.
ACTIVATION_FUNCTIONS = _names("""
    relu relu6 hardtanh threshold leaky_relu rrelu prelu elu selu celu gelu silu mish
    glu hardswish hardsigmoid hardshrink softshrink tanhshrink softplus softsign
    sigmoid logsigmoid log_sigmoid expit tanh softmax log_softmax softmin
    gumbel_softmax scaled_dot_product_attention multi_head_attention_forward
    lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell
""")
# Not activations, but not linear either: DeepLIFT needs rules for them.
OTHER_NON_LINEAR = _names("""
    layer_norm group_norm rms_norm local_response_norm normalize cosine_similarity
    std var std_mean var_mean norm vector_norm logsumexp log log2 log10 log1p exp exp2
    expm1 sqrt rsqrt square pow rpow float_power reciprocal rdiv rtruediv abs absolute
    sign sin cos clamp clamp_min clamp_max clip max min amax amin maximum minimum fmax
    fmin aminmax median sort topk cummax cummin max_pool1d max_pool2d max_pool3d
    lp_pool1d lp_pool2d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
    fractional_max_pool2d fractional_max_pool3d
""")
# Not linear if two factors depend on the input, as in a gate.
PRODUCTS = _names("mul multiply matmul bmm mm baddbmm einsum addcmul dot")
# Not linear if the divisor depends on the input.
QUOTIENTS = _names("div divide true_divide truediv itruediv")


def _is_relu(module, extra):
    return isinstance(module, (nn.ReLU, *extra))


def _has_deeplift_rule(module, extra):
    return type(module) in register_deeplift_rules() or type(module) in extra


# By method: a function that decides whether a module has a rule.
RULES = {
    "deeplift_shap": _has_deeplift_rule,
    "guided_backprop": _is_relu,
    "guided_gradcam": _is_relu,
}


def functional_activations(
    classifier: Classifier,
    features: SpectralFeatures,
    method: str,
    modules_with_rules: Sequence[type[nn.Module]] = (),
    n_samples: int | None = None,
) -> dict[str, str]:
    """Find the non-linear steps of a classifier that a method would miss.

    Only steps that depend on |STFT| count if the classifier takes spectrograms, else
    only steps that depend on the waveform.

    Arguments
    ---------
    classifier : Classifier
        Frozen.
    features : SpectralFeatures
        The recipe's STFT, on the classifier's device.
    method : str
        One of :data:`RULES`.
    modules_with_rules : sequence of type
        Types of modules that have rules besides the registered ones.
    n_samples : int, optional
        Length of the sound. By default ``clip_samples`` of a classifier that takes
        clips of one length only, else one second.

    Returns
    -------
    dict of str to str
        The steps that would be missed, in the order of the pass, by the name of the
        module in which they happen. Empty if the method can be used.

    Raises
    ------
    SettingError
        If the method is unknown, or the network cannot take the sound.

    Example
    -------
    >>> from lmac_td.classifiers.modules import ModuleClassifier
    >>> from lmac_td.features import SpectralFeatures
    >>> features = SpectralFeatures(8000, 256, 32, 16)
    >>> network = nn.Sequential(
    ...     nn.Linear(8000, 4), nn.ReLU(), nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2)
    ... )
    >>> classifier = ModuleClassifier(network, 8000, ["dog", "rain"]).freeze()
    >>> functional_activations(classifier, features, "deeplift_shap")
    {'network.3': 'gelu in a GELU'}
    >>> functional_activations(classifier, features, "deeplift_shap", [nn.GELU])
    {}
    """
    require_choice("method", method, tuple(RULES))
    probe = _Probe(classifier, RULES[method], tuple(modules_with_rules))
    own = getattr(classifier, "clip_samples", None)
    n_samples = n_samples or own or features.sample_rate
    wavs = torch.zeros(1, n_samples, device=_device(features))
    wavs[0, ::2] = 0.1  # no silence, nothing random
    what = f"{method}: {classifier.name} cannot take {n_samples} samples"
    remedy = "if it takes clips of one length only, give that as clip_samples"
    with as_setting_error(what, remedy), torch.enable_grad(), probe:
        if classifier.takes_spectrograms:
            magnitude = features(wavs).magnitude.requires_grad_()
            inputs = classifier.inputs_of_spectrogram(magnitude)
        else:
            inputs = classifier.inputs(wavs.requires_grad_())
        classifier.run(inputs)
    return probe.missed()


def require_module_activations(
    classifier: Classifier,
    features: SpectralFeatures,
    method: str,
    modules_with_rules: Sequence[type[nn.Module]] = (),
    n_samples: int | None = None,
) -> None:
    """Refuse a method that would silently miss non-linear steps of a classifier.

    Arguments
    ---------
    classifier, features, method, modules_with_rules, n_samples
        See :func:`functional_activations`.

    Raises
    ------
    SettingError
        If a step would be missed, or the classifier gives no gradients.
    """
    require_choice("method", method, tuple(RULES))
    if not classifier.differentiable:
        raise SettingError(
            f"{method} needs gradients, and {classifier.name} gives none: leave "
            f"{method} out of --methods"
        )
    missed = functional_activations(
        classifier, features, method, modules_with_rules, n_samples
    )
    if missed:
        places = [f"{what} ({name})" for name, what in list(missed.items())[:3]]
        more = len(missed) - len(places)
        raise SettingError(
            f"{method} would silently miss {len(missed)} non-linear steps of "
            f"{classifier.name}: {', '.join(places)}"
            f"{f' and {more} more' if more else ''}; replace them by modules for which "
            f"it has rules, each used once and not in place, or leave {method} out of "
            "--methods"
        )


def _device(features):
    return features.window.device


class _Probe(TorchFunctionMode):
    """Records which functions are called in which module of a classifier."""

    def __init__(
        self,
        classifier: Classifier,
        has_rule: Callable[[nn.Module, Sequence[type[nn.Module]]], bool],
        extra: Sequence[type[nn.Module]],
    ) -> None:
        super().__init__()
        self.names = {module: name for name, module in classifier.named_modules()}
        self.is_non_linear = _is_activation if has_rule is _is_relu else _is_non_linear
        self.has_rule = has_rule
        self.extra = extra  # types of modules with further rules
        self.stack = [classifier]
        self.calls = Counter()
        self.first_function = {}  # the first that is not linear, by module
        self.found = {}  # steps that would be missed, by module

    def __enter__(self):
        self.hooks = contextlib.ExitStack()
        for module in self.names:
            if isinstance(module, torch.jit.ScriptModule):
                self._note(module, "TorchScript, which hides its steps")
                continue
            for hook in (
                module.register_forward_pre_hook(self._enter),
                module.register_forward_hook(self._leave, always_call=True),
            ):
                self.hooks.callback(hook.remove)
        return super().__enter__()

    def __exit__(self, *error):
        self.hooks.close()
        return super().__exit__(*error)

    def _enter(self, module, inputs):
        self.stack.append(module)
        self.calls[module] += 1

    def _leave(self, module, inputs, output):
        self.stack.pop()

    def _note(self, module, what):
        self.found.setdefault(module, what)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if self.is_non_linear(name.strip("_"), args, kwargs):
            self._examine(name, args, kwargs)
        return func(*args, **kwargs)

    def _examine(self, name, args, kwargs):
        module = self.stack[-1]
        plain = name.strip("_")
        self.first_function.setdefault(module, plain)
        if not self.has_rule(module, self.extra):
            self._note(module, f"{plain} in a {type(module).__name__}")
        elif name == f"{plain}_" or kwargs.get("inplace"):
            self._note(module, f"{type(module).__name__} that works in place")

    def missed(self) -> dict[str, str]:
        """Return the steps that would be missed, by the name of the module."""
        for module, function in self.first_function.items():
            if self.calls[module] > 1 and self.has_rule(module, self.extra):
                times = self.calls[module]
                self._note(module, f"{function} by a module that is used {times} times")
        return {
            self.names[module] or type(module).__name__: what
            for module, what in self.found.items()
        }


def _is_activation(name, args, kwargs):
    """Return whether an activation is applied to a tensor that depends on the input."""
    return name in ACTIVATION_FUNCTIONS and _dependent((args, kwargs)) > 0


def _is_non_linear(name, args, kwargs):
    """Return whether a call is not linear in the tensors that depend on the input."""
    if name in PRODUCTS:
        return _dependent((args, kwargs)) > 1
    if name in QUOTIENTS:
        return _dependent((args[1:], kwargs)) > 0
    if name == "instance_norm":  # linear if it uses running statistics
        return kwargs.get("use_input_stats", True) and _dependent(args) > 0
    return (name in ACTIVATION_FUNCTIONS or name in OTHER_NON_LINEAR) and _dependent(
        (args, kwargs)
    ) > 0


def _dependent(value):
    """Count the tensors in nested arguments that depend on the input."""
    if isinstance(value, Tensor):
        return int(value.requires_grad)
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return 0
    return sum(map(_dependent, value))
