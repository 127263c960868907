"""Find, download and strictly load the weights of a trained classifier."""

import http.client
import os
from pathlib import Path

import huggingface_hub.errors
import safetensors.torch
import torch
from speechbrain.utils.distributed import run_on_main
from speechbrain.utils.fetching import FetchConfig, fetch

from lmac_td.classifiers.speechbrain_sources import require_https
from lmac_td.errors import CheckpointError
from lmac_td.files import temporary_folder_beside
from lmac_td.model_sources import ADDRESS, FOLDER, HUB_ID, require_source
from lmac_td.names import name_of_source
from lmac_td.reading import absence, regular_size
from lmac_td.runtime.loading import first_not_finite

_REMEDY = (
    "give pretrained_classifier a folder that holds model.safetensors, or "
    "embedding_model.ckpt and classifier.ckpt; or train one with `python "
    "recipes/ESC50/train_classifier.py hparams/cnn14.yaml` and the same --size"
)


def locate(
    filename: str,
    source: str | Path | None,
    savedir: str | Path,
    revision: str | None = None,
) -> Path:
    """Find one file of a trained classifier, downloading it if needed.

    Arguments
    ---------
    filename : str
        Such as ``embedding_model.ckpt``.
    source : str or Path
        A folder that holds the file, an ``http(s)://`` address below which it stands,
        or a Hugging Face hub id. A folder that exists wins over a hub id.
    savedir : str or Path
        Where downloads are kept, one folder per source and revision; a local source is
        read in place.
    revision : str, optional
        A commit, tag or branch of a hub id. Without one the file is that of the main
        branch when it is first fetched, which its author can change.

    Returns
    -------
    Path

    Raises
    ------
    CheckpointError
        If the file is missing or cannot be fetched, or no source is given.
    SettingError
        If an address is not encrypted.
    """
    if source is None:
        raise CheckpointError(
            "pretrained_classifier is null: give --pretrained_classifier the folder, "
            f"the address or the hub id that holds {filename}"
        )
    source = str(source)
    if require_source(source, _REMEDY, (FOLDER, ADDRESS, HUB_ID)) == FOLDER:
        path = Path(source) / filename
        if not path.is_file():
            raise CheckpointError(f"{path} {absence(path, 'file')}: {_REMEDY}")
        return path
    require_https(source, "pretrained_classifier")
    source = source.rstrip("/")
    path = Path(savedir) / name_of_source(source, revision) / filename
    if not path.is_file():
        run_on_main(_download, args=[filename, source, path, revision])
    return path


def _download(filename, source, path, revision):
    """Fetch a checkpoint into a folder of this process; move it when it is whole."""
    try:
        with temporary_folder_beside(path) as scratch:
            config = FetchConfig(revision=revision)
            found = fetch(filename, source, scratch, fetch_config=config)
            os.replace(found, path)
    except (
        OSError,
        ValueError,
        http.client.HTTPException,
        huggingface_hub.errors.HTTPError,
    ) as error:
        raise CheckpointError(
            f"pretrained_classifier: {filename} could not be fetched from {source}"
            f"{(revision and f' at revision {revision}') or ''} "
            f"({type(error.__cause__ or error).__name__}); check the name and the "
            "network, or give a local folder that holds it"
        ) from error


# What to set if a file belongs to another CNN14.
CNN14_REMEDY = (
    "set cnn14_channels, emb_dim, n_mels and out_n_neurons as when "
    "pretrained_classifier was trained"
)


# What to do if a file is damaged.
FETCH_AGAIN = "fetch or train the pretrained_classifier again"


def load_weights(module, path, source, remedy=CNN14_REMEDY, again=FETCH_AGAIN):
    """Load one state dict strictly, by the safe loader.

    Arguments
    ---------
    module : torch.nn.Module
    path : Path
        The file, of ``torch.save`` or safetensors (by its suffix).
    source : str or Path
        Where the file is from; a damaged download is deleted. What is local, a folder
        or the file itself, is kept.
    remedy : str
        What to do where the file belongs to another model.
    again : str
        What to do where the file is damaged.

    Raises
    ------
    CheckpointError
        If the file is damaged, or belongs to a model of other widths.
    """
    load_state(module, read_state(path, source, again), path, remedy)


def load_state(module, state, path, remedy=CNN14_REMEDY):
    """Load a state dict strictly.

    Arguments
    ---------
    module : torch.nn.Module
    state : dict of str to Tensor
    path : Path
        The file that it was read from, for messages.
    remedy : str
        What to do where it belongs to another model.

    Raises
    ------
    CheckpointError
        If it belongs to a model of other widths, or weights are not finite.
    """
    own = module.state_dict()
    for prefix in PREFIXES:
        if not any(key.startswith(prefix) for key in own):
            state = without_prefix(state, prefix)
    difference = first_difference(own, state)
    if difference:
        raise CheckpointError(
            f"{path} belongs to another model: {difference}; {remedy}"
        )
    broken = first_not_finite(state)
    if broken:
        raise CheckpointError(
            f"{path}: its {broken} is not finite: fetch or train it again"
        )
    module.load_state_dict(state)


def read_state(path, source, again=FETCH_AGAIN):
    """Read a state dict by the safe loader, which runs no code.

    It is also found below the keys under which trainings save it, see ``WRAPPERS``.

    Arguments
    ---------
    path, source, again
        See :func:`load_weights`.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    CheckpointError
        If the file is damaged, or holds no state dict or several ones.
    """
    state = unwrapped(read_tensors(path, source, again))
    if not isinstance(state, dict):
        raise CheckpointError(
            f"{path} holds a {type(state).__name__}, not a state dict: {_SAVE}"
        )
    inner = next((key for key, value in state.items() if isinstance(value, dict)), None)
    if inner is not None:
        raise CheckpointError(f"{path} has weights below {inner!r}: {_SAVE}")
    return state


def read_tensors(path, source, again=FETCH_AGAIN):
    """Read what a file of weights holds; see :func:`read_state`.

    Returns
    -------
    object
        A state dict, or whatever else of tensors and plain values was saved.
    """
    try:
        regular_size(path)
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types
        if not Path(source).exists():
            path.unlink(missing_ok=True)  # so that the next run fetches it again
        raise CheckpointError(
            f"{path} is corrupt or is not a checkpoint of weights: {again}"
        ) from error


_SAVE = "save the weights by torch.save(network.state_dict(), path)"


# Keys under which trainings save a state dict beside an epoch, an optimiser and so on.
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "network")
# Put before each key by DataParallel and DistributedDataParallel, and by torch.compile.
PREFIXES = ("module.", "_orig_mod.", "module.")


def unwrapped(held: object) -> object:
    """Return the state dict in what a training saved.

    Arguments
    ---------
    held : object
        What the file holds; anything but a wrapped state dict is returned as it is.

    Example
    -------
    >>> unwrapped({"epoch": 3, "model": {"bias": torch.zeros(1)}})
    {'bias': tensor([0.])}
    """
    while isinstance(held, dict) and not any(map(torch.is_tensor, held.values())):
        name = next((n for n in WRAPPERS if isinstance(held.get(n), dict)), None)
        if name is None:
            break
        held = held[name]
    return held


def without_prefix(state: dict[str, object], prefix: str) -> dict[str, object]:
    """Return a state dict without a prefix that all its keys have.

    Example
    -------
    >>> without_prefix({"module.a": 1, "module.b": 2}, "module.")
    {'a': 1, 'b': 2}
    """
    if not all(str(key).startswith(prefix) for key in state):
        return state
    return {key.removeprefix(prefix): value for key, value in state.items()}


def first_difference(expected, found):
    """Describe the first difference of two state dicts, or return None.

    Arguments
    ---------
    expected, found : dict of str to Tensor

    Returns
    -------
    str or None
        For a message.
    """
    for key, tensor in expected.items():
        if key not in found:
            return f"it has no {key}"
        if not isinstance(found[key], torch.Tensor):
            return f"its {key} is a {type(found[key]).__name__}, not a tensor"
        if _is_special(found[key], tensor):
            return f"its {key} is {_described(found[key])}"
        if found[key].shape != tensor.shape:
            return (
                f"its {key} is {tuple(found[key].shape)}, the settings ask for "
                f"{tuple(tensor.shape)}"
            )
    for key in found:
        if key not in expected:
            return f"it has {key}, which the settings do not ask for"
    return None


def _is_special(found, expected):
    """Return whether a tensor cannot be copied into another one as it is."""
    is_dense = found.layout == torch.strided and not found.is_quantized
    loses = expected.is_floating_point() and not found.is_floating_point()
    return found.is_meta or not is_dense or loses


def _described(tensor):
    if tensor.is_meta:
        return "a tensor without values"
    if tensor.layout != torch.strided:
        return f"a tensor of layout {tensor.layout}, which is not dense"
    return f"a tensor of {tensor.dtype}, not of floating point"
