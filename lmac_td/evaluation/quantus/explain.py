"""Wrap an interpreter as an ``explain_func``, which Quantus calls to explain."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lmac_td.contracts import Sources
from lmac_td.errors import SettingError
from lmac_td.interpreters.base import Interpreter


class ConstantMapError(ValueError):
    """A map is the same in every bin, so that it does not order the bins."""


def explain_func(
    interpreter: Interpreter,
    n_samples: int | None = None,
    sources: Sources | None = None,
) -> Callable[..., np.ndarray]:
    """Return an ``explain_func`` of Quantus that calls an interpreter.

    It explains the decision of the model that Quantus passes, for the class that
    Quantus passes. A decision holds its classifier, for interpreters that run it again
    (Saliency, GradCAM, ...): when Quantus randomises a model, the randomised one is
    explained.

    Arguments
    ---------
    interpreter : Interpreter
    n_samples : int, optional
        Length T of the clips; by default the samples between first and last frame.
    sources : Sources, optional
        Sources of the clips that Quantus will pass; only the oracle is given them.

    Returns
    -------
    callable
        ``(model, inputs, targets, **kwargs) -> array (B, 1, frames, bins)`` with
        ``model`` a :class:`~lmac_td.evaluation.quantus.QuantusModel`, ``inputs``
        (B, 2, frames, bins) and ``targets`` (B,). It raises :class:`ConstantMapError`
        for a constant map.

    Raises
    ------
    SettingError
        If the interpreter needs sources and none are given.

    Example
    -------
    >>> import quantus
    >>> from lmac_td.classifiers.cnn14 import Cnn14Classifier
    >>> from lmac_td.evaluation.quantus import QuantusModel, as_channels
    >>> from lmac_td.features import SpectralFeatures
    >>> from lmac_td.interpreters.baselines import Identity
    >>> features = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    >>> classifier = Cnn14Classifier(features, 80, (2, 4, 4, 8, 8), 8, n_classes=10)
    >>> scores = quantus.Sparseness(disable_warnings=True)(
    ...     model=QuantusModel(features, classifier.freeze()),
    ...     x_batch=as_channels(features.stft(torch.randn(1, 16000))),
    ...     y_batch=np.array([3]),
    ...     channel_first=True,
    ...     explain_func=explain_func(Identity(features)),
    ... )
    >>> len(scores)
    1
    """
    if interpreter.needs_sources and sources is None:
        raise SettingError(
            f"{type(interpreter).__name__} needs the sources of a mixture, and Quantus "
            "does not know them: give its sources, or leave this row out of --quantus"
        )

    @torch.no_grad()
    def explain(model, inputs, targets, **kwargs):
        device = model.features.window.device
        x = torch.as_tensor(inputs, dtype=torch.float32, device=device)
        features, decision = model.decide(x)
        targets = torch.as_tensor(targets, dtype=torch.int64, device=device)
        length = n_samples or model.features.hop_samples * (x.shape[2] - 1)
        wavs = model.features.istft(features.stft, length)
        given = {"sources": sources} if interpreter.needs_sources else {}
        explanation = interpreter(
            wavs, features, replace(decision, target=targets), **given
        )
        maps = as_maps(explanation.attribution)
        if is_constant(maps).any():
            raise ConstantMapError("a map is the same in every bin")
        return maps

    return explain


def as_maps(attribution: Tensor) -> np.ndarray:
    """Convert (B, frames, bins) to a float64 array (B, 1, frames, bins), a copy.

    Quantus adds 1e-7 to every bin; in double precision, as in
    :mod:`lmac_td.metrics`, that changes less.
    """
    return attribution.detach().unsqueeze(1).cpu().double().numpy().copy()


def is_constant(maps: np.ndarray) -> np.ndarray:
    """Return which maps (B, 1, frames, bins) are the same in every bin, (B,) bool."""
    return maps.max(axis=(1, 2, 3)) == maps.min(axis=(1, 2, 3))
