"""Describe a composed recipe: each setting with its role and type."""

import io
from collections.abc import Mapping

import ruamel.yaml

from lmac_td.experiment.build import is_built
from lmac_td.experiment.settings import DECLARATIONS, declarations
from lmac_td.experiment.yaml_files import dump_yaml, tag_of


def describe_settings(tree: Mapping) -> str:
    """Describe each setting in one line: name, value, role and type.

    Arguments
    ---------
    tree : mapping
        The result of :func:`lmac_td.experiment.build.typed_recipe`.

    Returns
    -------
    str
    """
    lines = [
        (f"--{name} {_in_one_line(tree[name])}", setting.summary())
        for name, setting in declarations(tree).items()
        if name in tree and not (setting.is_object or is_built(tree[name]))
    ]
    width = min(45, max((len(given) for given, _ in lines), default=0))
    return "\n".join(f"{given:{width}}  {summary}" for given, summary in lines)


def recipe_to_yaml(tree: Mapping) -> str:
    """Return a composed recipe as yaml, with roles and types as comments.

    Arguments
    ---------
    tree : mapping
        The result of :func:`lmac_td.experiment.build.typed_recipe`.

    Returns
    -------
    str
        The recipe without its declarations, which the comments show.
    """
    declared = declarations(tree)
    parts = []
    for name, node in tree.items():
        if name == DECLARATIONS:
            continue
        text = dump_yaml({name: _without_comments(node)})
        if name in declared:
            text = _with_comment(text, declared[name].summary(), node)
        parts.append(text)
    return "".join(parts)


def _with_comment(text, comment, node):
    first, _, rest = text.partition("\n")
    if isinstance(node, str) and rest:  # a text of several lines
        return f"# {comment}\n{text}"
    return f"{first}  # {comment}\n{rest}"


def _without_comments(node):
    """Return a copy of a node without the comments of its file."""
    if isinstance(node, dict):
        copied = ruamel.yaml.comments.CommentedMap(
            (name, _without_comments(part)) for name, part in node.items()
        )
    elif isinstance(node, list):
        copied = ruamel.yaml.comments.CommentedSeq(map(_without_comments, node))
    else:
        return node
    if tag_of(node):
        copied.yaml_set_ctag(node.tag)
    flow = getattr(node, "fa", None)  # a typed list of the command line has none
    if not copied or (isinstance(node, list) and (flow is None or flow.flow_style())):
        copied.fa.set_flow_style()
    return copied


def _in_one_line(node):
    if tag_of(node):
        return f"{tag_of(node)} {node.value}".strip()
    if isinstance(node, str):
        return node
    text, yaml = io.StringIO(), ruamel.yaml.YAML()
    yaml.default_flow_style, yaml.width = True, 2**16
    yaml.dump(_plain(node), text)
    return text.getvalue().removesuffix("\n").removesuffix("\n...") or "null"


def _plain(node):
    if isinstance(node, dict):
        return {name: _plain(part) for name, part in node.items()}
    return [_plain(part) for part in node] if isinstance(node, list) else node
