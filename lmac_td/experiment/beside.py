"""What a training put beside its recipe: the classifier, a dictionary."""

from collections.abc import Mapping
from pathlib import Path

from lmac_td.experiment.settings import names_with_role


def weights_beside(tree: Mapping, folder: Path) -> dict[str, str]:
    """Return the settings that name what lies beside a recipe.

    Arguments
    ---------
    tree : mapping
        The composed recipe.
    folder : Path
        The recipe's folder.

    Returns
    -------
    dict of str to str
        By the name of the setting, the path.
    """
    return {
        name: str(folder / name)
        for name in names_with_role(tree, "pretrained")
        if (folder / name).exists()
    }


def missing_weights(tree: Mapping, recipe: str | Path, given: Mapping) -> dict:
    """Return what lies beside a recipe in place of a path that is not there.

    So a folder that was moved, or comes from another disk, can be evaluated.

    Arguments
    ---------
    tree : mapping
        The composed recipe.
    recipe : str or Path
    given : mapping
        The settings of the command line: what is named there is not replaced.

    Returns
    -------
    dict of str to str
    """
    return {
        name: path
        for name, path in weights_beside(tree, Path(recipe).parent).items()
        if name not in given and _is_missing_path(name, tree[name])
    }


def _is_missing_path(name: str, value: object) -> bool:
    """Return whether a setting names a path on this disk that does not exist.

    A hub id, such as ``fpaissan/r``, looks like a path with one slash; only the path of
    a folder of this package, such as ``lmac/pretrained_classifier``, is taken for one.
    """
    if not isinstance(value, str) or value.startswith(("http://", "https://")):
        return False
    is_hub_id = value.count("/") == 1 and Path(value).name != name
    return not is_hub_id and not Path(value).exists()
