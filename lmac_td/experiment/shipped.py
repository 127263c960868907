"""Where the recipes and the reference models are: in a clone, or in a wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# A wheel holds them in the package, since other folders are not the package's own.
SHIPPED = _PACKAGE / "shipped" if (_PACKAGE / "shipped").is_dir() else _PACKAGE.parent

HPARAMS = SHIPPED / "hparams"
REFERENCE_CLASSIFIER = (
    SHIPPED / "recipes" / "ESC50" / "classifiers" / "cnn14_small_seed1"
)
# A trained interpreter of the reference classifier, which it contains.
REFERENCE_INTERPRETER = (
    SHIPPED / "recipes" / "ESC50" / "interpreters" / "budgeted_small"
)


def find_recipe(name: str) -> str:
    """Return the path of a recipe: the user's own file, or else one of this package.

    Arguments
    ---------
    name : str
        A path, such as ``my.yaml`` or ``hparams/lmac_td.yaml``.

    Returns
    -------
    str
        The name itself if there is no such recipe in the package either.

    Example
    -------
    >>> Path(find_recipe("hparams/lmac_td.yaml")).is_file()
    True
    """
    shipped = SHIPPED / name
    if Path(name).exists() or not shipped.is_file():
        return name
    return str(shipped)
