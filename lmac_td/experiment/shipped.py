"""Where the recipes and the reference classifier are: in a clone, or in a wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# A wheel holds them in the package, since other folders are not the package's own.
_ROOT = _PACKAGE / "shipped" if (_PACKAGE / "shipped").is_dir() else _PACKAGE.parent

HPARAMS = _ROOT / "hparams"
REFERENCE_CLASSIFIER = _ROOT / "recipes" / "ESC50" / "classifiers" / "cnn14_small_seed1"
