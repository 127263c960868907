"""Find and read what SpeechBrain's recipes write: weights, settings, labels.

A training of SpeechBrain writes::

    OUTPUT/hyperparams.yaml
    OUTPUT/save/label_encoder.txt
    OUTPUT/save/CKPT+.../psi_model.ckpt

Nothing that is read here is executed: weights are read by the safe loader, settings are
read as plain yaml, and labels as Python literals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechbrain.dataio.encoder import CategoricalEncoder
from torch import Tensor

from lmac_td.classifiers.weights import PREFIXES, read_state, without_prefix
from lmac_td.errors import CheckpointError
from lmac_td.experiment.yaml_files import read_yaml
from lmac_td.reading import absence, read_json, read_text

HYPERPARAMS = "hyperparams.yaml"
LABEL_ENCODER = "label_encoder.txt"
AGAIN = "download or copy it again"
# Our names of settings, and where they stand in SpeechBrain's recipes.
PLACES = {
    "sample_rate": (("compute_stft", "sample_rate"), ("sample_rate",)),
    "n_fft": (("compute_stft", "n_fft"), ("n_fft",)),
    "win_length": (("compute_stft", "win_length"), ("win_length",)),
    "hop_length": (("compute_stft", "hop_length"), ("hop_length",)),
    "signal_length_s": (("signal_length_s",),),
    "alpha": (("alpha_mix",),),
    "chunk_size": (("MaskNet", "K"),),
    "nhead": (("SBtfintra", "nhead"),),
    "inter_nhead": (("SBtfinter", "nhead"),),
}


def find_checkpoint(source: str | Path, names: Sequence[str], what: str) -> Path:
    """Return the file of weights that a source names or holds.

    Arguments
    ---------
    source : str or Path
        The file, or its folder.
    names : sequence of str
        Names that the file can have in the folder.
    what : str
        What the file holds, for the message.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    source = Path(source)
    if source.is_file():
        return source
    for name in names:
        if (source / name).is_file():
            return source / name
    problem = f"has no {' or '.join(names)}" if source.is_dir() else absence(source)
    raise CheckpointError(
        f"{source} {problem}: give the folder of a checkpoint that holds {what}, such "
        "as OUTPUT/save/CKPT+2024-06-20+16-05-44+00"
    )


def find_beside(source: str | Path, name: str) -> Path | None:
    """Return a file that belongs to a checkpoint, or None.

    Arguments
    ---------
    source : str or Path
        A file of weights, or its folder. If that is one of SpeechBrain's checkpoints,
        ``save/`` and the output folder above it are searched, too.
    name : str

    Returns
    -------
    Path or None
    """
    folder = Path(source)
    folder = (folder if folder.is_dir() else folder.parent).absolute()
    above = folder.parents[:2] if folder.name.startswith("CKPT+") else ()
    found = (place / name for place in (folder, *above))
    return next((path for path in found if path.is_file()), None)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict; see :func:`lmac_td.classifiers.weights.read_state`."""
    state = read_state(path, path, AGAIN)
    for prefix in PREFIXES:
        state = without_prefix(state, prefix)
    return state


def read_hyperparams(source: str | Path) -> dict[str, Any]:
    """Read the settings of a checkpoint from the ``hyperparams.yaml`` beside it.

    Arguments
    ---------
    source : str or Path
        See :func:`find_beside`.

    Returns
    -------
    dict of str to number
        By our names; what the file does not have is left out. Empty without a file.

    Raises
    ------
    SettingError
        If the file is no yaml.
    """
    path = find_beside(source, HYPERPARAMS)
    if path is None:
        return {}
    tree = read_yaml(path)
    found = {}
    for name, places in PLACES.items():
        values = (_value_at(tree, place) for place in places)
        value = next((v for v in values if _is_number(v)), None)
        if value is not None:
            found[name] = value
    return found


def _value_at(tree: Any, place: Sequence[str]) -> Any:
    for key in place:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def read_labels(path: str | Path, n_classes: int) -> tuple[str, ...]:
    """Read the names of the classes, in the order of a classifier's outputs.

    Arguments
    ---------
    path : str or Path
        A ``label_encoder.txt`` of SpeechBrain, which gives each label its index; or a
        json file with a list of names.
    n_classes : int

    Returns
    -------
    tuple of str

    Raises
    ------
    CheckpointError
        If it cannot be read, or its indices are not those of the classes.
    """
    try:
        if Path(path).suffix == ".json":
            names = dict(enumerate(read_json(path, list)))
        else:
            read_text(path)  # refuses what is no text
            encoder = CategoricalEncoder()
            encoder.load(path)
            names = dict(encoder.ind2lab)
    except Exception as error:  # SpeechBrain raises many types
        raise CheckpointError(
            f"{path} cannot be read as labels: give --labels a {LABEL_ENCODER} of "
            "SpeechBrain, or a json file with a list of names"
        ) from error
    if set(names) != set(range(n_classes)):
        raise CheckpointError(
            f"{path} has {len(names)} labels, and the classifier has {n_classes} "
            "classes, from index 0: give --labels the file with which it was trained"
        )
    return tuple(str(names[index]) for index in range(n_classes))
