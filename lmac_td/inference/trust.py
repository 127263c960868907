"""Refuse a downloaded recipe that builds objects which are not of this package.

A yaml for HyperPyYAML can name any Python function, and building it runs the function.
The recipes of this package are known. A recipe is safe if each of its objects is
written exactly as in one of them, so that only plain values differ.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from lmac_td.errors import SettingError
from lmac_td.experiment.build import is_plain
from lmac_td.experiment.recipe import compose
from lmac_td.experiment.settings import DECLARATIONS
from lmac_td.experiment.shipped import HPARAMS
from lmac_td.experiment.yaml_files import tag_of

TRUST = "trust_remote_code"  # a setting by which a user lets a yaml run code


def require_own_objects(tree: Mapping, source: str) -> None:
    """Refuse a recipe with objects that no recipe of this package has.

    Arguments
    ---------
    tree : mapping
        The recipe, read and not built.
    source : str
        For the message.

    Raises
    ------
    SettingError
    """
    if tree.get(TRUST, False) is not False:
        raise SettingError(
            f"the recipe of {source} sets {TRUST}: give --trust (in Python: "
            "trust=True) if you trust its authors"
        )
    for name, node in tree.items():
        if is_value(node) or (tag_of(node) == "!ref" and not _parts(node)):
            continue
        if (name, canonical(node)) not in known_objects():
            raise SettingError(
                f"the recipe of {source} builds {name} by code that is not a recipe of "
                "this package: give --trust (in Python: trust=True) if you trust its "
                "authors"
            )


def is_value(node: object) -> bool:
    """Return whether a node has no tag at all, of whatever kind.

    Besides HyperPyYAML's tags, yaml has some of its own that run Python code.

    Example
    -------
    >>> import ruamel.yaml
    >>> tree = ruamel.yaml.YAML().load("{a: [1], b: [!!python/name:os.system x]}")
    >>> is_value(tree["a"]), is_value(tree["b"])
    (True, False)
    """
    return not tag_of(node) and all(map(is_value, _parts(node)))


def _parts(node: object) -> list:
    """Return the keys and values of a mapping, or the values of a list."""
    if isinstance(node, Mapping):
        return [*node.keys(), *node.values()]
    return list(node) if isinstance(node, list) else []


@functools.cache
def known_objects() -> frozenset[tuple]:
    """Return the objects of the recipes of this package, by key and content.

    Those of SpeechBrain's classifiers are not among them: SpeechBrain executes the yaml
    of what it opens.
    """
    huggingface = compose(HPARAMS / "classifiers" / "huggingface.yaml")
    trees = [huggingface, *(compose(path) for path in HPARAMS.glob("*.yaml"))]
    trees += [compose(path) for path in HPARAMS.glob("published/*.yaml")]
    return frozenset(
        (name, canonical(node))
        for tree in trees
        for name, node in tree.items()
        if name != DECLARATIONS and not is_plain(node)
    )


def canonical(node: object) -> object:
    """Return a node of a recipe as nested tuples of tags and values, without comments.

    Example
    -------
    >>> import ruamel.yaml
    >>> tree = ruamel.yaml.YAML().load("a: !new:x.Y  # comment\\n    b: !ref <c>")
    >>> canonical(tree["a"])
    ('!new:x.Y', (("'b'", ('!ref', '<c>')),))
    """
    tag = tag_of(node)
    if isinstance(node, Mapping):
        parts = ((canonical(key), canonical(part)) for key, part in node.items())
        return tag, tuple(parts)
    if isinstance(node, list):
        return tag, tuple(map(canonical, node))
    return (tag, str(node.value)) if tag else repr(node)
