"""Check whether two evaluations were made from the same mixtures and decisions.

Only then may their rows be in one table. An evaluation writes all its settings into its
table.json, and the names of those that others must agree in (the role *mixture*).
"""

from lmac_td.data.sources.esc50 import ESC50
from lmac_td.names import same_places

# The key in a table's settings that lists the settings that others must agree in.
MIXTURE_SETTINGS = "mixture settings"
# The key that holds the hash of each second classifier's weights, if there is one.
SECOND_CLASSIFIER = "second_classifier"
_CLIPS = "clips of dataset"  # hashes of its folds
# These settings are in the table itself, independent of the recipe.
_OF_TABLE = ("test_fold_nums", "mixing_seed")
# The settings of tables that were made before these names were written.
BEFORE = (
    "data_folder", "wham_folder", "ljspeech_folder", "sample_rate", "signal_length_s",
    "n_fft", "win_length", "hop_length", "n_mels", "pretrained_classifier",
    "content of pretrained_classifier", "dataset", "target",
)  # fmt: skip


def differing_settings(first: dict, second: dict) -> list[str]:
    """Return the settings that two evaluations must agree in and do not.

    Tables without a second classifier go with every other. SNRs are not compared, see
    :func:`differing_snrs`.

    Arguments
    ---------
    first, second : dict
        Settings of two tables.

    Returns
    -------
    list of str

    Raises
    ------
    KeyError
        If they are not the settings of a table.

    Example
    -------
    >>> table = {"test_fold_nums": [5], "mixing_seed": 1, "recipe": {"data_folder": ""}}
    >>> differing_settings(table, table | {"mixing_seed": 2})
    ['mixing_seed']
    """
    found = [name for name in _OF_TABLE if first[name] != second[name]]
    listed = [settings.get(MIXTURE_SETTINGS, BEFORE) for settings in (first, second)]
    recipes = [_with_defaults(settings["recipe"]) for settings in (first, second)]
    for name in dict.fromkeys([*listed[0], *listed[1]]):
        # A version without the setting could not differ in it.
        known = all(
            name in names or name in recipe
            for names, recipe in zip(listed, recipes, strict=True)
        )
        values = [recipe.get(name) for recipe in recipes]
        if known and not (same_places(*values) or _same_content(name, *recipes)):
            found.append(name)
    judges = [table.get(SECOND_CLASSIFIER) for table in (first, second)]
    if all(judges) and len({frozenset(j.values()) for j in judges}) > 1:
        found.append(SECOND_CLASSIFIER)
    return list(dict.fromkeys(found))


def _same_content(name, first, second):
    """Return whether two settings name the same content, in different places."""
    key = _CLIPS if name in ("dataset", "data_folder") else f"content of {name}"
    return first.get(key) is not None and first.get(key) == second.get(key)


def differing_snrs(first: dict, second: dict, conditions) -> list[str]:
    """Return the given conditions that two tables mixed at different SNRs."""
    return [
        condition
        for condition in conditions
        if first["snr_db"].get(condition) != second["snr_db"].get(condition)
    ]


def _with_defaults(recipe):
    """Add the data set and target that older recipes did not name."""
    before = {"target": "auto"}
    if "data_folder" in recipe:
        before["dataset"] = ESC50(str(recipe["data_folder"])).identity
    return before | recipe
