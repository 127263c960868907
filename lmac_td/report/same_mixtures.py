"""Were two evaluations made from the same mixtures and decisions?

Only then may their rows stand in one table. An evaluation writes the names of the
settings that others must agree in (those with the role *mixture*) into its table.json,
beside the values of all.
"""

from lmac_td.data.sources.esc50 import ESC50

# Of a table's settings: the names, in its recipe, of those that others must agree in.
MIXTURE_SETTINGS = "mixture settings"
# These stand in the table itself, whatever the recipe says.
_OF_TABLE = ("test_fold_nums", "mixing_seed")
# Of tables that were made before these names were written.
BEFORE = (
    "data_folder", "wham_folder", "ljspeech_folder", "sample_rate", "signal_length_s",
    "n_fft", "win_length", "hop_length", "n_mels", "pretrained_classifier",
    "content of pretrained_classifier", "dataset", "target",
)  # fmt: skip


def differing_settings(first: dict, second: dict) -> list[str]:
    """Return the settings that two evaluations must agree in and do not.

    SNRs are not compared, see :func:`differing_snrs`.

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
        If they are no settings of a table.

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
        # A version that did not know the setting could not differ in it.
        known = all(
            name in names or name in recipe
            for names, recipe in zip(listed, recipes, strict=True)
        )
        if known and recipes[0].get(name) != recipes[1].get(name):
            found.append(name)
    return list(dict.fromkeys(found))


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
