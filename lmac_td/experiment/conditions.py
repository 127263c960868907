"""Read which conditions an evaluation scores."""

from collections.abc import Sequence

from lmac_td.errors import SettingError
from lmac_td.validation import require_choice

# The folder of an evaluation; that of one condition alone begins with it.
EVALUATION = "evaluation"


def conditions_of(wanted: str | list, known: Sequence[str]) -> list[str]:
    """Return the names that the setting ``condition`` asks for.

    Arguments
    ---------
    wanted : str or list of str
        ``all``, one name, or several.
    known : sequence of str
        The conditions that the recipe names.

    Returns
    -------
    list of str
        The names, in the given order.

    Raises
    ------
    SettingError
        If a name is unknown or given twice, or none is given.
    """
    if wanted == "all":
        return list(known)
    if not isinstance(wanted, list):
        require_choice("condition", wanted, ("all", *known))
        return [wanted]
    for condition in wanted:
        require_choice("condition", condition, tuple(known))
    if not wanted or len(set(wanted)) < len(wanted):
        raise SettingError(
            f"condition is {wanted!r}: give --condition all, one name, or a list "
            f"of {', '.join(known)}, each at most once"
        )
    return list(wanted)


def evaluation_name(conditions: Sequence[str]) -> str:
    """The folder of an evaluation: one condition alone has a folder of its own.

    Example
    -------
    >>> evaluation_name(["speech"]), evaluation_name(["speech", "clean"])
    ('evaluation_speech', 'evaluation')
    """
    return f"{EVALUATION}_{conditions[0]}" if len(conditions) == 1 else EVALUATION
