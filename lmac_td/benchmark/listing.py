"""Read the file that lists what a benchmark trains and measures."""

from dataclasses import dataclass, field
from pathlib import Path

from lmac_td.benchmark.classifiers import check_classifiers
from lmac_td.errors import SettingError
from lmac_td.experiment.yaml_files import read_plain_yaml

ENTRY_KEYS = {
    "prepare": {"script", "recipe", "makes", "settings", "name"},
    "methods": {
        "recipe", "settings", "seeds", "classifiers", "name", "after", "train",
        "evaluate",
    },
}  # fmt: skip
TEXTS = {"script", "recipe", "makes", "name", "after", "train", "evaluate"}


@dataclass(frozen=True)
class Listing:
    """The content of a benchmark's file.

    Attributes
    ----------
    prepare, methods : list of dict
        The entries; their keys are those of ``ENTRY_KEYS``.
    columns : list of str
        Columns of the final table by name; empty for all columns.
    closing : str
        A text to print below the final table.
    classifiers : list of dict
        Every method runs for each of them: a ``name``, and settings, such as
        ``pretrained_classifier``. Empty: methods run once, as their recipes say.
    """

    prepare: list = field(default_factory=list)
    methods: list = field(default_factory=list)
    columns: list = field(default_factory=list)
    closing: str = ""
    classifiers: list = field(default_factory=list)

    @property
    def entries(self) -> list:
        """All entries, in order."""
        return [*self.prepare, *self.methods]


def read_listing(path: str | Path) -> Listing:
    """Read a benchmark's file.

    Arguments
    ---------
    path : str or Path
        A yaml file with the lists ``prepare`` and ``methods``, and, if wanted,
        ``classifiers``, ``columns`` and ``closing``.

    Returns
    -------
    Listing

    Raises
    ------
    SettingError
        If the file is missing, or one of its entries is not valid.
    """
    tree = _read_yaml(path)
    for section, keys in ENTRY_KEYS.items():
        if not isinstance(tree.get(section) or [], list):
            raise SettingError(f"{path}: {section} must be a list of entries")
        for entry in tree.get(section) or []:
            _check_entry(path, section, keys, entry)
    listing = Listing(**{name: value for name, value in tree.items() if value})
    if not listing.entries:
        raise SettingError(f"{path} lists nothing to run: see its `prepare`, `methods`")
    check_classifiers(path, listing.classifiers, listing.methods)
    columns = listing.columns
    if not isinstance(columns, list) or not all(isinstance(c, str) for c in columns):
        raise SettingError(
            f"{path}: columns is {columns!r}: list the names of columns, as in "
            "[AI, AD, FF]"
        )
    if not isinstance(listing.closing, str):
        raise SettingError(f"{path}: closing is {listing.closing!r}: write a text")
    return listing


def _read_yaml(path):
    tree = read_plain_yaml(path, "recipes/ESC50/esc10.yaml")
    known = list(Listing.__dataclass_fields__)
    if not set(tree) <= set(known):
        raise SettingError(f"{path} must have no other keys than {', '.join(known)}")
    return tree


def _check_entry(path, section, keys, entry):
    required = {"script", "recipe", "makes"} & keys
    if not isinstance(entry, dict) or not required <= set(entry):
        raise SettingError(
            f"{path}: an entry of {section} is {entry!r}: it must have "
            f"{', '.join(sorted(required))}"
        )
    for key in set(entry) - keys:
        raise SettingError(
            f"{path}: {entry['recipe']} has a key {key!r}, but an entry of {section} "
            f"can have {', '.join(sorted(keys))} only"
        )
    if not isinstance(entry.get("settings") or {}, dict):
        raise SettingError(
            f"{path}: settings of {entry['recipe']} must be names: values"
        )
    if "evaluate" in entry and not entry["evaluate"]:
        raise SettingError(
            f"{path}: {entry['recipe']} has no evaluation: name a script, leave "
            "`evaluate` out, or list it in `prepare`"
        )
    for key in TEXTS & set(entry):
        if not isinstance(entry[key], str) and not (key == "train" and not entry[key]):
            raise SettingError(
                f"{path}: an entry of {section} has {key} {entry[key]!r}: write a text"
            )
    if "seeds" in entry and not _are_seeds(entry["seeds"]):
        raise SettingError(
            f"{path}: seeds of {entry['recipe']} must be a list of seeds, such as "
            "[1, 2]"
        )


def _are_seeds(seeds):
    if not isinstance(seeds, list) or not seeds:
        return False
    # A value that is not a whole number is refused by the recipe.
    return all(isinstance(seed, (int, float, str)) for seed in seeds)
