"""Save and read the settings of a trained run: ``settings.json``.

Folders of the first version hold no roles, and some settings under earlier names.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from lmac_td.errors import SettingError, UnreadableFileError
from lmac_td.files import write_atomically
from lmac_td.reading import read_json

SETTINGS = "settings.json"
ROLES = "roles"
# Settings that had another name in the first version.
RENAMED = {"heard": "classifier_input"}


def save_settings(folder: str | Path, settings: Mapping, roles: Mapping):
    """Save plain settings and their roles in a folder.

    Arguments
    ---------
    folder : str or Path
    settings : mapping
        Values that json can hold.
    roles : mapping of str to sequence of str
        The roles of each setting.
    """
    content = {**settings, ROLES: {name: list(of) for name, of in roles.items()}}
    with write_atomically(Path(folder) / SETTINGS, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)


def read_settings(folder: str | Path) -> dict:
    """Read the settings that were kept in a folder; empty if there are none.

    Raises
    ------
    SettingError
        If its file is damaged.
    """
    return {k: v for k, v in _read(folder).items() if k != ROLES}


def read_roles(folder: str | Path) -> dict[str, tuple]:
    """Read the roles of the settings kept in a folder; empty in older folders.

    Raises
    ------
    SettingError
        If its file is damaged.
    """
    roles = _read(folder).get(ROLES, {})
    if not isinstance(roles, dict) or not all(
        isinstance(r, list) for r in roles.values()
    ):
        raise _damaged(Path(folder) / SETTINGS)
    return {name: tuple(of) for name, of in roles.items()}


def _read(folder):
    path = Path(folder) / SETTINGS
    try:
        return renamed(read_json(path))
    except (FileNotFoundError, NotADirectoryError):  # a file of weights has none
        return {}
    except UnreadableFileError as error:
        raise _damaged(path) from error


def _damaged(path):
    return SettingError(
        f"{path} cannot be read as the settings of a run: restore it, or train again "
        "into another folder"
    )


def renamed(settings: Mapping) -> dict:
    """Return saved settings under their current names.

    Example
    -------
    >>> renamed({"heard": "audio", "seed": 1})
    {'classifier_input': 'audio', 'seed': 1}
    """
    return {RENAMED.get(name, name): value for name, value in settings.items()}
