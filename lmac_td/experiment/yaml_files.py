"""Read and write yaml files; an unreadable file gives a clear error."""

import functools
import io
import itertools
import pickle
from pathlib import Path

import ruamel.yaml

from lmac_td.errors import SettingError

# Counted with all aliases expanded; the largest recipe has some hundreds.
MOST_NODES = 100_000
# Nested brackets; ruamel.yaml needs minutes for some thousands.
DEEPEST = 200


def read_yaml(path: str | Path) -> ruamel.yaml.comments.CommentedMap:
    """Read a yaml file that maps names to values, with its tags.

    Arguments
    ---------
    path : str or Path

    Returns
    -------
    ruamel.yaml.comments.CommentedMap

    Raises
    ------
    SettingError
        If the file is missing, is not valid yaml or not a mapping of names, or is too
        large when its aliases are expanded.
    """
    try:
        pickled, size = _parse(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingError(
            f"{path} does not exist: name a recipe such as hparams/lmac_td.yaml"
        ) from error
    except RecursionError as error:
        raise SettingError(
            f"{path} cannot be read as yaml: it is nested too deeply, or in itself"
        ) from error
    except (OSError, ValueError, ruamel.yaml.error.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise SettingError(f"{path} cannot be read as yaml: {problem}") from error
    if size > MOST_NODES:
        raise SettingError(
            f"{path} has more than {MOST_NODES} values when its aliases (*name) are "
            "expanded: use fewer aliases"
        )
    tree = pickle.loads(pickled)
    if not isinstance(tree, dict):
        raise SettingError(f"{path} holds no settings: it must map names to values")
    for name in tree:
        if not isinstance(name, str):
            raise SettingError(f"{path} has a key {name!r}: keys are names of settings")
    return tree


@functools.lru_cache(maxsize=256)
def _parse(text):
    """A text's tree, pickled, and its number of values; each text is parsed once.

    Recipes share most of their files. Unpickling gives every caller a tree of its own,
    thirty times as fast as ruamel.yaml parses the text.
    """
    if _depth(text) > DEEPEST:
        raise RecursionError
    tree = ruamel.yaml.YAML().load(text)
    size = _n_nodes(tree, {}) if tree is not None else 0
    return pickle.dumps(tree), size


def _depth(text):
    """Return the largest number of brackets that are open at once."""
    step = {"[": 1, "{": 1, "]": -1, "}": -1}
    return max(itertools.accumulate(step.get(c, 0) for c in text), default=0)


def _n_nodes(node, known):
    """Count the values in a node; shared ones count each time."""
    if not isinstance(node, (dict, list)):
        return 1
    if id(node) not in known:
        parts = node.values() if isinstance(node, dict) else node
        known[id(node)] = 1 + sum(_n_nodes(part, known) for part in parts)
    return known[id(node)]


def dump_yaml(tree: object) -> str:
    """Convert a tree to yaml text with its tags; values stay on one line."""
    text, yaml = io.StringIO(), ruamel.yaml.YAML()
    yaml.width = 2**16
    yaml.dump(tree, text)
    return text.getvalue()


def tag_of(node: object) -> str:
    """Return the tag of a node of a tree, such as ``!ref``; empty if it has none."""
    return (node.tag.value or "") if hasattr(node, "tag") else ""
