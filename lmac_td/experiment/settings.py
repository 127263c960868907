"""Settings declare their role and type once, in the recipe that introduces them.

    settings:
        alpha: {role: training, type: float, min: 0, max: 1}
        data_folder: {role: [training, evaluation, mixture], type: path}
        gradcam_layer: {role: training, type: str, optional: true}

Limits are ``min``, ``max``, ``above`` and ``choices``; ``empty: true`` allows a list
without items. A setting has one or several roles:

- ``training``: the value is fixed when a run is resumed or measured.
- ``evaluation``: an evaluation may choose another value. With this role only, no
- ``mixture``: evaluations in one table must agree in it.
- ``run``: it changes neither training nor scores.
- ``length``: how long a training lasts. A resumed training may last longer; the scores
  depend on it.
- ``pretrained``: it names what an earlier command trained. It is fixed as ``training``
  is, and the fingerprint of what it names is compared, too.

Guards, comparisons, the benchmark and the sanity checks ask for roles by
:func:`names_with_role`. A plain key without a declaration is refused.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lmac_td.errors import SettingError
from lmac_td.experiment.scalar_types import (
    LARGEST_WHOLE,
    Limits,
    Number,
    Text,
    WrongValueError,
)
from lmac_td.experiment.value_types import (
    Built,
    describe_types,
    parse_type,
    read_value,
)

DECLARATIONS = "settings"  # the block of a recipe
ROLES = ("training", "evaluation", "mixture", "run", "length", "pretrained")
NONE = ("null", "none", "~")
_LIMITS = {limit.name for limit in dataclasses.fields(Limits)}


@dataclass(frozen=True)
class Setting:
    """The declaration of one setting in a recipe.

    Attributes
    ----------
    name : str
    roles : tuple of str
    type : str
        The type as written in the recipe.
    limits : Limits
    optional : bool
        Whether it may be null.
    """

    name: str
    roles: tuple
    type: str
    limits: Limits = field(default_factory=Limits)
    optional: bool = False

    @property
    def types(self) -> tuple:
        """The alternatives of its type."""
        return parse_type(self.type)

    @property
    def is_object(self) -> bool:
        """Whether only what a recipe builds can be its value."""
        return all(isinstance(kind, Built) for kind in self.types)

    @property
    def is_path(self) -> bool:
        """Whether its value can be a path."""
        return any(isinstance(kind, Text) and kind.is_path for kind in self.types)

    def read(self, value: object) -> object:
        """Convert what was given to its typed value.

        Arguments
        ---------
        value : object
            A text of the command line, or what yaml read.

        Returns
        -------
        object

        Raises
        ------
        SettingError
            If it has another type or is outside its limits.
        """
        is_none = value is None or (isinstance(value, str) and value.lower() in NONE)
        if is_none and self.optional:
            return None
        try:
            return read_value(self.types, value, self.limits)
        except WrongValueError as error:
            raise SettingError(self._refusal(value)) from error

    def check_built(self, value: object):
        """Refuse a built or computed value of another type.

        Raises
        ------
        SettingError
        """
        kinds = [kind for kind in self.types if isinstance(kind, Built)]
        if not any(kind.fits(value) for kind in kinds):
            self.read(value)

    def _refusal(self, value):
        shown = str(value) if _is_number(value) else repr(value)
        shown = "null" if value is None else shown
        shown = f"{shown[:60]}..." if shown[60:] else shown
        expected = describe_types(self.types, self.limits)
        if self._is_too_large(value):
            expected += f", at most {LARGEST_WHOLE}"
        expected += ", or null" if self.optional else ""
        give = "name" if self.is_object else f"give --{self.name}"
        return f"{self.name} is {shown}: {give} {expected}"

    def _is_too_large(self, value):
        """Return whether the limit of all whole numbers refuses a value."""
        is_whole = any(isinstance(t, Number) and t.whole for t in self.types)
        if not is_whole or self.limits.max is not None or not _is_number(value):
            return False
        return (float(value) if isinstance(value, str) else value) > LARGEST_WHOLE

    def summary(self) -> str:
        """Roles, type and limits in one line, for ``show`` and ``--help``.

        Example
        -------
        >>> Setting("alpha", ("training",), "float", Limits(min=0, max=1)).summary()
        'training; float, from 0, to 1'
        """
        limits = self.limits
        parts = [self.type]
        parts += [f"above {limits.above}"] if limits.above is not None else []
        parts += [f"from {limits.min}"] if limits.min is not None else []
        parts += [f"to {limits.max}"] if limits.max is not None else []
        parts += [" | ".join(map(str, limits.choices))] if limits.choices else []
        parts += ["or null"] if self.optional else []
        return f"{', '.join(self.roles)}; {', '.join(parts)}"


def _is_number(value):
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, (int, float))


def declarations(tree: Mapping) -> dict[str, Setting]:
    """Return the settings that a composed recipe declares.

    Arguments
    ---------
    tree : mapping
        The result of :func:`lmac_td.experiment.recipe.compose`.

    Returns
    -------
    dict of str to Setting

    Raises
    ------
    SettingError
        If a declaration has no role, no type, or another key.

    Example
    -------
    >>> tree = {"settings": {"lr": {"role": "training", "type": "float", "above": 0}}}
    >>> declarations(tree)["lr"].roles
    ('training',)
    """
    block = tree.get(DECLARATIONS, {})
    if not isinstance(block, Mapping):
        raise SettingError(
            f"settings is {block!r}: it declares settings, one per line, such as "
            "`alpha: {role: training, type: float}`"
        )
    return {str(name): _declaration(str(name), line) for name, line in block.items()}


def _declaration(name, line):
    example = f"write `{name}: {{role: training, type: float}}` in `settings:`"
    if not isinstance(line, Mapping) or not {"role", "type"} <= set(line):
        raise SettingError(f"the declaration of {name} has no role and type: {example}")
    unknown = sorted(map(str, set(line) - _LIMITS - {"role", "type", "optional"}))
    if unknown:
        raise SettingError(f"the declaration of {name} has {unknown[0]!r}: {example}")
    roles = [line["role"]] if isinstance(line["role"], str) else line["role"]
    wrong = [r for r in roles if r not in ROLES] if isinstance(roles, list) else [roles]
    if wrong or not roles:
        raise SettingError(
            f"the declaration of {name} has role {line['role']!r}: use one or several "
            f"of {', '.join(ROLES)}"
        )
    try:
        parse_type(line["type"])
    except ValueError as error:
        raise SettingError(f"the declaration of {name}: {error}") from error
    limits = _limits(name, {key: line[key] for key in _LIMITS if key in line})
    optional = line.get("optional", False)
    _require_bool(name, "optional", optional)
    return Setting(name, tuple(roles), str(line["type"]), limits, optional)


def _require_bool(name, key, value):
    if not isinstance(value, bool):
        raise SettingError(
            f"the declaration of {name} has {key} {value!r}: write True or False"
        )


def _limits(name, given):
    for key, limit in given.items():
        if key == "empty":
            _require_bool(name, key, limit)
            continue
        is_choices = key == "choices"
        if is_choices and not (isinstance(limit, (list, tuple)) and limit):
            raise SettingError(
                f"the declaration of {name} has choices {limit!r}: write a list, such "
                "as [mean, mask]"
            )
        is_number = isinstance(limit, (int, float)) and not isinstance(limit, bool)
        if not is_choices and not is_number:
            raise SettingError(
                f"the declaration of {name} has {key} {limit!r}: write a number"
            )
    choices = tuple(str(choice) for choice in given.get("choices", ()))
    return Limits(**{**given, "choices": choices})


def names_with_role(tree: Mapping, *roles: str) -> set[str]:
    """Return the names of the settings that have one of the given roles.

    Arguments
    ---------
    tree : mapping
        A composed recipe.
    *roles : str
        Roles of :data:`ROLES`.

    Returns
    -------
    set of str

    Example
    -------
    >>> tree = {"settings": {"snr": {"role": ["evaluation", "mixture"], "type": "str"}}}
    >>> names_with_role(tree, "mixture"), names_with_role(tree, "training", "run")
    ({'snr'}, set())
    """
    for role in roles:
        if role not in ROLES:
            raise ValueError(f"there is no role {role!r}: use {', '.join(ROLES)}")
    return {
        name
        for name, setting in declarations(tree).items()
        if set(roles) & set(setting.roles)
    }


def is_fixed_when_resumed(roles: Iterable[str]) -> bool:
    """Return whether changing a setting makes it another training."""
    return bool({"training", "pretrained"} & set(roles))


def is_fixed_when_measured(roles: Iterable[str]) -> bool:
    """Return whether an evaluation must use the value of the training."""
    return is_fixed_when_resumed(roles) and "evaluation" not in roles


def changes_explanations(roles: Iterable[str]) -> bool:
    """Return whether a setting changes the explanations of training clips.

    Mixtures that only an evaluation makes are not training clips.

    Example
    -------
    >>> changes_explanations(["training"]), changes_explanations(["run", "mixture"])
    (True, True)
    >>> changes_explanations(["evaluation", "mixture"]), changes_explanations(["run"])
    (False, False)
    """
    roles = set(roles)
    return is_fixed_when_resumed(roles) or roles >= {"run", "mixture"}


def read_by_evaluations_alone(roles: Iterable[str]) -> bool:
    """Return whether only evaluations read a setting.

    Example
    -------
    >>> read_by_evaluations_alone(["evaluation", "mixture"])
    True
    >>> read_by_evaluations_alone(["training", "evaluation", "mixture"])
    False
    """
    return "evaluation" in roles and not {"training", "run"} & set(roles)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to a name, or None."""
    return next(iter(difflib.get_close_matches(str(name), list(known), n=1)), None)
