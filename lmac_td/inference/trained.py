"""Open what a training wrote: an output folder, or the same files from the hub."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import ruamel.yaml
from huggingface_hub.errors import HTTPError

from lmac_td.contracts import Classifier
from lmac_td.errors import CheckpointError
from lmac_td.experiment.beside import weights_beside
from lmac_td.experiment.build import build_recipe, typed_recipe
from lmac_td.experiment.recipe import compose
from lmac_td.experiment.shipped import REFERENCE_INTERPRETER
from lmac_td.features import SpectralFeatures
from lmac_td.inference.opened import framing_of
from lmac_td.inference.trust import require_own_objects
from lmac_td.interpreters.base import Interpreter
from lmac_td.model_sources import FOLDER, require_source
from lmac_td.training.checkpoints import load_weights
from lmac_td.training.export_interpreter import (
    CARD,
    INTERPRETER,
    LABELS,
    RECIPE,
    load_exported,
)

logger = logging.getLogger(__name__)

# What a source on the hub is downloaded of: no code, no checkpoints of the training.
DOWNLOADED = (RECIPE, LABELS, CARD, "*/*.safetensors", "*/*.json", "*/*.npy")


@dataclass(frozen=True)
class Trained:
    """A trained interpreter and the classifier that it explains.

    Attributes
    ----------
    classifier : Classifier
    interpreter : Interpreter
    features : SpectralFeatures
    method : str
        The name of the experiment.
    framing : dict
        See :func:`lmac_td.inference.opened.framing_of`.
    """

    classifier: Classifier
    interpreter: Interpreter
    features: SpectralFeatures
    method: str
    framing: dict[str, Any]


def open_trained(
    source: str | Path | None,
    savedir: str | Path | None = None,
    overrides: Mapping[str, Any] | str | None = None,
    trust: bool = False,
) -> Trained:
    """Open a trained interpreter.

    Arguments
    ---------
    source, savedir, overrides, trust
        See :meth:`lmac_td.inference.interpreter.AudioInterpreter.from_hparams`.

    Returns
    -------
    Trained

    Raises
    ------
    CheckpointError
        If files are missing, or belong to another model.
    SettingError
        If the recipe is not trusted and names code that is not of this package.
    """
    source = REFERENCE_INTERPRETER if source is None else source
    folder = local_folder(source, savedir)
    path = folder / RECIPE
    if not path.is_file():
        raise CheckpointError(
            f"{source} has no {RECIPE}: give the output folder of a training"
        )
    tree = compose(path)
    if not (trust or Path(source).is_dir()):
        logger.warning(
            "%s is not on this disk: its weights and plain settings are used, and no "
            "code of its own.",
            source,
        )
        require_own_objects(tree, str(source))
    given = _beside(tree, folder) | _by_name(overrides)
    recipe = build_recipe(path, typed_recipe(path, given))
    if "interpreter" not in recipe:
        raise CheckpointError(
            f"{source} holds no trained interpreter: give the output folder of "
            "train_interpreter.py"
        )
    classifier = recipe["classifier"]
    classifier.load(recipe["pretrained_classifier"], folder / "pretrained")
    _load_interpreter(recipe["interpreter"], folder)
    return Trained(
        classifier,
        recipe["interpreter"],
        recipe["features"],
        recipe["experiment_name"],
        framing_of(recipe),
    )


def local_folder(source: str | Path, savedir: str | Path | None = None) -> Path:
    """Return the folder of a source, downloading it if it is a hub id.

    Raises
    ------
    CheckpointError
        If it cannot be found.
    """
    remedy = "give the output folder of a training, or a hub id such as owner/name"
    if require_source(source, remedy) == FOLDER:
        return Path(source)
    try:
        found = huggingface_hub.snapshot_download(
            str(source), cache_dir=savedir, allow_patterns=list(DOWNLOADED)
        )
    except (OSError, ValueError, HTTPError) as error:
        raise CheckpointError(
            f"{source} is not a folder and could not be downloaded from the Hugging "
            f"Face hub ({type(error).__name__}): check the name and the network"
        ) from error
    return Path(found)


def _by_name(overrides: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """Return overrides by the names of the settings."""
    if isinstance(overrides, str):
        overrides = ruamel.yaml.YAML(typ="safe").load(overrides)
    return dict(overrides or {})


def _beside(tree: Mapping, folder: Path) -> dict[str, Any]:
    """Return the settings that name what the training put beside its recipe."""
    beside = weights_beside(tree, folder)
    if "pretrained_interpreter" in tree:
        beside["pretrained_interpreter"] = None  # it began with it, and has gone on
    return beside


def _load_interpreter(interpreter: Interpreter, folder: Path) -> None:
    """Load the weights that the training exported, or those of its best checkpoint."""
    path = folder / INTERPRETER
    if not path.is_file():  # an older folder, or a training that goes on
        load_weights(interpreter, "interpreter", folder / "save")
        return
    load_exported(interpreter, path)
