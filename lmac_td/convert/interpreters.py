"""Convert checkpoints of LMAC-TD and L-MAC to the folder that a training writes.

The widths are read from the weights, and so is what L-MAC masks. Weights do not tell
the number of attention heads, the length of chunks, alpha and the STFT: these are read
from the ``hyperparams.yaml`` of the training, or given, or those of the published
recipe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lmac_td.classifiers.weights import load_state
from lmac_td.convert.checkpoints import (
    LABEL_ENCODER,
    find_beside,
    find_checkpoint,
    read_hyperparams,
    read_weights,
)
from lmac_td.convert.classifier import (
    DOWNLOADS,
    FRONT_END,
    PARTS,
    find_classifier,
    name_classes,
)
from lmac_td.convert.folders import Converted, card_of, new_folder
from lmac_td.convert.origins import HYPERPARAMS, LINE, WEIGHTS, Settings
from lmac_td.errors import CheckpointError, SettingError
from lmac_td.experiment.build import build_recipe, plain_settings, typed_recipe
from lmac_td.experiment.shipped import HPARAMS
from lmac_td.experiment.yaml_files import dump_yaml
from lmac_td.files import write_atomically
from lmac_td.training.export_interpreter import CLASSIFIER, RECIPE, write_interpreter

States = Mapping[str, Mapping[str, Tensor]]
REMEDY = "give the checkpoint of the method and the classifier that it explains"


@dataclass(frozen=True)
class Method:
    """How the checkpoint of a method is converted.

    Attributes
    ----------
    name : str
        As in messages.
    recipe : Path
    files : dict of str to sequence of str
        By module of the interpreter: names that its file can have.
    fixed : dict
        Settings of the published code.
    assumed : tuple of str
        Settings that weights do not tell.
    read : callable
        Reads settings from the weights of the modules.
    """

    name: str
    recipe: Path
    files: Mapping[str, Sequence[str]]
    fixed: Mapping[str, Any]
    assumed: Sequence[str]
    read: Callable[[States, Mapping[str, Path]], dict[str, Any]]


def convert_interpreter(
    method: Method,
    source: str | Path,
    out: str | Path,
    classifier: str | Path | None = None,
    labels: str | Path | None = None,
    given: Mapping[str, Any] | None = None,
) -> Converted:
    """Convert the checkpoint of an interpreter.

    Arguments
    ---------
    method : Method
        :data:`LMAC_TD` or :data:`LMAC`.
    source : str or Path
        The folder of a checkpoint of SpeechBrain; of L-MAC also its file.
    out : str or Path
        A folder that does not exist.
    classifier : str or Path, optional
        The classifier that it explains: see
        :func:`~lmac_td.convert.classifier.find_classifier`. By default the one that
        SpeechBrain's training put beside its checkpoints.
    labels : str or Path, optional
        ``label_encoder.txt`` of the classifier's training.
    given : mapping, optional
        Settings of the recipe that replace what is found.

    Returns
    -------
    Converted

    Raises
    ------
    CheckpointError
        If the weights or the labels do not fit.
    SettingError
        If the folder exists, no classifier is found, or a setting is not valid.
    """
    given = dict(given or {})
    if Path(source).is_file() and len(method.files) > 1:
        source = Path(source).parent
    files = {
        module: find_checkpoint(source, names, f"a trained {method.name}")
        for module, names in method.files.items()
    }
    states = {module: read_weights(path) for module, path in files.items()}
    found = find_classifier(
        classifier or _classifier_beside(source), given.get("revision")
    )
    if found.is_cosine:
        raise CheckpointError(
            f"{found.name} is a CNN14 with a cosine head, which {method.name} was not "
            "published for: give --classifier the one that it explains"
        )
    plain = plain_settings(method.recipe)
    names = (*FRONT_END, *method.assumed)
    settings = Settings({name: plain[name] for name in names})
    settings.add(HYPERPARAMS, read_hyperparams(source), only=names)
    settings.add("the published code", method.fixed)
    settings.add(WEIGHTS, found.widths)
    settings.add(WEIGHTS, method.read(states, files))
    settings.add(LINE, given)
    place = {CLASSIFIER: str(Path(out) / CLASSIFIER)}
    tree = typed_recipe(method.recipe, settings.values | place)
    built = build_recipe(method.recipe, tree)
    explained = built["classifier"]
    explained.load(found.name, DOWNLOADS)
    notes = name_classes(
        explained, found, labels or found.labels or find_beside(source, LABEL_ENCODER)
    )
    for module, path in files.items():
        load_state(
            built["interpreter"].get_submodule(module), states[module], path, REMEDY
        )
    built["interpreter"].check(explained)
    with new_folder(out) as folder:
        with write_atomically(folder / RECIPE, "w", encoding="utf-8") as file:
            file.write(dump_yaml(tree))
        state = {
            f"{module}.{key}": tensor
            for module, state in states.items()
            for key, tensor in state.items()
        }
        card = card_of(
            built["experiment_name"], _text(method), files | found.files, settings
        )
        write_interpreter(folder, state, explained, {CLASSIFIER: None}, card)
    return Converted(Path(out), settings, notes)


def _classifier_beside(source: str | Path) -> Path:
    """Return the folder of the classifier that a training of SpeechBrain loaded."""
    paths = [find_beside(source, f"{part}.ckpt") for part in PARTS]
    if None in paths:
        raise SettingError(
            f"{source} has no {PARTS[0]}.ckpt and {PARTS[1]}.ckpt beside it: give "
            "--classifier the folder or the hub id of the classifier that it explains, "
            "such as fpaissan/r"
        )
    return paths[0].parent


def _text(method: Method) -> str:
    return f"""{method.name}, converted from published weights by `lmac-td convert`. \
The classifier is in this folder, too.

    lmac-td explain RECORDING --interpreter FOLDER
    python eval_faithfulness.py FOLDER/recipe.yaml --data_folder DATA --wham_folder \
NOISE"""


def _lmac(states: States, files: Mapping[str, Path]) -> dict[str, Any]:
    """L-MAC's decoder of mel masks has a layer less."""
    return {"domain": "stft" if "convt9.weight" in states["decoder"] else "mel"}


LMAC = Method(
    name="L-MAC",
    recipe=HPARAMS / "lmac.yaml",
    files={"decoder": ("psi_model.ckpt", "psi.ckpt")},
    fixed={"geometry": "published", "mask_domain": "log1p"},
    assumed=(),
    read=_lmac,
)


def _lmac_td(states: States, files: Mapping[str, Path]) -> dict[str, Any]:
    """Read the widths of the filterbank and of MaskNet."""
    masknet = states["masknet"]

    def size(module: str, key: str, axis: int) -> int:
        state = states[module]
        if key not in state or axis >= state[key].ndim:
            raise CheckpointError(
                f"{files[module]} belongs to another model: it has no {key}; {REMEDY}"
            )
        return state[key].shape[axis]

    layers = "dual_mdl.0.{}_mdl.mdl.layers."
    ffn = f"{layers.format('intra')}0.pos_ffn.ffn.0.weight"
    return {
        "encoder_channels": size("filterbank.encoder", "conv1d.weight", 0),
        "kernel_size": size("filterbank.encoder", "conv1d.weight", 2),
        "masknet_channels": size("masknet", "conv1d.weight", 0),
        "masknet_layers": _count(masknet, "dual_mdl."),
        "intra_layers": _count(masknet, layers.format("intra")),
        "inter_layers": _count(masknet, layers.format("inter")),
        "d_ffn": size("masknet", ffn, 0),
    }


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Count the modules of a list by their numbers; at least 1."""
    found = (re.match(rf"{re.escape(prefix)}(\d+)\.", key) for key in state)
    return max((int(match[1]) + 1 for match in found if match), default=1)


LMAC_TD = Method(
    name="LMAC-TD",
    recipe=HPARAMS / "published" / "lmac_td.yaml",
    files={
        "filterbank.encoder": ("encoder.ckpt",),
        "filterbank.decoder": ("decoder.ckpt",),
        "unet": ("convt_decoder.ckpt",),
        "masknet": ("masknet.ckpt",),
    },
    fixed={
        "geometry": "published",
        "filterbank_init": "random",
        "filterbank_frames": "published",
        "train_filterbank": True,
    },
    assumed=("alpha", "chunk_size", "nhead", "inter_nhead"),
    read=_lmac_td,
)
