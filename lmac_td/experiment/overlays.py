"""Insert sizes and data layouts: several settings, chosen by one name.

The setting ``size`` names a file of ``hparams/size/``, ``data`` one of
``hparams/data/``. Such a file sets those of its settings that the recipe has. A recipe
adds its own values under ``sizes:``, by the name of the size::

    sizes:
        small:
            unet_channels: [64, 64, 64, 64]

The values of a size override the recipe that lists them. A recipe that extends that one
overrides them: ``extends: lmac_td.yaml``, ``size: small`` and ``lr: 0.01`` give the
small LMAC-TD with that learning rate. The first name of each axis, ``paper`` and
``esc50``, means the values of the recipe itself.
"""

from lmac_td.errors import SettingError
from lmac_td.experiment.settings import nearest
from lmac_td.experiment.shipped import HPARAMS

SIZES = "sizes"
# For each axis, the name that means the recipe's own values.
AXES = {"data": "esc50", "size": "paper"}


def insert_overlays(layers, read, chosen=None):
    """Insert the files of the chosen size and data into the layers of a recipe.

    Arguments
    ---------
    layers : list of dict
        The files of a recipe in the order in which they are merged.
    read : callable
        Reads a yaml file: path -> list of layers, what it extends first.
    chosen : dict, optional
        ``size`` and ``data`` of the command line.

    Returns
    -------
    list of dict
        Layers without ``sizes``; the last one holds the chosen size and data.

    Raises
    ------
    SettingError
        If there is no such size or data.
    """
    sizes = _merge_sizes(layers)
    places = [i for i, layer in enumerate(layers) if SIZES in layer]
    layers = [{k: v for k, v in layer.items() if k != SIZES} for layer in layers]
    known = {name for layer in layers for name in layer}
    axes = [axis for axis in AXES if axis in known]
    if not axes:
        return layers
    place = places[-1] + 1 if places else max(1, len(layers) - 1)
    names = {axis: _chosen(axis, layers, chosen or {}) for axis in axes}
    _check_known(sizes, known)
    size = _size_layers(names.get("size"), sizes, read)
    if names.get("data") is None:
        implied = [layer["data"] for layer in size if "data" in layer]
        names["data"] = implied[-1] if implied else AXES["data"]
    names.setdefault("size", AXES["size"])
    overlays = [*_file_layers("data", names["data"], read, ()), *size]
    return [
        *layers[:place],
        *({k: v for k, v in layer.items() if k in known} for layer in overlays),
        *layers[place:],
        {axis: names[axis] or AXES[axis] for axis in axes},
    ]


def _merge_sizes(layers):
    """Merge the ``sizes`` of all layers; later values of a size win."""
    merged = {}
    for layer in layers:
        sizes = layer.get(SIZES) or {}
        names = sizes.values() if isinstance(sizes, dict) else [None]
        if not all(isinstance(values, dict) for values in names):
            raise SettingError(
                f"{SIZES} must map names of sizes to settings, such as "
                "`small: {number_of_epochs: 10}`"
            )
        for name, values in sizes.items():
            merged[name] = merged.get(name, {}) | values
    return merged


def _check_known(sizes, known):
    """Refuse a size that sets what the recipe does not have."""
    for size, values in sizes.items():
        for name in values:
            if name not in known:
                near = nearest(name, known)
                hint = f"did you mean {near}?" if near else "remove it"
                raise SettingError(
                    f"{SIZES}: {size} sets {name}, which the recipe does not have: "
                    f"{hint}"
                )


def _chosen(axis, layers, chosen):
    """Return the name that the command line or a file chooses, or None."""
    if axis in chosen:
        return chosen[axis]
    naming = [layer[axis] for layer in layers if axis in layer]
    return naming[-1] if len(naming) > 1 else None  # the first one is the default


def _size_layers(name, sizes, read):
    """Return the layers of a size: each file's extended values, then its own."""
    found = []
    for stem, layer in _named_layers("size", name, read, tuple(sizes)):
        found += [layer, sizes.get(stem, {})]
    return found


def _file_layers(axis, name, read, others):
    return [layer for _, layer in _named_layers(axis, name, read, others)]


def _named_layers(axis, name, read, others):
    """Return the layers of an overlay, each with the stem of its file."""
    if name is None or name == AXES[axis]:
        return []
    files = {file.stem: file for file in (HPARAMS / axis).glob("*.yaml")}
    if isinstance(name, str) and name in files:
        return read(files[name])
    if name in others:
        return [(name, {})]
    names = sorted({AXES[axis], *map(str, others), *files})
    raise SettingError(f"{axis} is {name!r}: give --{axis} {' or '.join(names)}")


def recipe_of(path):
    """Return the recipe and the size for the name of a recipe that was renamed.

    ``lmac_td_small.yaml`` was a file; it is ``lmac_td.yaml`` with ``size: small``
    today, and ``lmac_td_published.yaml`` is ``published/lmac_td.yaml``.

    Arguments
    ---------
    path : Path
        A file that does not exist.

    Returns
    -------
    Path or None
        None if the name is not an earlier name of a recipe.
    size : str or None
    """
    stem, _, suffix = path.stem.rpartition("_")
    if suffix == "published":
        file = path.with_name("published") / f"{stem}.yaml"
        return (file, None) if file.is_file() else (None, None)
    file = path.with_name(f"{stem}.yaml")
    if stem and file.is_file() and (HPARAMS / "size" / f"{suffix}.yaml").is_file():
        return file, suffix
    return None, None
