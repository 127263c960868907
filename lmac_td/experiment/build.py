"""Build what a recipe describes: values are typed, references resolved, objects made.

A value on the command line or in a file is checked against the type that its setting
declares. HyperPyYAML gets the typed value.
"""

import os
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

import ruamel.yaml
from hyperpyyaml import load_hyperpyyaml, resolve_references

from lmac_td.errors import SettingError, UserError
from lmac_td.experiment.recipe import REFERENCES, compose, referred_to
from lmac_td.experiment.settings import DECLARATIONS, declarations, nearest
from lmac_td.experiment.value_types import type_of
from lmac_td.experiment.yaml_files import dump_yaml, tag_of

PLACEHOLDER = "!PLACEHOLDER"


class BuiltRecipe(dict):
    """What a recipe builds, by key; a missing key raises a SettingError.

    Arguments
    ---------
    values : dict
    recipe : str or Path
        Named in the message.

    Example
    -------
    >>> BuiltRecipe({"a": 1}, "mine.yaml")["objective"]
    Traceback (most recent call last):
    lmac_td.errors.SettingError: mine.yaml has no key objective: extend a recipe of \
hparams/ that has it, or add it
    """

    def __init__(self, values: dict, recipe: str | Path):
        super().__init__(values)
        self.recipe = recipe

    def __missing__(self, name):
        raise SettingError(
            f"{self.recipe} has no key {name}: extend a recipe of hparams/ that has "
            "it, or add it"
        )


def typed_recipe(
    recipe: str | Path, given: Mapping | None = None
) -> ruamel.yaml.comments.CommentedMap:
    """Return a composed recipe with the given settings; plain values get a type.

    Arguments
    ---------
    recipe : str or Path
    given : mapping, optional
        Values by name, as texts or as yaml gives them.

    Returns
    -------
    ruamel.yaml.comments.CommentedMap
        Nothing is built; references are not resolved.

    Raises
    ------
    SettingError
        If a key is not declared, a given name is unknown, or a value has another type.
    """
    tree = compose(recipe, given)
    try:
        declared = declarations(tree)
        for name, value in (given or {}).items():
            _check_known(recipe, name, tree, declared)
            tree[name] = declared[name].read(value)
        for name in [name for name in tree if name in declared]:
            if is_plain(tree[name]):
                _set_typed(tree, declared[name])
            if declared[name].is_path:
                _expand_home(tree, name)
        _check_declared(recipe, tree, declared)
    except SettingError as error:
        raise _in(recipe, error) from error
    return tree


def _in(recipe, error):
    """Return the same error with the name of the file in its message."""
    sentence = str(error)
    return error if str(recipe) in sentence else SettingError(f"{recipe}: {sentence}")


def _set_typed(tree, setting):
    """Replace a value by its typed one, where they differ."""
    value = tree[setting.name]
    typed = setting.read(value)
    if typed != value or not isinstance(value, type(typed)):
        tree[setting.name] = typed


def _expand_home(tree, name):
    """Put the user's home in the place of ``~/``: not every shell does it.

    Before references are resolved, so that the same path is in all that refers to it.
    """
    node = tree[name]
    if isinstance(node, str) and node.startswith("~/"):
        tree[name] = os.path.expanduser(node)
    elif tag_of(node) == "!ref" and node.value.startswith("~/"):
        node.value = os.path.expanduser(node.value)


def is_plain(node: object) -> bool:
    """Return whether a node holds only values: no object and no reference."""
    if tag_of(node).startswith("!"):
        return False
    if isinstance(node, (dict, list)):
        return all(map(is_plain, node.values() if isinstance(node, dict) else node))
    return True


def is_built(node: object) -> bool:
    """Return whether a node holds an object to build."""
    tag = tag_of(node)
    if tag.startswith("!") and tag not in (*REFERENCES, PLACEHOLDER, "!tuple"):
        return True
    if isinstance(node, (dict, list)):
        return any(map(is_built, node.values() if isinstance(node, dict) else node))
    return False


def _check_known(recipe, name, tree, declared):
    if name not in tree or name == DECLARATIONS:
        near = nearest(name, set(tree) & set(declared))
        hint = f"did you mean --{near}?" if near else "see the file's settings"
        raise SettingError(f"{recipe} has no setting named {name!r}: {hint}")
    if name not in declared or (declared[name].is_object and is_built(tree[name])):
        raise SettingError(f"{name} builds an object: change it in {recipe}")


def _check_declared(recipe, tree, declared):
    """Refuse a misspelt key, or a user's setting without a type."""
    used = None
    for name, node in tree.items():
        if name in declared or name == DECLARATIONS or name.startswith("__"):
            continue
        if is_built(node):
            used = referred_to(tree) if used is None else used
            if name in used:
                continue
        near = nearest(name, declared)
        hint = f"did you mean {near}? " if near else ""
        kind = "object" if is_built(node) else type_of(node)
        raise SettingError(
            f"{recipe} has a key {name} that no recipe declares: {hint}A setting of "
            "your own needs a role and a type in the same file, such as "
            f"`settings: {{{name}: {{role: training, type: {kind}}}}}`"
        )


def load_recipe(recipe: str | Path, given: Mapping | str | None = None) -> BuiltRecipe:
    """Build all objects that a recipe describes.

    Arguments
    ---------
    recipe : str or Path
    given : mapping or str, optional
        Settings that replace the file's: by name, or as yaml.

    Returns
    -------
    BuiltRecipe

    Raises
    ------
    SettingError
        If a setting is unknown (the nearest name is offered) or its value is not valid.
    """
    return build_recipe(recipe, typed_recipe(recipe, _by_name(given)))


def plain_settings(recipe: str | Path, given: Mapping | str | None = None) -> Mapping:
    """Return a recipe's plain settings, with references resolved, building nothing.

    Arguments
    ---------
    recipe : str or Path
    given : mapping or str, optional
        Settings that replace the file's: by name, or as yaml.

    Returns
    -------
    mapping
        The settings. A value that builds an object keeps its tag.

    Raises
    ------
    SettingError
        In the same cases as :func:`load_recipe`.
    """
    return resolved_tree(recipe, typed_recipe(recipe, _by_name(given)))


def _by_name(given):
    if isinstance(given, str):
        return ruamel.yaml.YAML(typ="safe").load(given)
    return given


def build_recipe(recipe: str | Path, tree: Mapping) -> BuiltRecipe:
    """Build what a tree of :func:`typed_recipe` describes.

    Arguments
    ---------
    recipe : str or Path
        The file, for messages.
    tree : mapping

    Returns
    -------
    BuiltRecipe

    Raises
    ------
    SettingError
        In the same cases as :func:`load_recipe`.
    """
    declared = declarations(tree)
    with _errors_name(recipe):
        resolved = resolved_tree(recipe, tree)
        built = load_hyperpyyaml(dump_yaml(resolved))
        for name in set(declared) & set(built):
            if is_built(resolved[name]):
                declared[name].check_built(built[name])
    return BuiltRecipe(built, recipe)


def build_one(recipe: str | Path, tree: Mapping, name: str, given: Mapping) -> object:
    """Build one object of a recipe once more, with other settings.

    Arguments
    ---------
    recipe : str or Path
        The file, for messages.
    tree : mapping
        The result of :func:`typed_recipe`.
    name : str
        The key of the object. What it refers to is built anew, too.
    given : mapping
        Settings that replace those of the tree.

    Returns
    -------
    object

    Raises
    ------
    SettingError
        In the same cases as :func:`load_recipe`.
    """
    changed = ruamel.yaml.comments.CommentedMap({**tree, **given})
    with _errors_name(recipe):
        node = resolved_tree(recipe, changed)[name]
        alone = ruamel.yaml.comments.CommentedMap({name: node})
        return load_hyperpyyaml(dump_yaml(alone))[name]


@contextmanager
def _errors_name(recipe):
    """Name the file in errors of building; other errors become a SettingError."""
    try:
        yield
    except SettingError as error:
        raise _in(recipe, error) from error
    except UserError:
        raise
    except Exception as error:  # any error of the classes that it names
        raise SettingError(f"{recipe} cannot be built: {_problem(error)}") from error


def resolved_tree(recipe: str | Path, tree: Mapping) -> Mapping:
    """Return a typed tree whose references are resolved, without its declarations.

    Arguments
    ---------
    recipe : str or Path
        The file, for messages.
    tree : mapping
        The result of :func:`typed_recipe`.

    Returns
    -------
    mapping
        No object is built. Values that references lead to are typed, too.

    Raises
    ------
    SettingError
        If a reference leads nowhere, or a value is missing or has another type.
    """
    declared = declarations(tree)
    for name, node in tree.items():
        if tag_of(node) == PLACEHOLDER:
            raise SettingError(
                f"{recipe} leaves {name} open: give --{name}, or name it in the recipe"
            )
    plain = {name: node for name, node in tree.items() if name != DECLARATIONS}
    try:
        text = resolve_references(dump_yaml(ruamel.yaml.comments.CommentedMap(plain)))
        resolved = ruamel.yaml.YAML().load(text)
    except Exception as error:  # HyperPyYAML raises many types
        raise SettingError(f"{recipe} cannot be built: {_problem(error)}") from error
    for name, node in resolved.items():
        if tag_of(node) in REFERENCES:
            raise SettingError(
                f"{recipe} cannot be built: the reference of {name} leads in a circle"
            )
    for name in set(declared) & set(resolved):
        if is_plain(resolved[name]) and not is_plain(tree[name]):
            _set_typed(resolved, declared[name])
    return resolved


def _problem(error):
    if isinstance(error, RecursionError):
        return "its references (!ref) lead in a circle"
    # Constructors check their own arguments; HyperPyYAML adds its own lines.
    is_plain_error = isinstance(error, (ValueError, TypeError, ImportError))
    lines = ": ".join(map(str, error.args)) if is_plain_error else str(error)
    problem = " ".join(lines.split())
    if not is_plain_error:
        problem = f"{type(error).__name__}: {problem}"
    return problem
