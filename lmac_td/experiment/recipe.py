"""Compose a recipe: yaml, plus one line that lets a recipe extend others.

``extends: base.yaml`` takes over all keys of that file; the recipe's own values win. In
a list of files, later files win. A mapping of names, such as ``conditions`` or
``settings``, is merged name by name. Files are merged before references are resolved.
So a recipe holds only what differs, a ``!ref`` can name any key, and every setting can
be given on the command line (``--alpha 0.5``). HyperPyYAML's own ``!include:`` nests
what it reads, so the command line could not change it.
"""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import ruamel.yaml

from lmac_td.errors import SettingError
from lmac_td.experiment.overlays import insert_overlays, recipe_of
from lmac_td.experiment.settings import DECLARATIONS
from lmac_td.experiment.yaml_files import dump_yaml, read_yaml, tag_of

EXTENDS = "extends"
REFERENCES = ("!ref", "!copy")
MOST_FILES = 100  # files of one recipe; the largest recipe of hparams has ten


def compose(
    recipe: str | Path, chosen: Mapping | None = None
) -> ruamel.yaml.comments.CommentedMap:
    """Merge a recipe with the recipes it extends, tags and references untouched.

    Arguments
    ---------
    recipe : str or Path
        A yaml file; ``extends`` is read relative to its folder.
    chosen : mapping, optional
        Settings of the command line; ``size`` and ``data`` choose overlays,
        see :mod:`lmac_td.experiment.overlays`.

    Returns
    -------
    ruamel.yaml.comments.CommentedMap
        Keys of the extended file come first, in its order, except that a key that is a
        reference comes before the keys that refer to it. ``settings`` holds the
        declarations of :mod:`lmac_td.experiment.settings`.

    Raises
    ------
    SettingError
        If the file is missing, is not valid yaml, or extends itself.
    """
    layers = [tree for _, tree in _read_layers(Path(recipe), (), [])]
    merged = ruamel.yaml.comments.CommentedMap()
    for layer in insert_overlays(layers, _read_overlay, chosen):
        _merge(merged, layer)
    return _in_order_of_references(merged)


def _in_order_of_references(tree):
    """Put each key that is a reference before the first key that refers to it.

    HyperPyYAML resolves a recipe from top to bottom. For `a: !ref <b>` it takes the
    value that b has at that moment; if b is a reference further down, it has none yet.
    Moving a reference changes nothing else, because it builds no object.
    """
    names = list(tree)
    for _ in tree:  # bounded, because a circle of references would not end
        move = next(
            (
                (place, name)
                for place, first in enumerate(names)
                for name in names[place + 1 :]
                if tag_of(tree[name]) in REFERENCES and name in named_in(tree[first])
            ),
            None,
        )
        if move is None:
            break
        place, name = move
        names.remove(name)
        names.insert(place, name)
    if names == list(tree):
        return tree
    return ruamel.yaml.comments.CommentedMap((name, tree[name]) for name in names)


def named_in(node: object) -> set[str]:
    """Return the keys that the references of a node name.

    Example
    -------
    >>> named_in(ruamel.yaml.YAML().load("{a: !ref <lr>, b: [!ref <x>/<y>]}")) == {
    ...     "lr", "x", "y"
    ... }
    True
    """
    if isinstance(node, (dict, list)):
        parts = node.values() if isinstance(node, dict) else node
        return {name for part in parts for name in named_in(part)}
    if tag_of(node) not in REFERENCES:
        return set()
    return set(re.findall(r"<([^>.\[]+)", str(node.value)))


def referred_to(tree: dict) -> set[str]:
    """Return the keys of a composed recipe that other keys refer to."""
    return {name for key, node in tree.items() for name in named_in(node) - {key}}


def with_references_of(
    tree: ruamel.yaml.comments.CommentedMap, names: Collection[str]
) -> ruamel.yaml.comments.CommentedMap:
    """Return the part of a recipe that holds some settings and what they refer to.

    Example
    -------
    >>> tree = ruamel.yaml.YAML().load("{a: 1, b: 2, c: !ref <b>, d: [!ref <c>]}")
    >>> list(with_references_of(tree, {"d"}))
    ['b', 'c', 'd']
    """
    wanted, new = {DECLARATIONS}, set(names)
    while new:
        wanted |= new
        new = {name for key in new for name in named_in(tree.get(key))} - wanted
    return ruamel.yaml.comments.CommentedMap(
        (name, node) for name, node in tree.items() if name in wanted
    )


def _read_overlay(path):
    """Read the layers of a file, each with the stem of its file."""
    return [(path.stem, tree) for path, tree in _read_layers(path, (), [])]


def _read_layers(path, below, found):
    """Read a file and what it extends -> [(path, tree)], in the order of merging.

    Arguments
    ---------
    path : Path
    below : tuple of str
        Files that extend this one.
    found : list
        Receives the layers.
    """
    resolved = _resolved(path)
    if resolved in below:
        raise SettingError(f"{path} extends itself: fix its `{EXTENDS}` line")
    if len(found) + len(below) >= MOST_FILES:
        raise SettingError(
            f"{path} makes more than {MOST_FILES} files that extend one another: "
            f"shorten the `{EXTENDS}` lines"
        )
    if not os.path.exists(path):  # Path.exists raises if a name is too long
        file, size = recipe_of(path)
        if file is not None:
            _read_layers(file, below, found)
            found += [(path, {"size": size})] if size else []
            return found
    tree = read_yaml(path)
    for base in _bases(path, tree):
        _read_layers(path.parent / base, (*below, resolved), found)
    found.append((path, tree))
    return found


def _resolved(path):
    """Return the path that links lead to, also where they lead nowhere."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError) as error:
        raise SettingError(f"{str(path)[:300]!r} is no path: correct it") from error


def _bases(path, tree):
    """Remove the files that a recipe extends from its tree, and return them."""
    if EXTENDS not in tree:
        return []
    bases = tree.pop(EXTENDS)
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise SettingError(
            f"{path}: extends is {bases!r}: name one yaml file, or a list of them, or "
            "remove the line"
        )
    return bases


def _merge(merged, tree):
    """Take over the keys of a file; merge plain mappings, such as conditions."""
    for name, value in tree.items():
        if _is_plain_mapping(value) and _is_plain_mapping(merged.get(name)):
            both = merged[name].copy()
            both.update(value)
            value = both
        merged[name] = value


def _is_plain_mapping(value):
    # A mapping that builds an object is replaced: merging would mix its arguments.
    return isinstance(value, dict) and not tag_of(value)


def compose_text(recipe: str | Path, chosen: Mapping | None = None) -> str:
    """Return the merged recipe of :func:`compose`, as yaml text.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "shared.yaml").write_text("lr: 0.1\\nseed: 1\\n")
    >>> _ = (folder / "mine.yaml").write_text("extends: shared.yaml\\nlr: 0.2\\n")
    >>> print(compose_text(folder / "mine.yaml").strip())
    lr: 0.2
    seed: 1
    """
    return dump_yaml(compose(recipe, chosen))
