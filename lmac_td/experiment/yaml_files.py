"""Read and write yaml files; an unreadable file gives a clear error."""

import functools
import io
import itertools
import pickle
import re
from pathlib import Path

import ruamel.yaml

from lmac_td.errors import SettingError, UnreadableFileError
from lmac_td.reading import read_text

# Counted with all aliases expanded; the largest recipe has some hundreds.
MOST_NODES = 100_000
LARGEST = 2**20  # bytes; the largest recipe has 6 thousand
LONGEST_PROBLEM = 300  # characters of what ruamel.yaml says
# Nested brackets and blocks; ruamel.yaml needs minutes for some thousands.
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
    return _read(path, "rt", "hparams/lmac_td.yaml")


def read_plain_yaml(path: str | Path, example: str) -> dict:
    """Read a yaml file that maps names to plain values, without tags.

    Arguments
    ---------
    path : str or Path
    example : str
        A file that exists, for the message.

    Returns
    -------
    dict

    Raises
    ------
    SettingError
        In the same cases as :func:`read_yaml`.
    """
    return _read(path, "safe", example)


def _read(path, kind, example):
    try:
        pickled, size = _parse(read_text(path, LARGEST), kind)
    except FileNotFoundError as error:
        raise SettingError(
            f"{path} does not exist: name a file such as {example}"
        ) from error
    except RecursionError as error:
        raise SettingError(
            f"{path} cannot be read as yaml: it is nested too deeply, or in itself"
        ) from error
    except UnreadableFileError as error:
        raise SettingError(
            f"{str(path)[:LONGEST_PROBLEM]} cannot be read as yaml: {error.reason}; "
            f"name a file such as {example}"
        ) from error
    # ruamel.yaml raises other types, too, for values such as numbers and dates.
    except Exception as error:
        problem = " ".join(str(error).split())
        if len(problem) > LONGEST_PROBLEM:
            problem = f"{problem[:LONGEST_PROBLEM]}..."
        raise SettingError(f"{path} cannot be read as yaml: {problem}") from error
    if size > MOST_NODES:
        raise SettingError(
            f"{path} has more than {MOST_NODES} values when its aliases (*name) are "
            "expanded: use fewer aliases"
        )
    tree = pickle.loads(pickled)
    if not isinstance(tree, dict):
        raise SettingError(
            f"{path} holds no settings: it must map names to values, as {example} does"
        )
    for name in tree:
        if not isinstance(name, str):
            raise SettingError(f"{path} has a key {name!r}: keys are names of settings")
    return tree


@functools.lru_cache(maxsize=256)
def _parse(text, kind):
    """A text's tree, pickled, and its number of values; each text is parsed once.

    Recipes share most of their files. Unpickling gives every caller a tree of its own,
    thirty times as fast as ruamel.yaml parses the text.
    """
    if _depth(text) > DEEPEST:
        raise RecursionError
    pure = {} if kind == "rt" else {"pure": True}
    tree = ruamel.yaml.YAML(typ=kind, **pure).load(text)
    size = _n_nodes(tree, {}) if tree is not None else 0
    return pickle.dumps(tree), size


def _depth(text):
    """Return an upper bound of how deeply a text is nested.

    Brackets that are open at once, and blocks: deeper lines, and several of `- a`.
    """
    step = {"[": 1, "{": 1, "]": -1, "}": -1}
    brackets = max(itertools.accumulate(step.get(c, 0) for c in text), default=0)
    blocks, open_blocks = 0, []
    for line in text.splitlines():
        content = line.lstrip(" ")
        if not content:
            continue
        indent = len(line) - len(content)
        while open_blocks and open_blocks[-1] >= indent:
            open_blocks.pop()
        open_blocks.append(indent)
        marks = re.match(r"([-?:]\s+)*", content)[0]
        blocks = max(blocks, len(open_blocks) + len(marks.split()))
    return max(brackets, blocks)


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
