"""Convert a CNN14 of SpeechBrain: the folder is one of ``train_classifier.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmac_td.classifiers.cnn14 import (
    LABELS,
    WEIGHTS,
    Cnn14Classifier,
    widths_of_shapes,
)
from lmac_td.classifiers.cnn14_cosine import head_of_shapes, is_cosine
from lmac_td.classifiers.weights import locate
from lmac_td.convert.checkpoints import (
    LABEL_ENCODER,
    find_beside,
    read_hyperparams,
    read_labels,
    read_weights,
)
from lmac_td.convert.folders import Converted, card_of, new_folder, write_card
from lmac_td.convert.origins import HYPERPARAMS, LINE, Settings
from lmac_td.convert.origins import WEIGHTS as FROM_WEIGHTS
from lmac_td.errors import CheckpointError
from lmac_td.experiment.build import build_recipe, plain_settings, typed_recipe
from lmac_td.experiment.kept import save_settings
from lmac_td.experiment.settings import declarations
from lmac_td.inference.opening import evidence_recipe
from lmac_td.training.export import export

PARTS = ("embedding_model", "classifier")
DOWNLOADS = Path("results/cache/pretrained")  # as cache_folder of the recipes
FRONT_END = ("sample_rate", "n_fft", "win_length", "hop_length", "signal_length_s")
WITHOUT_LABELS = (
    "There is no label_encoder.txt: the classes have numbers for names. Give --labels "
    "the file of the classifier's training."
)


@dataclass(frozen=True)
class Source:
    """The files of a classifier, and what their weights tell.

    Attributes
    ----------
    name : str
        A folder, a hub id or an address.
    files : mapping of str to Path
        By part.
    widths : dict
        Settings of a recipe.
    recipe : Path
        A recipe that builds such a classifier.
    is_cosine : bool
        Whether its head computes cosines.
    labels : Path or None
    """

    name: str
    files: Mapping[str, Path]
    widths: dict[str, Any]
    recipe: Path
    is_cosine: bool
    labels: Path | None


def find_classifier(source: str | Path, revision: str | None = None) -> Source:
    """Find the files of a CNN14, and read its widths from them.

    Arguments
    ---------
    source : str or Path
        A folder with ``model.safetensors``; or a folder, a hub id or an address with
        ``embedding_model.ckpt`` and ``classifier.ckpt``.
    revision : str, optional
        Of a hub id.

    Returns
    -------
    Source

    Raises
    ------
    CheckpointError
        If files are missing, or are not those of a CNN14.
    """
    exported = Path(source) / WEIGHTS
    if exported.is_file():
        files = {"classifier": exported}
        shapes = _shapes(exported)
        labels = find_beside(source, LABELS)
    else:
        files = {
            part: locate(f"{part}.ckpt", source, DOWNLOADS, revision) for part in PARTS
        }
        shapes = {
            f"{part}.{key}": shape
            for part, path in files.items()
            for key, shape in _shapes(path).items()
        }
        labels = _find_labels(source, revision)
    widths = widths_of_shapes(shapes, source)
    if is_cosine(shapes):
        widths |= head_of_shapes(shapes)
    recipe = evidence_recipe(shapes)
    return Source(str(source), files, widths, recipe, is_cosine(shapes), labels)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in read_weights(path).items()}


def _find_labels(source, revision) -> Path | None:
    if Path(source).is_dir():
        return find_beside(source, LABELS) or find_beside(source, LABEL_ENCODER)
    try:
        return locate(LABEL_ENCODER, source, DOWNLOADS, revision)
    except CheckpointError:
        return None  # the source has none


def name_classes(
    classifier: Cnn14Classifier, source: Source, labels: str | Path | None
) -> tuple[str, ...]:
    """Give a classifier the names of its classes.

    Arguments
    ---------
    classifier : Cnn14Classifier
    source : Source
    labels : str or Path, optional
        A file that wins over that of the source.

    Returns
    -------
    tuple of str
        Notes for the user.

    Raises
    ------
    CheckpointError
        If the file does not fit the classes.
    """
    path = labels or source.labels
    if path is None:
        return (WITHOUT_LABELS,)
    classifier.labels = read_labels(path, classifier.n_classes)
    return ()


def convert_classifier(
    source: str | Path,
    out: str | Path,
    labels: str | Path | None = None,
    given: Mapping[str, Any] | None = None,
) -> Converted:
    """Convert a CNN14 into a folder for ``pretrained_classifier`` and ``explain``.

    Arguments
    ---------
    source : str or Path
        See :func:`find_classifier`.
    out : str or Path
        A folder that does not exist.
    labels : str or Path, optional
        ``label_encoder.txt``, if it is not beside the weights.
    given : mapping, optional
        Settings of the classifier's front end that replace what is found.

    Returns
    -------
    Converted

    Raises
    ------
    CheckpointError
        If the weights or the labels do not fit.
    SettingError
        If the folder exists, or a setting is not valid.
    """
    given = dict(given or {})
    found = find_classifier(source, given.get("revision"))
    recipe = found.recipe
    plain = plain_settings(recipe)
    settings = Settings({name: plain[name] for name in FRONT_END})
    settings.add(HYPERPARAMS, read_hyperparams(source), only=FRONT_END)
    settings.add(FROM_WEIGHTS, found.widths)
    settings.add(LINE, given)
    tree = typed_recipe(recipe, settings.values)
    classifier = build_recipe(recipe, tree)["classifier"]
    classifier.load(source, DOWNLOADS)
    notes = name_classes(classifier, found, labels)
    with new_folder(out) as folder:
        export(classifier, folder)
        roles = {name: declarations(tree)[name].roles for name in settings.values}
        save_settings(folder, {n: tree[n] for n in settings.values}, roles)
        title = f"{classifier.name} of {len(classifier.labels)} classes"
        write_card(folder, card_of(title, _text(classifier), found.files, settings))
    return Converted(Path(out), settings, notes)


def _text(classifier: Cnn14Classifier) -> str:
    return f"""A classifier of {classifier.sample_rate} Hz, converted from published \
weights by `lmac-td convert classifier`.

Classes, in the order of the outputs: {", ".join(classifier.labels)}.

    lmac-td explain RECORDING --classifier FOLDER"""
