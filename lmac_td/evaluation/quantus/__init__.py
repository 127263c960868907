"""Metrics of Quantus on explanations of sound, one value per clip.

Quantus (Hedström et al., *Quantus: An Explainable AI Toolkit for Responsible
Evaluation of Neural Network Explanations and Beyond*, JMLR 2023) measures explanations
of images. Here the image is the complex STFT, as two real channels::

    x = (Re X, Im X)  --QuantusModel-->  |X| -> classifier -> logits
                      --explain_func-->  ISTFT(X) -> interpreter -> log(1 + |STFT(i)|)

So a sound that Quantus changes can be explained again, with its phase. The
modules, in the order in which they are used:

- ``catalogue``: the metrics of Quantus by name, their category and direction.
- ``refusals``: metrics that cannot be run on sounds, or on some classifiers.
- ``settings``: the arguments of each metric; ``perturbations``: how bins are removed.
- ``model``: the classifier as a function of the STFT.
- ``explain``: the interpreter as an ``explain_func``.
- ``scoring``: run metrics on one explained batch.
- ``table``: all scores, as Markdown and as a CSV file.

Importing this package does not import Quantus, which takes seconds: the names below
are loaded when they are first used.
"""

import importlib

_MODULE_OF = {
    "METRICS": "catalogue",
    "find_metrics": "catalogue",
    "REFUSED": "refusals",
    "check_metrics": "refusals",
    "faint_noise": "perturbations",
    "impute": "perturbations",
    "silence": "perturbations",
    "QuantusModel": "model",
    "as_channels": "model",
    "ConstantMapError": "explain",
    "explain_func": "explain",
    "run_quantus": "scoring",
    "QuantusScores": "table",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULE_OF[name]}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
