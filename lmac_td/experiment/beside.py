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
    """Return what lies beside a recipe in place of what it names and is not there.

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
        if name not in given and not (tree[name] and Path(str(tree[name])).exists())
    }
