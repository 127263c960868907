"""The repository whose commands a benchmark starts."""

from pathlib import Path

from lmac_td.errors import SettingError

# The two commands. A clone has them, a wheel does not.
TRAIN, EVALUATE = "train_interpreter.py", "eval_faithfulness.py"


def repository_root() -> Path:
    """Return the clone that this package is in, or else the current folder."""
    around = Path(__file__).resolve().parents[2]
    return around if (around / TRAIN).is_file() else Path.cwd()


ROOT = repository_root()


def require_clone() -> None:
    """Refuse to start the repository's commands where they are missing.

    Raises
    ------
    SettingError
        If the package is in no clone, and the current folder is none.
    """
    if not (ROOT / TRAIN).is_file():
        raise SettingError(
            f"{TRAIN} is not in {ROOT}: this command starts other commands of the "
            "repository, so run it at the root of a clone"
        )
