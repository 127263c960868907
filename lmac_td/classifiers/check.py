"""Check a classifier when it is loaded, and refuse one that breaks its contract.

A classifier that breaks the contract of :class:`lmac_td.contracts.Classifier` gives
wrong explanations without an error. For example, a tensor of two clips that is unpacked
into two values mixes the clips. So every classifier is run once on noise and on digital
silence: four passes of one or two clips, and one backward pass.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor

from lmac_td.contracts import ACTIVATIONS, Classifier, LayerOutput
from lmac_td.errors import CheckpointError, DataError, SettingError, UserError
from lmac_td.features import SpectralFeatures
from lmac_td.validation import as_setting_error

# The largest relative difference between a clip in a batch and the same clip alone.
TOLERANCE = 1e-3
# Level of the dither, in dB of full scale, if gradients at silence are not finite.
DITHER_DB = -100

_OR_BLACK_BOX = "or set differentiable = False on a classifier without gradients"


def check_classifier(
    classifier: Classifier,
    features: SpectralFeatures,
    n_samples: int,
    device: str | torch.device = "cpu",
) -> list[str]:
    """Refuse a classifier that breaks its contract.

    If gradients at digital silence are not finite, and dither makes them finite, the
    classifier's ``dither_db`` is set to -100 and a note says so. Nothing else changes:
    weights, modes and torch's random state stay, and no gradients are left.

    Arguments
    ---------
    classifier : Classifier
        Frozen, on the device.
    features : SpectralFeatures
        The STFT of the recipe, on any device.
    n_samples : int
        Length of the recipe's clips. If the classifier takes any length, one or two
        seconds are enough and faster.
    device : str or torch.device

    Returns
    -------
    list of str
        Notes for the user, one sentence each.

    Raises
    ------
    SettingError
        If the classifier breaks the contract or does not fit the recipe.
    CheckpointError
        If the logits are not finite.

    Example
    -------
    >>> from lmac_td.classifiers.cnn14 import Cnn14Classifier
    >>> from lmac_td.features import SpectralFeatures
    >>> features = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    >>> classifier = Cnn14Classifier(features, 80, (2, 4, 4, 8, 8), 8, 10).freeze()
    >>> check_classifier(classifier, features, 16000)
    []
    """
    _check_declared(classifier)
    _check_rate_and_stft(classifier, features)
    _check_frozen(classifier)
    noise, pausing = _noise(n_samples, device)
    cuda = [device] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(cuda):
        logits, gradients, notes = _check_silence(classifier, pausing)
        _check_clip_by_clip(classifier, noise, pausing, logits[0])
        _check_gradients(classifier, gradients)
        _check_inputs_of_spectrogram(classifier, noise)
    return notes


def _noise(n_samples: int, device: str | torch.device) -> Tensor:
    """Make two clips of seeded noise; half of the second one is digital silence."""
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(2, n_samples, generator=generator)
    noise[1, n_samples // 2 :] = 0
    return noise.to(device)


# The attributes of a classifier.


def _check_declared(classifier):
    name, labels = classifier.name, tuple(classifier.labels)
    if classifier.activation not in ACTIVATIONS:
        raise SettingError(
            f"{name}: its activation is {classifier.activation!r}: give "
            f"{' or '.join(ACTIVATIONS)}"
        )
    is_number = isinstance(classifier.threshold, (int, float))
    if not is_number or not 0 < classifier.threshold < 1:
        raise SettingError(
            f"{name}: its threshold is {classifier.threshold!r}: give a number between "
            "0 and 1"
        )
    if len(labels) == 1 and classifier.activation == "softmax":
        raise SettingError(
            f"{name} has one class and the activation softmax, so every probability is "
            "1: give it the activation sigmoid"
        )
    if not labels:
        raise SettingError(f"{name} has no labels: give a name for each class")
    for label, times in Counter(labels).items():
        if not str(label).strip():
            raise SettingError(
                f"{name}: class {labels.index(label)} has an empty label: give it a "
                "name"
            )
        if times > 1:
            raise SettingError(
                f"{name}: {times} classes are labelled {label!r}: give each class a "
                "different name"
            )


def _check_rate_and_stft(classifier, features):
    name = classifier.name
    if classifier.sample_rate != features.sample_rate:
        raise SettingError(
            f"{name} takes sounds of {classifier.sample_rate} Hz, and sample_rate is "
            f"{features.sample_rate}: give --sample_rate {classifier.sample_rate}"
        )
    if not classifier.takes_spectrograms:
        return
    own = classifier.spectrogram
    for what, setting in (
        ("n_fft", "n_fft"),
        ("hop_samples", "hop_length"),
        ("win_samples", "win_length"),
    ):
        expected, given = getattr(own, what), getattr(features, what)
        if expected != given:
            remedy = f"{expected}"
            if setting != "n_fft":
                remedy = f"{1000 * expected / own.sample_rate:.4f}"  # samples to ms
            raise SettingError(
                f"{name} takes spectrograms of an STFT with {what} {expected}, and the "
                f"STFT of the recipe has {given}: give --{setting} {remedy}"
            )
    if not torch.equal(own.window.cpu(), features.window.cpu()):
        raise SettingError(
            f"{name} takes spectrograms of an STFT with another window than the STFT "
            "of the recipe: build it with the `features` of the recipe"
        )


def _check_frozen(classifier):
    name = classifier.name
    for key, parameter in classifier.named_parameters():
        if parameter.requires_grad:
            raise SettingError(
                f"{name} is not frozen: its parameter {key} takes gradients; call "
                "freeze() on it first"
            )
    modes = {module: module.training for module in classifier.modules()}
    try:
        classifier.train()
        key = next((k for k, m in classifier.named_modules() if m.training), None)
    finally:
        for module, mode in modes.items():
            module.training = mode
    if key is not None:
        raise SettingError(
            f"{name} is not frozen: train() puts {f'its {key}' if key else 'it'} into "
            "training mode; call freeze() on it first"
        )


# The outputs of a classifier for noise and silence.


def _check_silence(classifier, pausing):
    """Run noise with a pause, and silence; return logits, gradients and notes."""
    batch = torch.stack([pausing, torch.zeros_like(pausing)])
    logits, gradients, not_finite = _probe(classifier, batch)
    if not not_finite:
        return logits, gradients, []
    if classifier.dither_db is not None:
        raise _not_finite(classifier, not_finite)
    classifier.dither_db = DITHER_DB
    try:
        logits, gradients, still = _probe(classifier, batch)
        if still:
            raise _not_finite(classifier, still)
    except UserError:
        classifier.dither_db = None
        raise
    note = (
        f"{classifier.name}: its {not_finite} at digital silence are not finite; "
        f"seeded noise at {DITHER_DB} dB of full scale is added to each of its input "
        "sounds, which makes them finite."
    )
    return logits, gradients, [note]


def _probe(classifier, batch):
    """Return logits, gradients, and the name of those that are not finite, or None."""
    with torch.set_grad_enabled(classifier.differentiable):
        wavs = batch.clone().requires_grad_(classifier.differentiable)
        logits, _ = _run(classifier, wavs)
        gradients = None
        if classifier.differentiable and logits.isfinite().all():
            gradients = _gradients(classifier, logits, wavs)
    for name, values in (("logits", logits), ("gradients", gradients)):
        if values is not None and not values.isfinite().all():
            return logits.detach(), gradients, name
    return logits.detach(), gradients, None


def _check_gradients(classifier, gradients):
    if gradients is not None and not gradients[0].any():
        raise SettingError(
            f"{classifier.name}: its gradients with respect to noise are all zero: "
            f"return logits without rounding or a hard decision, {_OR_BLACK_BOX}"
        )


def _gradients(classifier, logits, wavs):
    """Compute gradients of a random projection of the logits.

    The sum of the logits is not used, because it may be constant.
    """
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(logits.shape[1], generator=generator).to(logits)
    gradients = None
    if logits.requires_grad:
        remedy = (
            "use operations with a backward pass in evaluation mode (recurrent layers "
            "of cuDNN have none: call them under torch.backends.cudnn.flags("
            f"enabled=False)), {_OR_BLACK_BOX}"
        )
        with as_setting_error(f"{classifier.name} gives no gradients", remedy):
            (gradients,) = torch.autograd.grad(
                (logits * weights).sum(), wavs, allow_unused=True
            )
    if gradients is None:
        raise SettingError(
            f"{classifier.name}: its gradients do not reach the waveform: compute "
            "inputs() and run() with torch only, without no_grad, detach or numpy, "
            f"{_OR_BLACK_BOX}"
        )
    return gradients


def _not_finite(classifier, what):
    if what == "logits":
        return CheckpointError(
            f"{classifier.name}: its logits for noise or silence are not finite: its "
            "weights are damaged; download or train them again"
        )
    return SettingError(
        f"{classifier.name}: its gradients at digital silence are not finite, and "
        f"dither of {classifier.dither_db} dB does not change that: clamp the "
        "arguments of square roots, logarithms and divisors to a small positive number"
    )


def _check_clip_by_clip(classifier, noise, pausing, first_logits):
    """Check that a clip has the same outputs alone, twice, and in a batch of two."""
    name = classifier.name
    with torch.no_grad():
        in_batch, values_in_batch = _run(classifier, torch.stack([noise, pausing]))
        logits, values = _run(classifier, pausing.unsqueeze(0))
        again, values_again = _run(classifier, pausing.unsqueeze(0))
    for one, other in zip((logits, *values), (again, *values_again), strict=True):
        if not torch.equal(one, other):
            raise SettingError(
                f"{name}: two calls with the same clip give different outputs: set it "
                "to evaluation mode, without dropout, random crops or a kept state"
            )
    outputs = [("logits", logits, first_logits), ("logits", logits, in_batch[1])]
    for geometry, alone, batch in zip(
        classifier.geometry, values, values_in_batch, strict=True
    ):
        outputs.append((f"representation {geometry.name}", alone, batch[1]))
    for what, alone, beside in outputs:
        if not _agree(beside, alone[0]):
            raise SettingError(
                f"{name}: a clip in a batch of two and the same clip alone have "
                f"different outputs ({what}): compute each clip independently, and do "
                "not unpack or reshape the batch axis"
            )


def _check_inputs_of_spectrogram(classifier, wavs):
    """Check that a waveform and its |STFT| give the same inputs."""
    if not classifier.takes_spectrograms:
        return
    wavs = wavs.unsqueeze(0)
    with torch.no_grad():
        magnitude = classifier.spectrogram(wavs).magnitude
        expected = classifier.inputs(wavs)
        given = classifier.inputs_of_spectrogram(magnitude)
    if not _agree(given, expected):
        raise SettingError(
            f"{classifier.name}: inputs_of_spectrogram() of |STFT| differs from "
            "inputs() of the sound: call the first in the second, or set spectrogram "
            "to None"
        )


def _agree(found, expected):
    return found.shape == expected.shape and bool(
        (found - expected).abs().max() <= TOLERANCE * expected.abs().max()
    )


# One pass, and the shapes of its outputs.


def _run(classifier, wavs):
    """Run B clips, check the shapes, and return logits and values."""
    name = classifier.name
    what = f"{name} cannot take {wavs.shape[1]} samples of {len(wavs)} clips"
    remedy = "check signal_length_s, and inputs() and run() of the classifier"
    if len(wavs) == 1:  # two clips have worked before
        what = f"{name} can take two clips but not one"
        remedy = "do not unpack, squeeze or reshape the batch axis"
    with as_setting_error(what, remedy):
        outputs = classifier.run(classifier.inputs_of(wavs))
    is_pair = isinstance(outputs, tuple) and len(outputs) == 2
    if not is_pair or not isinstance(outputs[1], (tuple, list)):
        found = [type(o).__name__ for o in outputs] if is_pair else type(outputs)
        found = f"({', '.join(found)})" if is_pair else f"a {found.__name__}"
        raise SettingError(
            f"{name}: run() returns {found}: return logits and a tuple of the values "
            "of the representations"
        )
    logits, values = outputs
    values = [v.values if isinstance(v, LayerOutput) else v for v in values]
    expected = (len(wavs), classifier.n_classes)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits)
        raise SettingError(
            f"{name}: its logits for {len(wavs)} clips are {found}, not {expected}: "
            f"return one row per clip and one column per label ({expected[1]} labels)"
        )
    _check_representations(classifier, values, len(wavs))
    return logits, tuple(values)


def _check_representations(classifier, values, n_clips):
    name = classifier.name
    if len(values) != len(classifier.geometry):
        raise SettingError(
            f"{name}: run() returns {len(values)} representations, and geometry "
            f"describes {len(classifier.geometry)}: describe each of them in geometry"
        )
    for geometry, value in zip(classifier.geometry, values, strict=True):
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value)
        expected = (n_clips, geometry.channels, "time", geometry.frequencies)
        if (
            not isinstance(value, Tensor)
            or value.dim() != 4
            or (*value.shape[:2], value.shape[3]) != (*expected[:2], expected[3])
            or value.shape[2] == 0
        ):
            raise SettingError(
                f"{name}: the representation {geometry.name} is {found}, not "
                f"({', '.join(map(str, expected))}): permute its axes to this order, "
                "or correct its geometry"
            )


@contextlib.contextmanager
def dithered(classifier: Classifier) -> Iterator[None]:
    """Set ``dither_db`` of a classifier to -100 while the block runs."""
    before = classifier.dither_db
    classifier.dither_db = DITHER_DB
    try:
        yield
    finally:
        classifier.dither_db = before


def require_finite_with_dither(gradient: Tensor, classifier: Classifier) -> None:
    """Refuse a gradient that is not finite although it was computed with dither.

    Arguments
    ---------
    gradient : Tensor
        Computed in a block of :func:`dithered`.
    classifier : Classifier

    Raises
    ------
    DataError
    """
    if not gradient.isfinite().all():
        raise DataError(
            f"the gradient of {classifier.name} is not finite for a clip, even with a "
            f"dither of {DITHER_DB} dB: leave the clip out, or use a method that "
            "perturbs its input, such as occlusion"
        )
