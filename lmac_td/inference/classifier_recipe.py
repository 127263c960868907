"""Open a classifier that a yaml file of HyperPyYAML builds.

The file has a key ``classifier``. Two more keys say how its decisions are explained by
default: ``features``, the STFT that is masked, and ``method_options``, options by the
name of a method::

    classifier: !apply:my_file.my_classifier
    features: !new:lmac_td.features.SpectralFeatures
        sample_rate: 16000
        n_fft: 1024
        win_length: 64
        hop_length: 16
    method_options:
        evidence: {draws: 4}

A recipe for training or evaluation has a classifier, too, and can be opened as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmac_td.contracts import Classifier
from lmac_td.errors import SettingError
from lmac_td.experiment.build import build_one, resolved_tree
from lmac_td.experiment.recipe import compose
from lmac_td.inference.opened import Opened, framing_of

CLASSIFIER, FEATURES, OPTIONS = "classifier", "features", "method_options"
WEIGHTS, CACHE, LENGTH = "pretrained_classifier", "cache_folder", "signal_length_s"
SUFFIXES = (".yaml", ".yml")


def is_recipe(source: object) -> bool:
    """Return whether a source is the name of a yaml file.

    Example
    -------
    >>> is_recipe("recipes/real_networks/crepe.yaml"), is_recipe("owner/name")
    (True, False)
    """
    return Path(str(source)).suffix.lower() in SUFFIXES


def open_recipe(path: str | Path) -> Opened:
    """Build the classifier of a yaml file.

    The file can name any Python code, so it is opened only from this disk. Python files
    in its folder can be imported while it is built.

    Arguments
    ---------
    path : str or Path

    Returns
    -------
    Opened

    Raises
    ------
    SettingError
        If the file is missing, has no key ``classifier``, or cannot be built.
    """
    tree = compose(path)
    if CLASSIFIER not in tree:
        raise SettingError(
            f"{path} has no key {CLASSIFIER}: add one that builds it, such as "
            f"`{CLASSIFIER}: !new:lmac_td.classifiers.modules.ModuleClassifier`"
        )
    with folder_importable(Path(path).parent):
        parts = {
            name: build_one(path, tree, name, {})
            for name in (CLASSIFIER, FEATURES, OPTIONS)
            if name in tree
        }
    classifier = parts[CLASSIFIER]
    if not isinstance(classifier, Classifier):
        raise SettingError(
            f"{path} builds a {type(classifier).__name__} as {CLASSIFIER}, not a "
            "Classifier: put it into a lmac_td.classifiers.modules.ModuleClassifier"
        )
    settings = resolved_tree(path, tree)
    if WEIGHTS in settings:
        downloads = Path(settings.get(CACHE, "cache")) / "pretrained"
        classifier.load(settings[WEIGHTS], downloads)
    return Opened(
        classifier,
        framing_of(settings) if LENGTH in settings else {},
        parts.get(FEATURES),
        _by_method(path, parts.get(OPTIONS) or {}),
    )


def _by_method(path: str | Path, options: Any) -> dict[str, dict[str, Any]]:
    """Return the options of each method, and refuse what is not of this form."""
    is_mapping = isinstance(options, Mapping)
    if not is_mapping or not all(isinstance(o, Mapping) for o in options.values()):
        raise SettingError(
            f"{path}: {OPTIONS} is {options!r}: write options below the name of a "
            f"method, such as `{OPTIONS}: {{evidence: {{draws: 4}}}}`"
        )
    return {str(name): dict(value) for name, value in options.items()}


@contextmanager
def folder_importable(folder: Path) -> Iterator[None]:
    """Let Python files of a folder be imported, as Python does for a script's folder.

    Arguments
    ---------
    folder : Path
    """
    name = str(folder.resolve())
    sys.path.insert(0, name)
    try:
        yield
    finally:
        sys.path.remove(name)
